// The commit of one batch (channel/commit.rs, average.rs, renorm.rs): one block, since one value that is not finite, in
// any channel, refuses the update of all. Stands behind formulas.cu, and is compiled with it.

// A layer's variables, [channels], all f32 or all f64; null where the layer has none.
struct Averages {
    void *mean, *mean_biased, *mean_weight;
    void *variance, *variance_biased, *variance_weight;
    void *renorm_mean, *renorm_stddev, *renorm_mean_weight, *renorm_stddev_weight, *moving_stddev;
};

// What a layer counts on the device.
enum Count { REFUSED, COMMITTED, SKIPPED_VARIANCE, GATHERED, SQUARES };

struct Commit {
    Averages averages;
    // Means, then biased variances, [channels].
    const double* batch;
    // Before the update: moving means, then moving variances, [channels].
    double* before;
    // Updates that took effect: one f64, or i64.
    void* updates;
    // One for each Count.
    double* counts;
    Index channels, is_wide, updates_are_i64;
    Index variant;
    // Decay::Cumulative: the rate follows from the number of updates.
    Index is_cumulative;
    // Whether this batch's weight may move variances, and whether a constant channel's stays.
    Index moves_variance, skips_constant;
    // Whether the stored variance is unbiased: variance · weight / freedom, if the freedom is positive.
    Index is_unbiased;
    double rate, renorm_decay, epsilon, weight, freedom;
    // Equally weighted values with the same information (Weight::values).
    double values;
};

__device__ inline double toward(double old, double x, double rate) { return old + (x - old) * rate; }

// A [C] variable; what is set is rounded to its type.
struct Column {
    void* values;
    Index is_wide;

    __device__ double get(Index c) const { return value_of(values, is_wide, c, 0); }
    __device__ void set(Index c, double v) const { set_value(values, is_wide, c, v); }
    __device__ void move(Index c, double x, double rate) const { set(c, toward(get(c), x, rate)); }
};

// Average::update.
__device__ inline void update(const Column& value, const Column& biased, const Column& weight, Index c, double x,
                              double rate) {
    if (!weight.values) return value.move(c, x, rate);
    const double before = weight.get(c), gathered = toward(before, 1, rate);
    const double moved = before > 0 ? toward(value.get(c), x, rate / gathered) : x;
    value.set(c, moved);
    weight.set(c, gathered);
    biased.set(c, moved * gathered);
}

__device__ inline double debiased(const Column& sum, const Column& weight, Index c) {
    const double gathered = weight.get(c);
    return gathered > 0 ? sum.get(c) / gathered : 0;
}

KERNEL commit(Commit o) {
    const Index wide = o.is_wide;
    const Averages& all = o.averages;
    const double* means = o.batch;
    const double* variances = o.batch + o.channels;
    const double updates =
        o.updates_are_i64 ? (double)*(const long long*)o.updates : *(const double*)o.updates;
    const double rate = o.is_cumulative ? 1 / (updates + 1) : o.rate;

    bool holds = true, moves_all = true;
    for (Index c = threadIdx.x; c < o.channels; c += blockDim.x) {
        const double variance = variances[c];
        const double stored = o.is_unbiased && o.freedom > 0 ? (variance * o.weight) / o.freedom : variance;
        const double mean = wide ? means[c] : (double)(float)means[c];
        const double kept = wide ? stored : (double)(float)stored;
        holds = holds && mean - mean == 0 && kept - kept == 0;
        moves_all = moves_all && o.moves_variance && (!o.skips_constant || variance > 0);
        o.before[c] = value_of(all.mean, wide, c, 0);
        o.before[o.channels + c] = value_of(all.variance, wide, c, 0);
    }
    const bool accepted = __syncthreads_and(holds && o.weight > 0);
    const bool skipped = __syncthreads_or(!moves_all);
    if (threadIdx.x == 0) {
        // Every thread has read the counter by now.
        if (accepted) {
            if (o.updates_are_i64) {
                *(long long*)o.updates = (long long)updates + 1;
            } else {
                *(double*)o.updates = updates + 1;
            }
            o.counts[COMMITTED] += 1;
            o.counts[SKIPPED_VARIANCE] += skipped;
            o.counts[GATHERED] = toward(o.counts[GATHERED], 1, rate);
            o.counts[SQUARES] = o.counts[SQUARES] * (1 - rate) * (1 - rate) + rate * rate / o.values;
        } else {
            o.counts[REFUSED] += 1;
        }
    }
    if (!accepted) return;

    const Column mean{all.mean, wide}, mean_biased{all.mean_biased, wide}, mean_weight{all.mean_weight, wide};
    const Column variance{all.variance, wide}, variance_biased{all.variance_biased, wide},
        variance_weight{all.variance_weight, wide};
    const Column renorm_mean{all.renorm_mean, wide}, renorm_stddev{all.renorm_stddev, wide};
    const Column of_mean{all.renorm_mean_weight, wide}, of_stddev{all.renorm_stddev_weight, wide};
    const Column moving_stddev{all.moving_stddev, wide};
    const double own = 1 - o.renorm_decay;
    for (Index c = threadIdx.x; c < o.channels; c += blockDim.x) {
        const double of_batch = variances[c];
        const bool moves = o.moves_variance && (!o.skips_constant || of_batch > 0);
        if (o.variant == WITHOUT) {
            const double stored = o.is_unbiased && o.freedom > 0 ? (of_batch * o.weight) / o.freedom : of_batch;
            update(mean, mean_biased, mean_weight, c, means[c], rate);
            if (moves) update(variance, variance_biased, variance_weight, c, stored, rate);
            continue;
        }
        // RenormAverages::update.
        const double stddev = sqrt(of_batch + o.epsilon);
        renorm_mean.move(c, means[c], own);
        if (moves) renorm_stddev.move(c, stddev, own);
        if (o.variant == TF1) {
            of_mean.move(c, 1, own);
            if (moves) of_stddev.move(c, 1, own);
            const double s = debiased(renorm_stddev, of_stddev, c);
            update(mean, mean_biased, mean_weight, c, debiased(renorm_mean, of_mean, c), rate);
            if (moves) update(variance, variance_biased, variance_weight, c, s * s - o.epsilon, rate);
        } else if (o.variant == KERAS) {
            if (moves) moving_stddev.move(c, stddev, rate);
            const double s = moving_stddev.get(c), v = s * s - o.epsilon;
            update(mean, mean_biased, mean_weight, c, means[c], rate);
            if (moves) variance.set(c, v > 0 ? v : 0);
        } else {
            mean.set(c, renorm_mean.get(c));
            const double s = renorm_stddev.get(c);
            if (moves) variance.set(c, s * s - o.epsilon);
        }
    }
}
