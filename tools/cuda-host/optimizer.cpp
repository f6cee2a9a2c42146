// Optimizer updates of many variables, element by element against plain loops in f32, to the bit; the norm of the
// gradients against a plain sum.

#include "optimizer.h"

#include "check.h"

namespace {

enum OptimizerKind { SGD, NESTEROV, ADAM, RMSPROP };

constexpr double LIMIT = 0.7;  // of the gradients' norm

struct OptimizerCase {
    OptimizerKind kind;
    std::vector<Index> sizes;
    bool clips;
    // A sum of losses, if there is one.
    const double* watch;
};

struct Model {
    std::vector<std::vector<float>> weights, gradients;
    std::vector<float> buffers[2];
    Variables table{};
    Index blocks = 0;

    Model(const std::vector<Index>& sizes, Numbers& numbers) {
        const auto random = [&](Index count, double scale) {
            std::vector<float> values;
            for (Index i = 0; i < count; ++i) values.push_back(static_cast<float>(scale * numbers.normal()));
            values.shrink_to_fit();
            return values;
        };
        Index start = 0;
        for (const Index size : sizes) {
            weights.push_back(random(size, 1));
            gradients.push_back(random(size, 0.1));
            start += size;
        }
        for (auto& buffer : buffers) {
            buffer = random(start, 0.1);
            for (float& v : buffer) v = fabsf(v);  // Adam's squares are not negative
        }
        table.count = static_cast<Index>(sizes.size());
        start = 0;
        for (std::size_t k = 0; k < sizes.size(); ++k) {
            ::Variable& variable = table.of[k];
            variable = {weights[k].data(), gradients[k].data(), start, sizes[k], blocks,
                        k % 2 ? 0 : 0.01,  k % 3 ? 1 : 0.999,   0.05 + 0.01 * static_cast<double>(k), 1.5};
            start += sizes[k];
            blocks += (sizes[k] + CHUNK - 1) / CHUNK;
        }
    }
};

Update update_of(const OptimizerCase& of, Model& model, const double* squares) {
    Update update{};
    for (int k = 0; k < 2; ++k) update.buffers[k] = model.buffers[k].data();
    update.watch = of.watch;
    update.squares = of.clips ? squares : nullptr;
    update.clip_norm = LIMIT;
    update.first = 0.9;
    update.second = of.kind == RMSPROP ? 0.8 : 0.99;
    update.epsilon = 1e-3;
    update.nesterov = of.kind == NESTEROV;
    return update;
}

// What the kernels must do to a model, in plain loops.
void expect(const OptimizerCase& of, Model& model, float scale) {
    const Update update = update_of(of, model, nullptr);
    for (Index k = 0; k < model.table.count; ++k) {
        const ::Variable& variable = model.table.of[k];
        const float rate = static_cast<float>(variable.rate);
        for (Index i = 0; i < variable.elements; ++i) {
            float &weight = model.weights[k][i], &one = model.buffers[0][variable.start + i],
                  &two = model.buffers[1][variable.start + i];
            const float decay = weight * static_cast<float>(variable.weight_decay);
            const float g = model.gradients[k][i] * scale + decay;
            if (of.kind == SGD || of.kind == NESTEROV) {
                one = one * 0.9f + g;
                weight = weight - (of.kind == NESTEROV ? g + one * 0.9f : one) * rate;
            } else if (of.kind == ADAM) {
                one = one * 0.9f + g * static_cast<float>(1 - 0.9);
                two = two * 0.99f + g * g * static_cast<float>(1 - 0.99);
                const float root = sqrtf(two) * 1.5f + 1e-3f;
                weight = weight * static_cast<float>(variable.kept) - one * rate / root;
            } else {
                one = one * 0.9f + g * g * static_cast<float>(1 - 0.9);
                two = two * 0.8f + g / (sqrtf(one) + 1e-3f);
                weight = weight - two * rate;
            }
        }
    }
}

void compare(const char* name, const std::vector<float>& got, const std::vector<float>& want) {
    for (std::size_t i = 0; i < want.size(); ++i) checks.near(name, static_cast<Index>(i), got[i], want[i], 0);
}

void check(const OptimizerCase& of, std::uint64_t seed) {
    Numbers numbers{seed};
    Model model(of.sizes, numbers), expected = model;
    for (std::size_t k = 0; k < of.sizes.size(); ++k) {
        expected.table.of[k].weight = expected.weights[k].data();
        expected.table.of[k].gradient = expected.gradients[k].data();
    }
    // The parts stand behind those of another launch.
    const Index first = 3;
    std::vector<double> parts(static_cast<std::size_t>(first + model.blocks), 0.0);
    parts[1] = 0.25;
    double squares = NOTHING, sum = 0.25;
    host::launch(model.blocks, gradient_squares, model.table, first, parts.data());
    host::launch(1, total_squares, static_cast<const double*>(parts.data()), first + model.blocks, &squares);
    for (const auto& gradient : model.gradients) {
        for (const float g : gradient) sum += static_cast<double>(g) * g;
    }
    checks.near("squares", 0, squares, sum, 1e-12 * sum);

    const Update update = update_of(of, model, &squares);
    auto* const kernel = of.kind == ADAM ? update_adam : of.kind == RMSPROP ? update_rmsprop : update_sgd;
    host::launch(model.blocks, kernel, model.table, update);
    const double scale = of.clips ? LIMIT / (sqrt(squares) + 1e-6) : 1;
    if (!of.watch || std::isfinite(*of.watch)) expect(of, expected, static_cast<float>(scale < 1 ? scale : 1));
    for (std::size_t k = 0; k < of.sizes.size(); ++k) compare("weight", model.weights[k], expected.weights[k]);
    for (int k = 0; k < 2; ++k) compare("buffer", model.buffers[k], expected.buffers[k]);
}

}  // namespace

void check_optimizer(unsigned share) {
    const double finite = -3.5, infinite = -INFINITY, none = NOTHING;
    const std::vector<std::vector<Index>> shapes = {
        {1}, {5, 4096, 3}, {4097, 1, 4095}, {10000, 16, 16, 8192}, std::vector<Index>(VARIABLES, 7)};
    unsigned number = 0;
    for (const OptimizerKind kind : {SGD, NESTEROV, ADAM, RMSPROP}) {
        for (const auto& sizes : shapes) {
            for (const bool clips : {false, true}) {
                for (const double* watch : {static_cast<const double*>(nullptr), &finite, &infinite, &none}) {
                    // The watch matters to all shapes alike.
                    if (watch && sizes.size() != 3) continue;
                    if (number++ % share != 0) continue;
                    checks.begin("optimizer " + std::to_string(kind) + ", variables " + std::to_string(sizes.size()) +
                                 (clips ? ", clipped" : "") + (watch ? ", watched" : ""));
                    check({kind, sizes, clips, watch}, number);
                }
            }
        }
    }
}
