// y = activation((x − mean)·scale + offset + residual), one pass.

template <int OF> __device__ inline Real normalized(const Affine& by, const Tail& tail, Real x, Real added) {
    return activated<OF>(tail, fma(by.centred(x), by.scale, by.offset) + added);
}

template <int V, bool ROWS, int OF>
__device__ inline void normalize(const Element* x, const Element* residual, const double* channels, const Shape& shape,
                                 const Tail& tail, Element* y) {
    const Walk<V, ROWS> walk(shape);
    if (!walk.any) return;
    Affine affine[Walk<V, ROWS>::CHANNELS];
    affines(channels, shape, walk.of_group(), affine);
    walk.each([&](Index at, Index) {
        Real values[V], added[V] = {};
        load<V>(x + at, values);
        if (residual) load<V>(residual + at, added);
#pragma unroll
        for (int k = 0; k < V; ++k) {
            values[k] = normalized<OF>(affine[ROWS ? 0 : k], tail, values[k], added[k]);
        }
        store<V>(y + at, values);
    });
}

#define NORMALIZE(NAME, V, ROWS, OF)                                                                         \
    KERNEL NAME(const Element* x, const Element* residual, const double* channels, Shape shape, Tail tail,   \
                Element* y) {                                                                                \
        normalize<V, ROWS, OF>(x, residual, channels, shape, tail, y);                                       \
    }

NORMALIZE(normalize_rows_vector_none, VECTOR, true, NONE)
NORMALIZE(normalize_rows_vector_relu, VECTOR, true, RELU)
NORMALIZE(normalize_rows_vector_any, VECTOR, true, ANY)
NORMALIZE(normalize_rows_single_any, 1, true, ANY)
NORMALIZE(normalize_columns_vector_none, VECTOR, false, NONE)
NORMALIZE(normalize_columns_vector_relu, VECTOR, false, RELU)
NORMALIZE(normalize_columns_vector_any, VECTOR, false, ANY)
NORMALIZE(normalize_columns_single_any, 1, false, ANY)
