// What this crate's kernels have in common. Nothing is included, so NVRTC needs no toolkit; tools/cuda-host compiles the same
// texts with a C++ compiler.

#ifndef KERNEL
#define KERNEL extern "C" __global__ void __launch_bounds__(256, 2)
#define SHARED(type, name, count) __shared__ type name[count]
#endif

typedef long long Index;

// Threads of a block at most. Their number is a power of two.
constexpr int MOST_THREADS = 256;

// The sum of all threads' values, in a fixed order.
__device__ inline double sum_over_block(double own, double* shared) {
    shared[threadIdx.x] = own;
    for (unsigned half = blockDim.x / 2; half >= 1; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half) shared[threadIdx.x] += shared[threadIdx.x + half];
    }
    __syncthreads();
    return shared[0];
}
