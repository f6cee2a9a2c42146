// A forward and a backward pass in one launch each against the same in three, which passes.cpp and layer.cpp judge: to the
// bit.

#include "persistent.h"

#include "check.h"

namespace {

struct Whole {
    Index outer, channels, inner, group, splits;
    Kind kind;
    bool residual;
    Index variant;
};

// Vectors of a thread at most.
Index held(const Launch& launch, Index group) {
    const Index per_row = launch.rows ? launch.shape.inner / VECTOR : 1;
    const Index part = (group * per_row + launch.shape.splits - 1) / launch.shape.splits;
    const Index stride = host::block->threads() / launch.shape.width;
    return (part + stride - 1) / stride;
}

// What one way of computing a pass leaves behind.
struct Left {
    std::vector<Part> parts;
    std::vector<double> fields, batch;
    Tensor y;

    Left(const Launch& launch)
        : parts(launch.groups() * launch.shape.channels * launch.shape.splits, Part{NOTHING, NOTHING, NOTHING}),
          fields(7 * launch.groups() * launch.shape.channels, NOTHING),
          batch(2 * launch.shape.channels, NOTHING),
          y(launch.elements()) {}
};

// What one way of computing the gradient leaves behind.
struct LeftBackward {
    std::vector<Pair> sums;
    std::vector<double> terms, dgamma, dbeta;
    Tensor dx, dv;

    LeftBackward(const Launch& launch)
        : sums(launch.groups() * launch.shape.channels * launch.shape.splits, Pair{NOTHING, NOTHING}),
          terms(2 * launch.groups() * launch.shape.channels, NOTHING),
          dgamma(launch.shape.channels, NOTHING),
          dbeta(launch.shape.channels, NOTHING),
          dx(launch.elements()),
          dv(launch.elements()) {}
};

template <class V> void same(const char* name, const V& a, const V& b) {
    checks.same_bits(name, a.data(), b.data(), a.size() * sizeof a[0]);
}

#if ELEMENT == F32 || ELEMENT == F64
#define BACKWARD_KERNEL(LAUNCH, KIND)                                                                             \
    ((LAUNCH).rows ? (KIND) == NONE   ? backward_rows_none                                                        \
                     : (KIND) == RELU ? backward_rows_relu                                                        \
                                      : backward_rows_any                                                         \
     : (KIND) == NONE ? backward_columns_none                                                                     \
     : (KIND) == RELU ? backward_columns_relu                                                                     \
                      : backward_columns_any)
constexpr bool COLUMNS_BACKWARD = true;
#else
#define BACKWARD_KERNEL(LAUNCH, KIND) \
    ((KIND) == NONE ? backward_rows_none : (KIND) == RELU ? backward_rows_relu : backward_rows_any)
constexpr bool COLUMNS_BACKWARD = false;
#endif

void check_backward(const Whole& of, const Launch& launch, const Back& back, const Tail& tail) {
    LeftBackward three(launch), one(launch);
    const bool with_dv = of.residual && of.kind != NONE;
    const auto arguments = [&](LeftBackward& left) {
        return Terms{left.sums.data(), back.channels, left.terms.data(), nullptr, left.dgamma.data(), left.dbeta.data(),
                     1,                1,             launch.shape};
    };
    host::launch(launch.blocks(), BY_ACTIVATION(gradient_sums, launch, of.kind), back, launch.shape, tail,
                 three.sums.data());
    host::launch((of.channels + TOGETHER - 1) / TOGETHER, ::terms, arguments(three));
    host::launch(launch.blocks(), input_gradient_kernel(launch, false, of.kind), back,
                 static_cast<const double*>(three.terms.data()), static_cast<const double*>(nullptr), launch.shape, tail,
                 three.dx.data(), with_dv ? three.dv.data() : nullptr);
    unsigned long long arrived = 0;
    host::launch_together(launch.blocks(), BACKWARD_KERNEL(launch, of.kind), back, launch.shape, tail, arguments(one),
                          one.sums.data(), &arrived, one.dx.data(), with_dv ? one.dv.data() : nullptr);
    same("sums in one launch", three.sums, one.sums);
    same("terms in one launch", three.terms, one.terms);
    same("dgamma in one launch", three.dgamma, one.dgamma);
    same("dbeta in one launch", three.dbeta, one.dbeta);
    same("dx in one launch", three.dx.values, one.dx.values);
    same("dv in one launch", three.dv.values, one.dv.values);
}

void check_whole(const Whole& of, const Launch& launch, Numbers& numbers) {
    const auto random = [&](double mean, double scale) {
        std::vector<double> values;
        for (Index c = 0; c < of.channels; ++c) values.push_back(mean + scale * numbers.unit());
        return values;
    };
    const Tensor x(launch.elements(), [&](Index) { return 3 + 2 * numbers.normal(); });
    const Tensor residual(launch.elements(), [&](Index) { return numbers.normal(); });
    const auto gamma = random(0.5, 1), beta = random(-1, 2), mean = random(2, 2), stddev = random(1, 2),
               weight = random(0.1, 0.9);
    const Renorm renorm{mean.data(), stddev.data(), weight.data(), weight.data(), of.variant, 1, 0.8, 1.5, 0.3};
    const Element* added = of.residual ? residual.data() : nullptr;
    const Tail tail{of.kind, 0.1};
    const auto arguments = [&](Left& left) {
        return ByBatch{left.parts.data(), left.fields.data(), left.batch.data(), gamma.data(), beta.data(), 1, 1,
                       launch.groups(), of.channels, of.splits, 1e-3, renorm};
    };
    Left three(launch), one(launch);
    host::launch(launch.blocks(), moments_kernel(launch, false), x.data(), launch.shape,
                 static_cast<const double*>(nullptr), three.parts.data());
    host::launch((of.channels + TOGETHER - 1) / TOGETHER, by_batch, arguments(three));
    host::launch(launch.blocks(), BY_ACTIVATION(normalize, launch, of.kind), x.data(), added, three.fields.data(),
                 launch.shape, tail, three.y.data());
    unsigned long long arrived = 0;
    const auto kernel = launch.rows ? (of.kind == NONE   ? forward_rows_none
                                       : of.kind == RELU ? forward_rows_relu
                                                         : forward_rows_any)
                                    : (of.kind == NONE   ? forward_columns_none
                                       : of.kind == RELU ? forward_columns_relu
                                                         : forward_columns_any);
    host::launch_together(launch.blocks(), kernel, x.data(), added, launch.shape, tail, arguments(one),
                          one.parts.data(), &arrived, one.y.data());
    checks.near("arrivals", 0, static_cast<double>(arrived), 2.0 * launch.blocks(), 0);
    same("parts in one launch", three.parts, one.parts);
    same("fields in one launch", three.fields, one.fields);
    same("batch in one launch", three.batch, one.batch);
    same("y in one launch", three.y.values, one.y.values);
    if (held(launch, of.group) <= HELD_BACKWARD && (launch.rows || COLUMNS_BACKWARD)) {
        const Tensor dy(launch.elements(), [&](Index) { return numbers.normal(); });
        check_backward(of, launch, Back{x.data(), added, dy.data(), three.fields.data()}, tail);
    }
}

}  // namespace

void check_persistent(unsigned share) {
    const Index most_blocks = share == 1 ? 24 : 12;
    const struct {
        Index outer, channels, inner;
    } shapes[] = {
        {3, 2, 16}, {5, 3, 40}, {1, 1, 24}, {9, 3, 64}, {2, 17, 8},  // rows
        {33, 8, 1}, {1, 16, 1}, {60, 24, 1}, {7, 104, 1}, {13, 32, 1}, {40, 8, 1},  // columns
    };
    Numbers numbers{20261127};
    unsigned number = 0;
    for (const auto& shape : shapes) {
        for (const Index splits : {1, 2, 5}) {
            for (const bool grouped : {false, true}) {
                const Kind kinds[] = {NONE, RELU, LEAKY_RELU};
                const Whole of{shape.outer, shape.channels, shape.inner, grouped ? (shape.outer + 1) / 2 : shape.outer,
                               splits, kinds[number % 3], number % 2 == 0, static_cast<Index>(number % 4)};
                const Launch launch(of.outer, of.channels, of.inner, of.group, of.splits);
                ++number;
                if (!launch.vectors || held(launch, of.group) > HELD || launch.blocks() > most_blocks) continue;
                if (number % share != 0) continue;
                checks.begin("whole [" + std::to_string(of.outer) + ", " + std::to_string(of.channels) + ", " +
                             std::to_string(of.inner) + "], groups of " + std::to_string(of.group) + ", splits " +
                             std::to_string(of.splits) + ", activation " + std::to_string(of.kind) +
                             (of.residual ? ", residual" : "") + ", renorm " + std::to_string(of.variant));
                check_whole(of, launch, numbers);
            }
        }
    }
}
