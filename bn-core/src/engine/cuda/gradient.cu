// The gradient in two passes: Σ dv and Σ dv·(x − mean) of each channel, group and split, a Pair each, which `terms` (see
// formulas.cu) adds up; then dx = scale·dv − w·(p + (x − mean)·q). dv is the gradient before the activation, whose
// argument is computed again.

// What the passes read.
struct Back {
    const Element *x, *residual, *dy;
    const double* channels;
};

// V elements of x and dy.
template <int V> struct Read {
    Pack<V> x, dy;

    __device__ inline void from(const Back& back, Index at) {
        x = pack_at<V>(back.x + at);
        dy = pack_at<V>(back.dy + at);
    }
};

// x − mean (in units of the channel) and dv of V elements.
template <int V, bool ROWS, int OF, int C>
__device__ inline void centred_and_dv(const Read<V>& read, const Back& back, const Tail& tail, const Affine (&affine)[C],
                                      Index at, Real (&centred)[V], Real (&dv)[V]) {
    Real added[V] = {};
    widen(read.x, centred);
    widen(read.dy, dv);
    if (OF != NONE && back.residual) load<V>(back.residual + at, added);
#pragma unroll
    for (int k = 0; k < V; ++k) {
        const Affine& a = affine[ROWS ? 0 : k];
        centred[k] = a.centred(centred[k]);
        dv[k] = through_activation<OF>(tail, fma(centred[k], a.scale, a.offset) + added[k], dv[k]);
    }
}

// Both sums of one thread, for V channels or V values of one.
template <int V> struct Sums {
    Pair of[V] = {};

    __device__ inline void add(const Real (&centred)[V], const Real (&dv)[V]) {
#pragma unroll
        for (int k = 0; k < V; ++k) {
            of[k].a += dv[k];
            of[k].b = fma((double)dv[k], (double)centred[k], of[k].b);
        }
    }

    // Adds up the block's threads, and writes what its split has of each of its channels.
    template <bool ROWS>
    __device__ inline void write(const Walk<V, ROWS>& walk, const double* channels, Pair* shared, Pair* sums) {
        const Index width = ROWS ? 1 : walk.shape.width;
        if (ROWS) {
            for (int k = 1; k < V; ++k) of[0] = combined(of[0], of[k]);
        }
        for (int k = 0; k < Walk<V, ROWS>::CHANNELS; ++k) {
            const Pair all = over_block(of[k], width, shared);
            if (threadIdx.x < width && walk.any) {
                // From the rounded mean to the exact one. Read again: the loop needs its registers.
                Affine again[1];
                affines(channels, walk.shape, walk.of_group() + k, again);
                sums[walk.of_split() + k] = {all.a, (all.b - again[0].lost * all.a) / (double)again[0].unit};
            }
        }
    }
};

template <int V, bool ROWS, int OF>
__device__ inline void gradient_sums(const Back& back, const Shape& shape, const Tail& tail, Pair* sums) {
    SHARED(Pair, shared, BLOCK);
    const Walk<V, ROWS> walk(shape);
    Affine affine[Walk<V, ROWS>::CHANNELS];
    if (walk.any) affines(back.channels, shape, walk.of_group(), affine);
    Sums<V> own;
    walk.each([&](Index at, Index) {
        Real centred[V], dv[V];
        Read<V> read;
        read.from(back, at);
        centred_and_dv<V, ROWS, OF>(read, back, tail, affine, at, centred, dv);
        own.add(centred, dv);
    });
    own.template write<ROWS>(walk, back.channels, shared, sums);
}

#define SUMS(NAME, V, ROWS, OF)                                                            \
    KERNEL NAME(Back back, Shape shape, Tail tail, Pair* sums) {                           \
        gradient_sums<V, ROWS, OF>(back, shape, tail, sums);                               \
    }

SUMS(gradient_sums_rows_vector_none, VECTOR, true, NONE)
SUMS(gradient_sums_rows_vector_relu, VECTOR, true, RELU)
SUMS(gradient_sums_rows_vector_any, VECTOR, true, ANY)
SUMS(gradient_sums_rows_single_any, 1, true, ANY)
SUMS(gradient_sums_columns_vector_none, VECTOR, false, NONE)
SUMS(gradient_sums_columns_vector_relu, VECTOR, false, RELU)
SUMS(gradient_sums_columns_vector_any, VECTOR, false, ANY)
SUMS(gradient_sums_columns_single_any, 1, false, ANY)

// −(p + (x − mean)·q) as slope·(x − mean in units) + level. Weights may leave the range of f32, and p and q with them:
// then all of it is f64.
template <class Number> struct Line {
    Number slope, level;

    __device__ Line(const double* terms, Index count, Index at, const Affine& affine) {
        const double p = terms[at], q = terms[count + at] / (double)affine.unit;
        slope = (Number)-q;
        level = (Number)(affine.lost * q - p);
    }

    Line() = default;
};

template <bool WEIGHTED> struct Through {
    typedef Real Number;
};
template <> struct Through<true> {
    typedef double Number;
};

// What dx is computed by, for the channels of a thread. `terms` has p and q, each [groups, channels].
template <int V, bool ROWS, bool WEIGHTED> struct Inputs {
    typedef typename Through<WEIGHTED>::Number Number;
    static constexpr int CHANNELS = Walk<V, ROWS>::CHANNELS;

    Affine affine[CHANNELS];
    Line<Number> line[CHANNELS];
    Real scale[CHANNELS];

    __device__ inline Inputs(const Walk<V, ROWS>& walk, const double* channels, const double* terms) {
        const Shape& shape = walk.shape;
        const Index count = (shape.outer + shape.group - 1) / shape.group * shape.channels, at = walk.of_group();
        affines(channels, shape, at, affine);
#pragma unroll
        for (int k = 0; k < CHANNELS; ++k) {
            line[k] = Line<Number>(terms, count, at + k, affine[k]);
            scale[k] = (Real)channels[SCALE * count + at + k];
        }
    }

    // dx, in place of x − mean.
    __device__ inline void dx(Real (&centred)[V], const Real (&dv)[V], double weight) const {
#pragma unroll
        for (int k = 0; k < V; ++k) {
            const int c = ROWS ? 0 : k;
            Number through = fma(line[c].slope, (Number)centred[k], line[c].level);
            if (WEIGHTED) through *= (Number)weight;
            centred[k] = fma(scale[c], dv[k], (Real)through);
        }
    }
};

// `dv_out` may be null.
template <int V, bool ROWS, int OF, bool WEIGHTED>
__device__ inline void input_gradient(const Back& back, const double* terms, const double* weights, const Shape& shape,
                                      const Tail& tail, Element* dx, Element* dv_out) {
    const Walk<V, ROWS> walk(shape);
    if (!walk.any) return;
    const Inputs<V, ROWS, WEIGHTED> inputs(walk, back.channels, terms);
    walk.each([&](Index at, Index position) {
        Real centred[V], dv[V];
        Read<V> read;
        read.from(back, at);
        centred_and_dv<V, ROWS, OF>(read, back, tail, inputs.affine, at, centred, dv);
        if (dv_out) store<V>(dv_out + at, dv);
        inputs.dx(centred, dv, WEIGHTED ? weights[position] : 1);
        store<V>(dx + at, centred);
    });
}

#define INPUT_GRADIENT(NAME, V, ROWS, OF, WEIGHTED)                                                             \
    KERNEL NAME(Back back, const double* terms, const double* weights, Shape shape, Tail tail, Element* dx,     \
                Element* dv) {                                                                                  \
        input_gradient<V, ROWS, OF, WEIGHTED>(back, terms, weights, shape, tail, dx, dv);                       \
    }

INPUT_GRADIENT(input_gradient_rows_vector_none, VECTOR, true, NONE, false)
INPUT_GRADIENT(input_gradient_rows_vector_relu, VECTOR, true, RELU, false)
INPUT_GRADIENT(input_gradient_rows_vector_any, VECTOR, true, ANY, false)
INPUT_GRADIENT(input_gradient_rows_single_any, 1, true, ANY, false)
INPUT_GRADIENT(input_gradient_rows_weighted_any, 1, true, ANY, true)
INPUT_GRADIENT(input_gradient_columns_vector_none, VECTOR, false, NONE, false)
INPUT_GRADIENT(input_gradient_columns_vector_relu, VECTOR, false, RELU, false)
INPUT_GRADIENT(input_gradient_columns_vector_any, VECTOR, false, ANY, false)
INPUT_GRADIENT(input_gradient_columns_single_any, 1, false, ANY, false)
INPUT_GRADIENT(input_gradient_columns_weighted_any, 1, false, ANY, true)
