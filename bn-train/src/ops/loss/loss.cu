// The loss of a batch and its gradient, as loss/mod.rs has them for the CPU.

// The loss of an example.
struct OfRow {
    double loss;
    bool is_right;
    // Of the cross-entropy: the highest score, and below it the sum of exp(score - highest).
    float highest, total;
};

__device__ inline OfRow row_of(const float* scores, Index classes, Index label, bool is_squared) {
    OfRow row{0, true, 0, 0};
    // A label that is no class gives no loss that is a number.
    const float own = label < classes ? scores[label] : 0.0f / 0.0f;
    for (Index k = 0; k < classes; ++k) {
        // False where one of both is NaN.
        if (k != label && !(own > scores[k])) row.is_right = false;
    }
    if (is_squared) {
        for (Index k = 0; k < classes; ++k) {
            const double difference = (double)scores[k] - (k == label ? 1 : 0);
            row.loss += difference * difference;
        }
        row.loss = label < classes ? row.loss / classes : own;
        return row;
    }
    row.highest = scores[0];
    for (Index k = 1; k < classes; ++k) row.highest = fmaxf(row.highest, scores[k]);
    for (Index k = 0; k < classes; ++k) row.total += expf(scores[k] - row.highest);
    row.loss = logf(row.total) - (own - row.highest);
    return row;
}

// One block. The examples' losses, each times its share (null: 1 / rows), into result[0], the share of examples that are right
// into result[1], and the gradient of result[0] by the scores.
KERNEL loss_of_batch(const float* scores, const unsigned* labels, const double* shares, Index rows, Index classes,
                     Index is_squared, float* gradient, double* result) {
    SHARED(double, losses, MOST_THREADS);
    SHARED(double, rights, MOST_THREADS);
    double loss = 0, right = 0;
    for (Index n = threadIdx.x; n < rows; n += blockDim.x) {
        const float* const of_row = scores + n * classes;
        const Index label = labels[n];
        const double share = shares ? shares[n] : 1.0 / rows;
        const OfRow row = row_of(of_row, classes, label, is_squared != 0);
        loss += row.loss * share;
        right += row.is_right ? 1 : 0;
        for (Index k = 0; k < classes; ++k) {
            const float target = k == label ? 1 : 0;
            const float slope = is_squared ? (of_row[k] - target) * (2.0f / classes) : expf(of_row[k] - row.highest) / row.total - target;
            gradient[n * classes + k] = slope * (float)share;
        }
    }
    loss = sum_over_block(loss, losses);
    right = sum_over_block(right, rights);
    if (threadIdx.x == 0) {
        result[0] = loss;
        result[1] = right / rows;
    }
}
