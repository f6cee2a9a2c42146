// A whole forward pass by the batch in one launch, for tensors that the threads of a GPU can hold in their registers: x is
// read once. All blocks run at the same time (a cooperative launch) and wait for each other twice. Stands behind
// moments.cu, normalize.cu and formulas.cu.

#ifndef SPIN
#define SPIN
#endif

// Vectors of 16 bytes that a thread holds.
constexpr int HELD = 8;

// Waits until all blocks have come here. `arrived` starts at 0 and counts all barriers of the launch, of which this is the
// `number`th, from 1.
__device__ inline void over_grid(unsigned long long* arrived, unsigned number) {
    __syncthreads();
    if (threadIdx.x == 0) {
        __threadfence();
        atomicAdd(arrived, 1ull);
        while (atomicAdd(arrived, 0ull) < (unsigned long long)number * gridDim.x) {
            SPIN
        }
        __threadfence();
    }
    __syncthreads();
}

template <bool ROWS, int OF>
__device__ inline void forward(const Element* x, const Element* residual, const Shape& shape, const Tail& tail,
                               const ByBatch& o, Part* parts, unsigned long long* arrived, Element* y) {
    constexpr int V = VECTOR;
    SHARED(Part, shared, BLOCK);
    const Walk<V, ROWS> walk(shape);
    Pack<V> kept[HELD];
    Running<V> running;
    each_held<HELD>(walk, [&](int step, Index at) {
        kept[step] = pack_at<V>(x + at);
        Real values[V];
        widen(kept[step], values);
        running.template add<false>(values, 1);
    });
    running.template write<ROWS>(walk, shared, parts);
    over_grid(arrived, 1);
    const Index runs = (o.channels + TOGETHER - 1) / TOGETHER;
    for (Index run = blockIdx.x; run < runs; run += gridDim.x) by_batch_of(o, run, shared);
    over_grid(arrived, 2);
    if (!walk.any) return;
    Affine affine[Walk<V, ROWS>::CHANNELS];
    affines(o.fields, shape, walk.of_group(), affine);
    each_held<HELD>(walk, [&](int step, Index at) {
        Real values[V], added[V] = {};
        widen(kept[step], values);
        if (residual) load<V>(residual + at, added);
#pragma unroll
        for (int k = 0; k < V; ++k) values[k] = normalized<OF>(affine[ROWS ? 0 : k], tail, values[k], added[k]);
        store<V>(y + at, values);
    });
}

#define FORWARD(NAME, ROWS, OF)                                                                                  \
    KERNEL NAME(const Element* x, const Element* residual, Shape shape, Tail tail, ByBatch o, Part* parts,       \
                unsigned long long* arrived, Element* y) {                                                       \
        forward<ROWS, OF>(x, residual, shape, tail, o, parts, arrived, y);                                       \
    }

FORWARD(forward_rows_none, true, NONE)
FORWARD(forward_rows_relu, true, RELU)
FORWARD(forward_rows_any, true, ANY)
FORWARD(forward_columns_none, false, NONE)
FORWARD(forward_columns_relu, false, RELU)
FORWARD(forward_columns_any, false, ANY)
