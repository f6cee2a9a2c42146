// The loss of a batch and its gradient against plain sums in f64.

#include "loss.h"

#include "check.h"

namespace {

struct LossCase {
    Index rows, classes;
    bool is_squared, is_weighted;
    // Whether the second example has a NaN, the third an infinity, and the last a label that is no class.
    bool is_odd;
};

void check(const LossCase& of, std::uint64_t seed) {
    Numbers numbers{seed};
    std::vector<float> scores(static_cast<std::size_t>(of.rows * of.classes)), gradient(scores.size(), static_cast<float>(NOTHING));
    std::vector<unsigned> labels(static_cast<std::size_t>(of.rows));
    std::vector<double> shares(static_cast<std::size_t>(of.rows));
    for (float& v : scores) v = static_cast<float>(4 * numbers.normal());
    for (unsigned& label : labels) label = static_cast<unsigned>(numbers.bits() % static_cast<std::uint64_t>(of.classes));
    for (Index n = 0; n < of.rows; ++n) shares[n] = of.is_weighted ? (n % 3 == 0 ? 0 : numbers.unit()) : 1.0 / static_cast<double>(of.rows);
    if (of.is_odd) {
        scores[of.classes] = static_cast<float>(NOTHING);
        scores[2 * of.classes] = INFINITY;
        labels.back() = static_cast<unsigned>(of.classes);
    }

    double loss = 0, right = 0;
    std::vector<double> slopes(scores.size());
    for (Index n = 0; n < of.rows; ++n) {
        const float* const row = &scores[n * of.classes];
        const bool is_class = labels[n] < of.classes;
        const double own = is_class ? row[labels[n]] : NOTHING;
        double highest = row[0], total = 0, own_loss = 0;
        bool is_right = true;
        for (Index k = 0; k < of.classes; ++k) {
            if (k != labels[n] && !(own > row[k])) is_right = false;
            highest = fmax(highest, row[k]);
        }
        for (Index k = 0; k < of.classes; ++k) total += exp(row[k] - highest);
        for (Index k = 0; k < of.classes; ++k) {
            const double target = k == labels[n];
            own_loss += (row[k] - target) * (row[k] - target) / static_cast<double>(of.classes);
            slopes[n * of.classes + k] =
                shares[n] * (of.is_squared ? 2 * (row[k] - target) / static_cast<double>(of.classes) : exp(row[k] - highest) / total - target);
        }
        if (!of.is_squared) own_loss = log(total) - (own - highest);
        if (!is_class) own_loss = NOTHING;
        loss += own_loss * shares[n];
        right += is_right;
    }

    double result[2] = {NOTHING, NOTHING};
    host::launch(1, loss_of_batch, static_cast<const float*>(scores.data()), static_cast<const unsigned*>(labels.data()),
                 of.is_weighted ? static_cast<const double*>(shares.data()) : nullptr, of.rows, of.classes,
                 static_cast<Index>(of.is_squared), gradient.data(), result);
    // Scores are some units large, and so are losses. Sums of f32 exponentials, a rounding each.
    const double bound = 32 * 0x1p-23 * (of.is_squared ? 64 : 16);
    checks.near("loss", 0, result[0], loss, bound);
    checks.near("right", 0, result[1], right / static_cast<double>(of.rows), 1e-15);
    for (std::size_t i = 0; i < slopes.size(); ++i) {
        checks.near("gradient", static_cast<Index>(i), gradient[i], slopes[i], 32 * 0x1p-23 * (of.is_squared ? 16 : 1));
    }
}

}  // namespace

void check_loss(unsigned share) {
    unsigned number = 0;
    for (const auto& [rows, classes] : std::vector<std::pair<Index, Index>>{{1, 1}, {3, 2}, {7, 3}, {16, 10}, {33, 10}, {50, 100}}) {
        for (const bool is_squared : {false, true}) {
            for (const bool is_weighted : {false, true}) {
                for (const bool is_odd : {false, true}) {
                    if (is_odd && rows < 4) continue;
                    if (number++ % share != 0) continue;
                    checks.begin("loss " + std::to_string(rows) + "x" + std::to_string(classes) + (is_squared ? ", squared" : "") +
                                 (is_weighted ? ", weighted" : "") + (is_odd ? ", odd" : ""));
                    check({rows, classes, is_squared, is_weighted, is_odd}, number);
                }
            }
        }
    }
}
