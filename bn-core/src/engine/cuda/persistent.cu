// A whole forward pass by the batch in one launch, and a whole backward pass, for tensors that the threads of a GPU can hold
// in their registers: x, and dy, are read once. All blocks run at the same time (a cooperative launch) and wait for each
// other twice. Stands behind moments.cu, normalize.cu, gradient.cu and formulas.cu.

#ifndef SPIN
#define SPIN
#endif

// Vectors of 16 bytes that a thread holds: of x; backward, of each of x and dy. As many as leave ptxas registers enough on
// every architecture, with two blocks a multiprocessor.
constexpr int HELD = VECTOR > 4 ? 4 : 8;
constexpr int HELD_BACKWARD = VECTOR > 4 ? 3 : 6;

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

// `sums` is what `o` reads; `dv_out` may be null.
template <bool ROWS, int OF>
__device__ inline void backward(const Back& back, const Shape& shape, const Tail& tail, const Terms& o, Pair* sums,
                                unsigned long long* arrived, Element* dx, Element* dv_out) {
    constexpr int V = VECTOR;
    SHARED(Pair, shared, BLOCK);
    const Walk<V, ROWS> walk(shape);
    Read<V> kept[HELD_BACKWARD];
    Sums<V> own;
    {
        Affine affine[Walk<V, ROWS>::CHANNELS];
        if (walk.any) affines(back.channels, shape, walk.of_group(), affine);
        each_held<HELD_BACKWARD>(walk, [&](int step, Index at) {
            Real centred[V], dv[V];
            kept[step].from(back, at);
            centred_and_dv<V, ROWS, OF>(kept[step], back, tail, affine, at, centred, dv);
            own.add(centred, dv);
        });
    }
    own.template write<ROWS>(walk, back.channels, shared, sums);
    over_grid(arrived, 1);
    const Index runs = (shape.channels + TOGETHER - 1) / TOGETHER;
    for (Index run = blockIdx.x; run < runs; run += gridDim.x) terms_of(o, run, shared);
    over_grid(arrived, 2);
    if (!walk.any) return;
    const Inputs<V, ROWS, false> inputs(walk, back.channels, o.terms);
    each_held<HELD_BACKWARD>(walk, [&](int step, Index at) {
        Real centred[V], dv[V];
        centred_and_dv<V, ROWS, OF>(kept[step], back, tail, inputs.affine, at, centred, dv);
        if (dv_out) store<V>(dv_out + at, dv);
        inputs.dx(centred, dv, 1);
        store<V>(dx + at, centred);
    });
}

#define BACKWARD(NAME, ROWS, OF)                                                                                 \
    KERNEL NAME(Back back, Shape shape, Tail tail, Terms o, Pair* sums, unsigned long long* arrived, Element* dx, \
                Element* dv) {                                                                                   \
        backward<ROWS, OF>(back, shape, tail, o, sums, arrived, dx, dv);                                         \
    }

BACKWARD(backward_rows_none, true, NONE)
BACKWARD(backward_rows_relu, true, RELU)
BACKWARD(backward_rows_any, true, ANY)
#if ELEMENT == F32 || ELEMENT == F64
// Eight channels of half floats leave a thread no registers for x and dy.
BACKWARD(backward_columns_none, false, NONE)
BACKWARD(backward_columns_relu, false, RELU)
BACKWARD(backward_columns_any, false, ANY)
#endif
