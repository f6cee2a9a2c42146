// Moments of each channel, of each normalization group and split: a Part each, which `combine` and `by_batch` (see
// formulas.cu) add up.
//
// Sums of x − pivot and of its square, in f64. The pivot is a value of the thread's own, so the mean of its n values is
// at most √(n − 1) standard deviations away, and cancellation costs a factor of n at most of f64's 1e16.

// The sums of one thread, for V channels or V values of one.
template <int V> struct Running {
    double weight = 0, pivot[V] = {}, sum[V] = {}, squares[V] = {};

    template <bool WEIGHTED> __device__ inline void add(const Real (&values)[V], double w) {
        if (weight == 0) {
#pragma unroll
            for (int k = 0; k < V; ++k) pivot[k] = values[k];
        }
        weight += w;
#pragma unroll
        for (int k = 0; k < V; ++k) {
            const double d = (double)values[k] - pivot[k];
            sum[k] += WEIGHTED ? w * d : d;
            squares[k] = fma(WEIGHTED ? w * d : d, d, squares[k]);
        }
    }

    // Adds up the block's threads, and writes what its split has of each of its channels.
    template <bool ROWS> __device__ inline void write(const Walk<V, ROWS>& walk, Part* shared, Part* parts) const {
        Part part[V];
#pragma unroll
        for (int k = 0; k < V; ++k) {
            const double off = weight > 0 ? sum[k] / weight : 0, left = squares[k] - sum[k] * off;
            part[k] = {weight, pivot[k] + off, left < 0 ? 0 : left};
        }
        if (ROWS) {
            for (int k = 1; k < V; ++k) part[0] = combined(part[0], part[k]);
        }
        const Index width = ROWS ? 1 : walk.shape.width;
        for (int k = 0; k < Walk<V, ROWS>::CHANNELS; ++k) {
            const Part all = over_block(part[k], width, shared);
            if (threadIdx.x < width && walk.any) parts[walk.of_split() + k] = all;
        }
    }
};

template <int V, bool ROWS, bool WEIGHTED>
__device__ inline void moments(const Element* x, const Shape& shape, const double* weights, Part* parts) {
    SHARED(Part, shared, BLOCK);
    const Walk<V, ROWS> walk(shape);
    Running<V> running;
    walk.each([&](Index at, Index position) {
        Real values[V];
        load<V>(x + at, values);
        running.template add<WEIGHTED>(values, WEIGHTED ? weights[position] : 1);
    });
    running.template write<ROWS>(walk, shared, parts);
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
