// What the kernels share: element types, vectors of 16 bytes, who computes what, and sums over a block.
//
// Nothing is included, so NVRTC needs no toolkit; tools/cuda-host compiles the same text with a C++ compiler and
// runs it on the CPU. The launch code puts this file in front of each other one, and says with -DELEMENT which type
// the tensors have.
//
// A tensor is read as [outer, channels, inner]. Where inner is 1 the channels are columns, elsewhere rows.
// Per-channel values are f64, and so are all sums; values per element are computed in Real.

#ifndef KERNEL
#define KERNEL extern "C" __global__ void __launch_bounds__(256, 2)
#define SHARED(type, name, count) __shared__ type name[count]
#endif

#define F32 1
#define F64 2
#define F16 3
#define BF16 4
#ifndef ELEMENT
#define ELEMENT F32
#endif

typedef long long Index;

// Threads of a block at most. Their number is a power of two.
constexpr int BLOCK = 256;

// ---- Element types ----

#if ELEMENT == F64
typedef double Real;
typedef double Element;
#elif ELEMENT == F32
typedef float Real;
typedef float Element;
#else
typedef float Real;
struct Element {
    unsigned short bits;
};
#endif

#if ELEMENT == F32 || ELEMENT == F64
__device__ inline Real real(Element v) { return v; }
__device__ inline Element element(Real v) { return v; }
#elif ELEMENT == BF16
__device__ inline Real real(Element v) { return __uint_as_float((unsigned)v.bits << 16); }

// To the nearest, ties to even.
__device__ inline Element element(Real v) {
    Element rounded;
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(rounded.bits) : "f"(v));
#else
    const unsigned bits = __float_as_uint(v);
    rounded.bits = v == v ? (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16 : 0x7fffu;
#endif
    return rounded;
}
#else  // F16
__device__ inline Real real(Element v) {
#ifdef __CUDA_ARCH__
    float wide;
    asm("cvt.f32.f16 %0, %1;" : "=f"(wide) : "h"(v.bits));
    return wide;
#else
    const unsigned sign = (v.bits & 0x8000u) << 16, exponent = (v.bits >> 10) & 31u, mantissa = v.bits & 0x3ffu;
    if (exponent == 0) {  // subnormal
        const float size = (float)mantissa * 0x1p-24f;
        return sign ? -size : size;
    }
    return __uint_as_float(sign | (exponent == 31 ? 0x7f800000u : (exponent + 112u) << 23) | mantissa << 13);
#endif
}

// To the nearest, ties to even.
__device__ inline Element element(Real v) {
    Element rounded;
#ifdef __CUDA_ARCH__
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(rounded.bits) : "f"(v));
#else
    const unsigned bits = __float_as_uint(v), sign = (bits >> 16) & 0x8000u, size = bits & 0x7fffffffu;
    if (size > 0x7f800000u) {
        rounded.bits = 0x7fffu;  // NaN
    } else if (size >= 0x477ff000u) {
        rounded.bits = sign | 0x7c00u;  // 65520 and above
    } else if (size < 0x38800000u) {
        // Subnormal: the last place of 0.5 is that of these numbers, so the addition rounds.
        rounded.bits = sign | (__float_as_uint(__uint_as_float(size) + 0.5f) - __float_as_uint(0.5f));
    } else {
        rounded.bits = sign | ((size - (112u << 23) + 0xfffu + ((size >> 13) & 1u)) >> 13);
    }
#endif
    return rounded;
}
#endif

// ---- Vectors ----

// Elements in 16 bytes.
constexpr int VECTOR = 16 / sizeof(Element);

template <int V> struct alignas(V * sizeof(Element)) Pack {
    Element of[V];
};

// `from` is aligned to the pack.
template <int V> __device__ inline Pack<V> pack_at(const Element* from) { return *reinterpret_cast<const Pack<V>*>(from); }

template <int V> __device__ inline void widen(const Pack<V>& pack, Real (&to)[V]) {
#pragma unroll
    for (int k = 0; k < V; ++k) to[k] = real(pack.of[k]);
}

template <int V> __device__ inline void load(const Element* from, Real (&to)[V]) { widen(pack_at<V>(from), to); }

template <int V> __device__ inline void store(Element* to, const Real (&from)[V]) {
    Pack<V> pack;
#pragma unroll
    for (int k = 0; k < V; ++k) pack.of[k] = element(from[k]);
    *reinterpret_cast<Pack<V>*>(to) = pack;
}

// ---- Who computes what ----

struct Shape {
    Index outer, channels, inner;
    // Rows of the outer axis in a normalization group; the last group has the rest.
    Index group;
    // Blocks that share a group's values of a channel.
    Index splits;
    // Columns: threads side by side, a power of two up to the number of threads; each has a vector of channels.
    Index width;
};

__device__ inline Index least(Index a, Index b) { return a < b ? a : b; }

__device__ inline Index rows_of(const Shape& shape, Index group) {
    return least(shape.group, shape.outer - group * shape.group);
}

// The elements of one thread: V at a time, of one channel (rows) or of V channels (columns). The grid has a block for
// each split of each channel (rows) or each run of width · V channels (columns) of each group, in that order.
template <int V, bool ROWS> struct Walk {
    static constexpr int CHANNELS = ROWS ? 1 : V;

    const Shape& shape;
    Index group, split, channel, first_row, rows;
    // Columns: the last block may have threads without a channel.
    bool any;

    __device__ explicit Walk(const Shape& of) : shape(of) {
        Index block = blockIdx.x;
        split = block % of.splits;
        block /= of.splits;
        const Index blocks = ROWS ? of.channels : (of.channels + of.width * V - 1) / (of.width * V);
        const Index column = block % blocks;
        group = block / blocks;
        channel = ROWS ? column : (column * of.width + threadIdx.x % of.width) * V;
        any = channel < of.channels;
        first_row = group * of.group;
        rows = rows_of(of, group);
    }

    // Where the channel's values of this group, or of this split of it, stand among those of all.
    __device__ Index of_group() const { return group * shape.channels + channel; }
    __device__ Index of_split() const { return (group * shape.splits + split) * shape.channels + channel; }

    // f(index of V elements, their position in [outer, inner])
    template <class F> __device__ inline void each(F f) const {
        if (!any) return;
        if (ROWS) {
            const Index per_row = shape.inner / V, units = rows * per_row;
            const Index part = (units + shape.splits - 1) / shape.splits;
            const Index end = least(units, (split + 1) * part);
            Index unit = split * part + threadIdx.x;
            Index row = first_row + unit / per_row, in_row = unit % per_row;
            const Index row_step = blockDim.x / per_row, in_row_step = blockDim.x % per_row;
            for (; unit < end; unit += blockDim.x) {
                f((row * shape.channels + channel) * shape.inner + in_row * V, row * shape.inner + in_row * V);
                row += row_step;
                in_row += in_row_step;
                if (in_row >= per_row) {
                    in_row -= per_row;
                    ++row;
                }
            }
        } else {
            const Index part = (rows + shape.splits - 1) / shape.splits;
            const Index end = first_row + least(rows, (split + 1) * part);
            const Index height = blockDim.x / shape.width;
            for (Index row = first_row + split * part + threadIdx.x / shape.width; row < end; row += height) {
                f(row * shape.channels + channel, row);
            }
        }
    }
};

// The same elements in steps of a fixed number, of which a thread has up to HELD: f(step, index of V elements). The steps are
// unrolled, so that what f keeps of each can lie in registers. See `plan.rs` for the shapes that fit.
template <int HELD, int V, bool ROWS, class F> __device__ inline void each_held(const Walk<V, ROWS>& walk, F f) {
    if (!walk.any) return;
    const Shape& shape = walk.shape;
    // Rows: vectors of the channel. Columns: rows of the tensor.
    const Index per_row = ROWS ? shape.inner / V : 1, units = walk.rows * per_row;
    const Index part = (units + shape.splits - 1) / shape.splits, end = least(units, (walk.split + 1) * part);
    const Index width = ROWS ? 1 : shape.width, stride = blockDim.x / width;
    const Index first = walk.split * part + threadIdx.x / width;
#pragma unroll
    for (int step = 0; step < HELD; ++step) {
        const Index unit = first + step * stride;
        if (unit < end) {
            const Index row = walk.first_row + unit / per_row;
            f(step, (row * shape.channels + walk.channel) * shape.inner + unit % per_row * V);
        }
    }
}

// ---- Sums over a block ----

// Combines the values of all threads that have the same remainder by `width`, in a fixed order, and returns it to them.
template <class P> __device__ inline P over_block(P own, Index width, P* shared) {
    const Index thread = threadIdx.x;
    shared[thread] = own;
    for (Index half = blockDim.x / 2; half >= width; half /= 2) {
        __syncthreads();
        if (thread < half) shared[thread] = combined(shared[thread], shared[thread + half]);
    }
    __syncthreads();
    const P all = shared[thread % width];
    __syncthreads();  // before `shared` is used again
    return all;
}

// Weight, mean and Σ w·(x − mean)² of some values.
struct Part {
    double weight, mean, squares;
};

// Chan, Golub & LeVeque 1979. A constant stays that constant.
__device__ inline Part combined(const Part& a, const Part& b) {
    if (b.weight == 0) return a;
    if (a.weight == 0) return b;
    const double weight = a.weight + b.weight, share = b.weight / weight, delta = b.mean - a.mean;
    return {weight, a.mean + delta * share, a.squares + b.squares + delta * delta * (a.weight * share)};
}

// Two sums.
struct Pair {
    double a, b;
};

__device__ inline Pair combined(const Pair& a, const Pair& b) { return {a.a + b.a, a.b + b.b}; }

// ---- Per-channel values ----

// Fields of `Channel` (channel/normalize.rs), each [groups, channels].
enum Field { MEAN, SCALE, OFFSET, INV_STD, R, D, FLAGS };
// In FLAGS.
enum Flag { R_CLIPPED = 1, D_CLIPPED = 2, THROUGH = 4 };

// The unit of a channel's values in f32: a power of two, by which x − mean does not overflow, and neither scale nor the
// gradient's q, which is of the size of inv_std², underflows.
__device__ inline double unit_of(double mean, double inv_std) {
    if (ELEMENT != F32 && ELEMENT != BF16) return 1;
    if (inv_std < 0x1p-104) return 0x1p-126;
    if (inv_std < 0x1p-76) return 0x1p-84;
    if (inv_std < 0x1p-48) return 0x1p-56;
    return fabs(mean) > 0x1p100 ? 0x1p-24 : 1;
}

// (x·unit − mean)·scale + offset, in the elements' type. The offset takes what the mean loses by rounding.
struct Affine {
    Real unit, mean, scale, offset;
    double lost;

    __device__ Affine(const double* channels, Index count, Index at) {
        const double exact_mean = channels[MEAN * count + at], exact_scale = channels[SCALE * count + at];
        const double by = unit_of(exact_mean, channels[INV_STD * count + at]);
        unit = (Real)by;
        mean = (Real)(exact_mean * by);
        lost = finite_or_0(exact_mean * by - (double)mean);
        scale = (Real)(exact_scale / by);
        offset = (Real)(channels[OFFSET * count + at] - finite_or_0(lost * (exact_scale / by)));
    }

    Affine() = default;

    // (x − mean)·unit
    __device__ inline Real centred(Real x) const { return x * unit - mean; }

    static __device__ inline double finite_or_0(double v) { return v - v == 0 ? v : 0; }
};

template <int C>
__device__ inline void affines(const double* channels, const Shape& shape, Index at, Affine (&to)[C]) {
    const Index count = (shape.outer + shape.group - 1) / shape.group * shape.channels;
#pragma unroll
    for (int k = 0; k < C; ++k) to[k] = Affine(channels, count, at + k);
}

// ---- Activations ----

enum Kind { NONE, RELU, SIGMOID, TANH, LEAKY_RELU };

struct Tail {
    Index kind;
    double slope;
};

// Kernels are compiled for none, for relu, and for any kind.
constexpr int ANY = SIGMOID;

// NaN stays NaN.
template <int OF> __device__ inline Real activated(const Tail& tail, Real v) {
    if (OF == NONE) return v;
    if (OF == RELU) return v <= 0 ? 0 : v;
    switch (tail.kind) {
        case NONE: return v;
        case RELU: return v <= 0 ? 0 : v;
        case SIGMOID: return 1 / (1 + exp(-v));
        case TANH: return tanh(v);
        default: return v <= 0 ? v * (Real)tail.slope : v;
    }
}

// The gradient at v, for that of the result.
template <int OF> __device__ inline Real through_activation(const Tail& tail, Real v, Real dy) {
    if (OF == NONE) return dy;
    if (OF == RELU) return v <= 0 ? 0 : dy;
    switch (tail.kind) {
        case NONE: return dy;
        case RELU: return v <= 0 ? 0 : dy;
        case LEAKY_RELU: return v <= 0 ? dy * (Real)tail.slope : dy;
        case SIGMOID: {
            const Real y = activated<ANY>(tail, v);
            return dy * (y * (1 - y));
        }
        default: {
            const Real y = activated<ANY>(tail, v);
            return dy * (1 - y * y);
        }
    }
}
