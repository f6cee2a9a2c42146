// The formulas of channel/ on the device, a channel at a time: moments from parts, what normalizes a channel, renorm's r
// and d, and the per-channel terms of the gradient. Compiled without contraction to fused multiply-adds, so the numbers
// are the host's.

// Channels of a block; its other threads share the splits.
constexpr int TOGETHER = 8;

// A [C] variable in f32 or f64; `absent` where it is null.
__device__ inline double value_of(const void* values, Index is_wide, Index c, double absent) {
    if (!values) return absent;
    return is_wide ? ((const double*)values)[c] : ((const float*)values)[c];
}

__device__ inline void set_value(void* values, Index is_wide, Index c, double v) {
    if (!values) return;
    if (is_wide) {
        ((double*)values)[c] = v;
    } else {
        ((float*)values)[c] = (float)v;
    }
}

// All splits' values of a channel of a group. Every thread of the block calls it.
template <class P>
__device__ inline P over_splits(const P* of, Index group, Index splits, Index channels, Index c, P nothing, P* shared) {
    P own = nothing;
    if (c < channels) {
        for (Index split = threadIdx.x / TOGETHER; split < splits; split += blockDim.x / TOGETHER) {
            own = combined(own, of[(group * splits + split) * channels + c]);
        }
    }
    return over_block(own, TOGETHER, shared);
}

__device__ inline double variance_of(const Part& part) { return part.weight > 0 ? part.squares / part.weight : 0; }

// Means, then variances, each [groups, channels], for formulas on the host.
KERNEL combine(const Part* parts, Index groups, Index channels, Index splits, double* moments) {
    SHARED(Part, shared, BLOCK);
    const Index c = (Index)blockIdx.x * TOGETHER + threadIdx.x % TOGETHER;
    for (Index group = 0; group < groups; ++group) {
        const Part all = over_splits(parts, group, splits, channels, c, Part{0, 0, 0}, shared);
        if (threadIdx.x < TOGETHER && c < channels) {
            moments[group * channels + c] = all.mean;
            moments[(groups + group) * channels + c] = variance_of(all);
        }
    }
}

// RenormVariant.
enum Variant { WITHOUT, TF1, KERAS, PAPER };

struct Renorm {
    const void *mean, *stddev, *mean_weight, *stddev_weight;
    Index variant, is_wide;
    double r_min, r_max, d_max;
};

__device__ inline double clipped(double v, double low, double high) {
    v = v < low ? low : v;
    return v > high ? high : v;
}

// One channel's fields, [fields, groups, channels].
struct Fields {
    double* at;
    Index count;

    __device__ void set(double mean, double inv_std, double r, double d, double gamma, double beta, int flags) const {
        at[MEAN * count] = mean;
        at[SCALE * count] = gamma * inv_std * r;
        at[OFFSET * count] = gamma * d + beta;
        at[INV_STD * count] = inv_std;
        at[R * count] = r;
        at[D * count] = d;
        at[FLAGS * count] = flags;
    }
};

struct ByBatch {
    const Part* parts;
    // Each [groups, channels] for every field.
    double* fields;
    // Means, then variances, [channels], of all groups together: what an update takes.
    double* batch;
    const void *gamma, *beta;
    Index gamma_is_wide, beta_is_wide;
    Index groups, channels, splits;
    double epsilon;
    Renorm renorm;
};

// Channels normalized by their own moments (Formulas::by_batch).
// The channels of one of as many blocks as there are runs of TOGETHER of them; all threads of the block call it.
__device__ inline void by_batch_of(const ByBatch& o, Index block, Part* shared) {
    const Index c = block * TOGETHER + threadIdx.x % TOGETHER, count = o.groups * o.channels;
    double weight = 0, mean = 0, variance = 0;
    for (Index group = 0; group < o.groups; ++group) {
        const Part all = over_splits(o.parts, group, o.splits, o.channels, c, Part{0, 0, 0}, shared);
        if (threadIdx.x >= TOGETHER || c >= o.channels) continue;
        const double own_variance = variance_of(all), stddev = sqrt(own_variance + o.epsilon);
        double r = 1, d = 0;
        int flags = THROUGH;
        if (o.renorm.variant != WITHOUT) {
            const Renorm& by = o.renorm;
            double mu = value_of(by.mean, by.is_wide, c, 0), sigma = value_of(by.stddev, by.is_wide, c, 0);
            if (by.variant == TF1) {
                mu += (1 - value_of(by.mean_weight, by.is_wide, c, 0)) * all.mean;
                sigma += (1 - value_of(by.stddev_weight, by.is_wide, c, 0)) * stddev;
            } else if (by.variant == KERAS) {
                const double low = sqrt(o.epsilon);
                sigma = sigma < low ? low : sigma;
            }
            const double free_r = stddev / sigma, free_d = (all.mean - mu) / sigma;
            r = clipped(free_r, by.r_min, by.r_max);
            d = clipped(free_d, -by.d_max, by.d_max);
            flags |= (r != free_r ? R_CLIPPED : 0) | (d != free_d ? D_CLIPPED : 0);
        }
        const double gamma = value_of(o.gamma, o.gamma_is_wide, c, 1), beta = value_of(o.beta, o.beta_is_wide, c, 0);
        Fields{o.fields + group * o.channels + c, count}.set(all.mean, 1 / stddev, r, d, gamma, beta, flags);
        // Moment::merge.
        const double total = weight + all.weight;
        if (group == 0) {
            mean = all.mean;
            variance = own_variance;
        } else if (total > 0) {
            const double share = weight / total, other_share = all.weight / total, delta = all.mean - mean;
            mean += delta * other_share;
            variance = (share * variance + other_share * own_variance) + delta * delta * (share * other_share);
        }
        weight = total;
    }
    if (threadIdx.x < TOGETHER && c < o.channels) {
        o.batch[c] = mean;
        o.batch[o.channels + c] = variance;
    }
}

KERNEL by_batch(ByBatch o) {
    SHARED(Part, shared, BLOCK);
    by_batch_of(o, blockIdx.x, shared);
}

struct ByMoving {
    const void *mean, *variance, *gamma, *beta;
    Index is_wide, gamma_is_wide, beta_is_wide, channels;
    double epsilon;
    double* fields;
};

// Channels normalized by moving statistics (Formulas::by_fixed).
KERNEL by_moving(ByMoving o) {
    const Index c = (Index)blockIdx.x * blockDim.x + threadIdx.x;
    if (c >= o.channels) return;
    const double inv_std = 1 / sqrt(value_of(o.variance, o.is_wide, c, 0) + o.epsilon);
    const double gamma = value_of(o.gamma, o.gamma_is_wide, c, 1), beta = value_of(o.beta, o.beta_is_wide, c, 0);
    Fields{o.fields + c, o.channels}.set(value_of(o.mean, o.is_wide, c, 0), inv_std, 1, 0, gamma, beta, 0);
}

struct Terms {
    const Pair* sums;
    const double* fields;
    // p and q, each [groups, channels].
    double* terms;
    // Σ dv and Σ dv·x̂, likewise; may be null.
    double* totals;
    // [channels]; may be null.
    void *dgamma, *dbeta;
    Index gamma_is_wide, beta_is_wide;
    Shape shape;
};

// The gradients of gamma and beta, and the terms of that of x, for statistics of unweighted values.
// The channels of one of as many blocks as there are runs of TOGETHER of them; all threads of the block call it.
__device__ inline void terms_of(const Terms& o, Index block, Pair* shared) {
    const Shape& shape = o.shape;
    const Index channels = shape.channels, groups = (shape.outer + shape.group - 1) / shape.group;
    const Index c = block * TOGETHER + threadIdx.x % TOGETHER, count = groups * channels;
    double dgamma = 0, dbeta = 0;
    for (Index group = 0; group < groups; ++group) {
        const Pair all = over_splits(o.sums, group, shape.splits, channels, c, Pair{0, 0}, shared);
        if (threadIdx.x >= TOGETHER || c >= channels) continue;
        const Index at = group * channels + c;
        const double* field = o.fields + at;
        const double dv = all.a, dv_x_hat = field[INV_STD * count] * all.b;
        double p = 0, q = 0;
        if ((int)field[FLAGS * count] & THROUGH) {
            const double share = 1 / (double)(rows_of(shape, group) * shape.inner), scale = field[SCALE * count];
            p = scale * dv * share;
            q = field[INV_STD * count] * (scale * dv_x_hat) * share;
        }
        o.terms[at] = p;
        o.terms[count + at] = q;
        if (o.totals) {
            o.totals[at] = dv;
            o.totals[count + at] = dv_x_hat;
        }
        dgamma += field[R * count] * dv_x_hat + field[D * count] * dv;
        dbeta += dv;
    }
    if (threadIdx.x < TOGETHER && c < channels) {
        set_value(o.dgamma, o.gamma_is_wide, c, dgamma);
        set_value(o.dbeta, o.beta_is_wide, c, dbeta);
    }
}

KERNEL terms(Terms o) {
    SHARED(Pair, shared, BLOCK);
    terms_of(o, blockIdx.x, shared);
}
