// The gradient in two passes: Σ dv and Σ dv·(x − mean) of each channel, group and split, a Pair each, which `terms` (see
// formulas.cu) adds up; then dx = scale·dv − w·(p + (x − mean)·q). dv is the gradient before the activation, whose
// argument is computed again.

// What the passes read.
struct Back {
    const Element *x, *residual, *dy;
    const double* channels;
};

// x − mean (in units of the channel) and dv of V elements.
template <int V, bool ROWS, int OF, int C>
__device__ inline void centred_and_dv(const Back& back, const Tail& tail, const Affine (&affine)[C], Index at,
                                      Real (&centred)[V], Real (&dv)[V]) {
    Real added[V] = {};
    load<V>(back.x + at, centred);
    load<V>(back.dy + at, dv);
    if (OF != NONE && back.residual) load<V>(back.residual + at, added);
#pragma unroll
    for (int k = 0; k < V; ++k) {
        const Affine& a = affine[ROWS ? 0 : k];
        centred[k] = a.centred(centred[k]);
        dv[k] = through_activation<OF>(tail, centred[k] * a.scale + a.offset + added[k], dv[k]);
    }
}

template <int V, bool ROWS, int OF>
__device__ inline void gradient_sums(const Back& back, const Shape& shape, const Tail& tail, Pair* sums) {
    SHARED(Pair, shared, BLOCK);
    const Walk<V, ROWS> walk(shape);
    constexpr int CHANNELS = Walk<V, ROWS>::CHANNELS;
    Affine affine[CHANNELS];
    if (walk.any) affines(back.channels, shape, walk.of_group(), affine);
    Pair own[V] = {};
    walk.each([&](Index at, Index) {
        Real centred[V], dv[V];
        centred_and_dv<V, ROWS, OF>(back, tail, affine, at, centred, dv);
#pragma unroll
        for (int k = 0; k < V; ++k) {
            own[k].a += dv[k];
            own[k].b += (double)dv[k] * (double)centred[k];
        }
    });
    if (ROWS) {
        for (int k = 1; k < V; ++k) own[0] = combined(own[0], own[k]);
    }
    for (int k = 0; k < CHANNELS; ++k) {
        const Pair all = over_block(own[k], ROWS ? 1 : shape.width, shared);
        if (threadIdx.x < (ROWS ? 1 : shape.width) && walk.any) {
            // From the rounded mean to the exact one. Read again: the loop needs its registers.
            Affine again[1];
            affines(back.channels, shape, walk.of_group() + k, again);
            sums[walk.of_split() + k] = {all.a, (all.b - again[0].lost * all.a) / (double)again[0].unit};
        }
    }
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

// `terms` has p and q, each [groups, channels]. `dv` may be null.
template <int V, bool ROWS, int OF, bool WEIGHTED>
__device__ inline void input_gradient(const Back& back, const double* terms, const double* weights, const Shape& shape,
                                      const Tail& tail, Element* dx, Element* dv_out) {
    typedef typename Through<WEIGHTED>::Number Number;
    const Walk<V, ROWS> walk(shape);
    if (!walk.any) return;
    constexpr int CHANNELS = Walk<V, ROWS>::CHANNELS;
    const Index count = (shape.outer + shape.group - 1) / shape.group * shape.channels;
    Affine affine[CHANNELS];
    Line<Number> line[CHANNELS];
    Real scale[CHANNELS];
    affines(back.channels, shape, walk.of_group(), affine);
#pragma unroll
    for (int k = 0; k < CHANNELS; ++k) {
        line[k] = Line<Number>(terms, count, walk.of_group() + k, affine[k]);
        scale[k] = (Real)back.channels[SCALE * count + walk.of_group() + k];
    }
    walk.each([&](Index at, Index position) {
        Real centred[V], dv[V];
        centred_and_dv<V, ROWS, OF>(back, tail, affine, at, centred, dv);
        if (dv_out) store<V>(dv_out + at, dv);
#pragma unroll
        for (int k = 0; k < V; ++k) {
            const int c = ROWS ? 0 : k;
            Number through = line[c].slope * (Number)centred[k] + line[c].level;
            if (WEIGHTED) through *= (Number)weights[position];
            centred[k] = scale[c] * dv[k] + (Real)through;
        }
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
