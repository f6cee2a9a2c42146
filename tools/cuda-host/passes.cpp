// The large passes against plain f64 loops: ragged shapes, both layouts, groups, splits, weights, residuals, activations.

#include "passes.h"

#include <algorithm>

#include "check.h"

namespace {

struct Case {
    Index outer, channels, inner, group, splits;
    bool vectors, weighted, residual, dv;
    Tail tail;
    // Where the values lie, and how far apart.
    double mean, stddev;
};

double tail_of(const Tail& tail, double v) {
    switch (tail.kind) {
        case NONE: return v;
        case RELU: return v > 0 ? v : 0;
        case SIGMOID: return 1 / (1 + exp(-v));
        case TANH: return tanh(v);
        default: return v > 0 ? v : v * tail.slope;
    }
}

double slope_of(const Tail& tail, double v) {
    const double y = tail_of(tail, v);
    switch (tail.kind) {
        case NONE: return 1;
        case RELU: return v > 0;
        case SIGMOID: return y * (1 - y);
        case TANH: return 1 - y * y;
        default: return v > 0 ? 1 : tail.slope;
    }
}

// What must come out, for one case.
class Expected {
public:
    Expected(const Case& of, Numbers& numbers)
        : c_(of),
          launch_(of.outer, of.channels, of.inner, of.group, of.splits, of.vectors && !of.weighted),
          count_(launch_.groups() * of.channels),
          x_(launch_.elements(), [&](Index) { return of.mean + of.stddev * numbers.normal(); }),
          residual_(launch_.elements(), [&](Index) { return numbers.normal(); }),
          dy_(launch_.elements(), [&](Index) { return numbers.normal(); }),
          fields_(7 * count_),
          terms_(2 * count_) {
        for (Index i = 0; i < of.outer * of.inner; ++i) {
            weights_.push_back(numbers.bits() % 4 == 0 ? 0 : 0.5 + numbers.unit());
        }
        for (Index at = 0; at < count_; ++at) {
            fields_[MEAN * count_ + at] = of.mean + 0.3 * of.stddev * numbers.normal();
            fields_[INV_STD * count_ + at] = (0.5 + numbers.unit()) / of.stddev;
            fields_[SCALE * count_ + at] = (numbers.unit() - 0.3) * fields_[INV_STD * count_ + at];
            fields_[OFFSET * count_ + at] = numbers.normal();
            fields_[R * count_ + at] = 1;
            fields_[FLAGS * count_ + at] = THROUGH;
            terms_[at] = 0.1 * numbers.normal();
            terms_[count_ + at] = 0.1 * numbers.normal() / of.stddev;
        }
        // No gradient where the argument of a kinked activation is 0 up to rounding: both sides are right there.
        each([&](Index i, Index at, Index) {
            if (fabs(argument(i, at)) < 64 * REAL_EPSILON * size(i, at)) dy_.values[i] = element(0);
        });
    }

    void check() {
        moments();
        normalize();
        gradients();
    }

private:
    // f(index of an element, of its group's channel, its position)
    template <class F> void each(F f) const {
        for (Index o = 0; o < c_.outer; ++o) {
            for (Index k = 0; k < c_.channels; ++k) {
                for (Index i = 0; i < c_.inner; ++i) {
                    f((o * c_.channels + k) * c_.inner + i, o / c_.group * c_.channels + k, o * c_.inner + i);
                }
            }
        }
    }

    double field(Field f, Index at) const { return fields_[f * count_ + at]; }
    double centred(Index i, Index at) const { return x_[i] - field(MEAN, at); }
    double added(Index i) const { return c_.residual ? residual_[i] : 0; }
    double argument(Index i, Index at) const {
        return centred(i, at) * field(SCALE, at) + field(OFFSET, at) + added(i);
    }
    // Of the terms of the argument; rounding is a part of it.
    double size(Index i, Index at) const {
        const double of_x = (fabs(centred(i, at)) + 2 * c_.stddev) * fabs(field(SCALE, at));
        return of_x + fabs(field(OFFSET, at)) + fabs(added(i));
    }
    double weight(Index position) const { return c_.weighted ? weights_[position] : 1; }
    const double* weights() const { return c_.weighted ? weights_.data() : nullptr; }
    const Element* residual() const { return c_.residual ? residual_.data() : nullptr; }

    void moments() {
        std::vector<Part> parts(count_ * c_.splits, Part{NOTHING, NOTHING, NOTHING}), again = parts;
        std::vector<double> got(2 * count_, NOTHING);
        const auto kernel = moments_kernel(launch_, c_.weighted);
        host::launch(launch_.blocks(), kernel, x_.data(), launch_.shape, weights(), parts.data());
        host::launch(launch_.blocks(), kernel, x_.data(), launch_.shape, weights(), again.data());
        checks.same_bits("moments", parts.data(), again.data(), parts.size() * sizeof(Part));
        host::launch((c_.channels + TOGETHER - 1) / TOGETHER, combine, parts.data(), launch_.groups(), c_.channels,
                     c_.splits, got.data());

        std::vector<double> total(count_), mean(count_), variance(count_), counted(count_);
        each([&](Index, Index at, Index position) { total[at] += weight(position); });
        each([&](Index i, Index at, Index position) { mean[at] += weight(position) * (x_[i] - c_.mean); });
        for (Index at = 0; at < count_; ++at) mean[at] = total[at] > 0 ? c_.mean + mean[at] / total[at] : 0;
        each([&](Index i, Index at, Index position) {
            variance[at] += weight(position) * (x_[i] - mean[at]) * (x_[i] - mean[at]);
        });
        for (Index g = 0; g < launch_.groups(); ++g) {
            for (Index s = 0; s < c_.splits; ++s) {
                for (Index k = 0; k < c_.channels; ++k) {
                    counted[g * c_.channels + k] += parts[(g * c_.splits + s) * c_.channels + k].weight;
                }
            }
        }
        for (Index at = 0; at < count_; ++at) {
            const double by = total[at] > 0 ? variance[at] / total[at] : 0;
            checks.near("weight", at, counted[at], total[at], 1e-12 * total[at]);
            // f64 throughout: the bounds are those of its sums.
            const double of_mean = 1e-13 * (fabs(c_.mean) + c_.stddev);
            checks.near("mean", at, got[at], mean[at], of_mean);
            // Means of parts are rounded where the values lie.
            const double of_parts = 0x1p-49 * fabs(c_.mean) * c_.stddev;
            checks.near("variance", at, got[count_ + at], by, 1e-11 * by + of_parts + of_mean * of_mean);
        }
    }

    void normalize() {
        Tensor y(launch_.elements());
        host::launch(launch_.blocks(), BY_ACTIVATION(normalize, launch_, c_.tail.kind), x_.data(), residual(),
                     fields_.data(), launch_.shape, c_.tail, y.data());
        each([&](Index i, Index at, Index) {
            const double want = tail_of(c_.tail, argument(i, at));
            const double bound = 4 * REAL_EPSILON * (size(i, at) + fabs(want)) + ELEMENT_EPSILON * fabs(want);
            checks.near("y", i, y[i], want, bound + ELEMENT_TINY * ELEMENT_EPSILON);
        });
    }

    void gradients() {
        const Back back{x_.data(), residual(), dy_.data(), fields_.data()};
        std::vector<Pair> sums(count_ * c_.splits, Pair{NOTHING, NOTHING}), again = sums;
        const auto kernel = BY_ACTIVATION(gradient_sums, launch_, c_.tail.kind);
        host::launch(launch_.blocks(), kernel, back, launch_.shape, c_.tail, sums.data());
        host::launch(launch_.blocks(), kernel, back, launch_.shape, c_.tail, again.data());
        checks.same_bits("gradient sums", sums.data(), again.data(), sums.size() * sizeof(Pair));
        std::vector<double> terms(2 * count_, NOTHING), totals(2 * count_, NOTHING), dgamma(c_.channels, NOTHING),
            dbeta(c_.channels, NOTHING);
        host::launch((c_.channels + TOGETHER - 1) / TOGETHER, ::terms,
                     Terms{sums.data(), fields_.data(), terms.data(), totals.data(), dgamma.data(), dbeta.data(), 1, 1,
                           launch_.shape});

        // An error of v is one of dv by the activation's second derivative, which is at most 1.
        std::vector<double> dv(count_), moment(count_), of_dv(count_), of_moment(count_), values(count_);
        each([&](Index i, Index at, Index) {
            const double of = dy_[i] * slope_of(c_.tail, argument(i, at));
            const double off = 4 * REAL_EPSILON * (fabs(of) + curved() * fabs(dy_[i]) * (size(i, at) + 1));
            const double distance = fabs(centred(i, at)) + c_.stddev;
            dv[at] += of;
            moment[at] += of * centred(i, at);
            of_dv[at] += off + 1e-15 * fabs(of);
            of_moment[at] += off * distance + 4 * REAL_EPSILON * fabs(of) * distance;
            values[at] += 1;
        });
        for (Index at = 0; at < count_; ++at) {
            const double inv_std = field(INV_STD, at), scale = field(SCALE, at);
            checks.near("sum of dv", at, totals[at], dv[at], of_dv[at]);
            checks.near("sum of dv x_hat", at, totals[count_ + at], inv_std * moment[at], inv_std * of_moment[at]);
            // From the sums found: these formulas are exact to a few places.
            const double p = scale * totals[at] / values[at];
            const double q = scale * inv_std * totals[count_ + at] / values[at];
            checks.near("p", at, terms[at], p, 1e-14 * fabs(p));
            checks.near("q", at, terms[count_ + at], q, 1e-14 * fabs(q));
        }
        for (Index k = 0; k < c_.channels; ++k) {
            double of_gamma = 0, of_beta = 0, size = 0;
            for (Index at = k; at < count_; at += c_.channels) {
                of_gamma += totals[count_ + at];
                of_beta += totals[at];
                size += fabs(totals[count_ + at]) + fabs(totals[at]);
            }
            checks.near("dgamma", k, dgamma[k], of_gamma, 1e-14 * size);
            checks.near("dbeta", k, dbeta[k], of_beta, 1e-14 * size);
        }
        of_input(back);
    }

    void of_input(const Back& back) {
        Tensor dx(launch_.elements()), dv(launch_.elements());
        host::launch(launch_.blocks(), input_gradient_kernel(launch_, c_.weighted, c_.tail.kind), back,
                     terms_.data(), weights(), launch_.shape, c_.tail, dx.data(), c_.dv ? dv.data() : nullptr);
        each([&](Index i, Index at, Index position) {
            const double of = dy_[i] * slope_of(c_.tail, argument(i, at)), q = terms_[count_ + at];
            const double through = terms_[at] + centred(i, at) * q;
            const double want = field(SCALE, at) * of - weight(position) * through;
            const double parts = fabs(terms_[at]) + (fabs(centred(i, at)) + 2 * c_.stddev) * fabs(q);
            const double off = 4 * REAL_EPSILON * (fabs(of) + curved() * fabs(dy_[i]) * (size(i, at) + 1));
            const double bound = fabs(field(SCALE, at)) * off + 4 * REAL_EPSILON * weight(position) * parts;
            checks.near("dx", i, dx[i], want, bound + ELEMENT_EPSILON * (fabs(want) + ELEMENT_TINY));
            if (c_.dv) checks.near("dv", i, dv[i], of, off + ELEMENT_EPSILON * (fabs(of) + ELEMENT_TINY));
        });
    }

    // Whether the activation's slope depends on v beyond its sign.
    double curved() const { return c_.tail.kind == SIGMOID || c_.tail.kind == TANH; }

    Case c_;
    Launch launch_;
    Index count_;
    Tensor x_, residual_, dy_;
    std::vector<double> weights_, fields_, terms_;
};

std::string named(const Case& c) {
    char text[160];
    std::snprintf(text, sizeof text, "[%lld, %lld, %lld] groups of %lld, %lld splits, activation %lld%s%s%s, mean %g",
                  c.outer, c.channels, c.inner, c.group, c.splits, c.tail.kind, c.vectors ? "" : ", no vectors",
                  c.weighted ? ", weights" : "", c.residual ? ", residual" : "", c.mean);
    return text;
}

// Every 16-bit number is itself again, and what lies between two goes to the nearer, from the middle to the even one.
void check_conversions() {
#if ELEMENT == F16 || ELEMENT == BF16
    checks.begin("conversions");
    const unsigned infinity = ELEMENT == F16 ? 0x7c00 : 0x7f80;
    const auto bits_of = [](float v) { return static_cast<double>(element(v).bits); };
    for (unsigned sign : {0u, 0x8000u}) {
        for (unsigned bits = 0; bits < infinity; ++bits) {
            const auto number = [&](unsigned of) { return real(Element{static_cast<unsigned short>(of | sign)}); };
            const float low = number(bits);
            checks.near("itself", bits, bits_of(low), bits | sign, 0);
            if (bits + 1 == infinity) continue;
            const float middle = low / 2 + number(bits + 1) / 2;
            const unsigned even = (bits + bits % 2) | sign;
            checks.near("middle", bits, bits_of(middle), even, 0);
            checks.near("below", bits, bits_of(nextafterf(middle, low)), bits | sign, 0);
            checks.near("above", bits, bits_of(nextafterf(middle, number(bits + 1))), (bits + 1) | sign, 0);
        }
        const float end = sign ? -INFINITY : INFINITY;
        checks.near("infinity", 0, bits_of(end), infinity | sign, 0);
        checks.near("largest", 0, bits_of(nextafterf(end, 0)), infinity | sign, 0);
    }
    checks.near("NaN", 0, wide(element(NAN)), NAN, 0);
#endif
}

}  // namespace

void check_passes(unsigned share) {
    const struct {
        Index outer, channels, inner;
    } shapes[] = {
        // Rows: whole vectors, single values, less than a block, more than one, one row.
        {3, 2, 8}, {2, 3, 7}, {5, 4, 49}, {1, 2, 333}, {9, 3, 16}, {2, 1, 2}, {4, 9, 40}, {1, 1, 24}, {3, 17, 5},
        // Columns: one channel, fewer than a vector, whole vectors, more than a run of them, one row.
        {7, 1, 1}, {5, 3, 1}, {33, 8, 1}, {1, 16, 1}, {40, 24, 1}, {6, 100, 1}, {3, 280, 1}, {13, 33, 1},
    };
    Numbers numbers{20261126};
    unsigned number = 0;
    for (const auto& shape : shapes) {
        for (int option = 0; option < 6; ++option, ++number) {
            const Index groups[] = {shape.outer, 2, shape.outer, 3, 1, shape.outer};
            const Index splits[] = {1, 2, 3, 1, 2, 7};
            const Kind kinds[] = {NONE, RELU, SIGMOID, TANH, LEAKY_RELU};
            // All offsets of the option, so that each kind meets each layout.
            const Kind kind = kinds[number % 5];
            const double mean = option == 3 && ELEMENT != F16 ? 1000 : option == 1 ? 0 : 3;
            Case c{shape.outer, shape.channels, shape.inner, least(groups[option], shape.outer), splits[option],
                   option != 4, option == 2 || option == 4, number % 2 == 0, number % 3 == 0, Tail{kind, 0.1},
                   mean, 2};
            if (number % share == 0) {
                checks.begin(named(c));
                Expected(c, numbers).check();
            }
        }
    }
    check_conversions();
    // The largest values, a constant, and a mean far from 0.
    const struct {
        double mean, stddev;
    } extremes[] = {{0, 0.7e38}, {-3e30, 1e28}, {7, 0x1p-60}, {1e6, 1}};
    if (ELEMENT == F16) return;
    for (const auto& of : extremes) {
        for (const Index inner : {1, 12}) {
            Case c{11, 8, inner, 11, 2, true, false, false, true, Tail{NONE, 0}, of.mean, of.stddev};
            checks.begin(named(c));
            Expected(c, numbers).check();
        }
    }
}
