// Moments of each channel, of each normalization group and split: a Part each, which `combine` and `by_batch` (see
// formulas.cu) add up.
//
// Sums of x − pivot and of its square, in f64. The pivot is a value of the thread's own, so the mean of its n values is
// at most √(n − 1) standard deviations away, and cancellation costs a factor of n at most of f64's 1e16.

template <int V, bool ROWS, bool WEIGHTED>
__device__ inline void moments(const Element* x, const Shape& shape, const double* weights, Part* parts) {
    SHARED(Part, shared, BLOCK);
    const Walk<V, ROWS> walk(shape);
    double weight = 0, pivot[V] = {}, sum[V] = {}, squares[V] = {};
    walk.each([&](Index at, Index position) {
        Real values[V];
        load<V>(x + at, values);
        if (weight == 0) {
#pragma unroll
            for (int k = 0; k < V; ++k) pivot[k] = values[k];
        }
        const double w = WEIGHTED ? weights[position] : 1;
        weight += w;
#pragma unroll
        for (int k = 0; k < V; ++k) {
            const double d = (double)values[k] - pivot[k];
            sum[k] += WEIGHTED ? w * d : d;
            squares[k] += WEIGHTED ? w * d * d : d * d;
        }
    });
    Part part[V];
#pragma unroll
    for (int k = 0; k < V; ++k) {
        const double off = weight > 0 ? sum[k] / weight : 0, left = squares[k] - sum[k] * off;
        part[k] = {weight, pivot[k] + off, left < 0 ? 0 : left};
    }
    if (ROWS) {
        for (int k = 1; k < V; ++k) part[0] = combined(part[0], part[k]);
    }
    for (int k = 0; k < Walk<V, ROWS>::CHANNELS; ++k) {
        const Part all = over_block(part[k], ROWS ? 1 : shape.width, shared);
        if (threadIdx.x < (ROWS ? 1 : shape.width) && walk.any) parts[walk.of_split() + k] = all;
    }
}

#define MOMENTS(NAME, V, ROWS, WEIGHTED)                                                         \
    KERNEL NAME(const Element* x, Shape shape, const double* weights, Part* parts) {             \
        moments<V, ROWS, WEIGHTED>(x, shape, weights, parts);                                    \
    }

MOMENTS(moments_rows_vector, VECTOR, true, false)
MOMENTS(moments_rows_single, 1, true, false)
MOMENTS(moments_rows_weighted, 1, true, true)
MOMENTS(moments_columns_vector, VECTOR, false, false)
MOMENTS(moments_columns_single, 1, false, false)
MOMENTS(moments_columns_weighted, 1, false, true)
