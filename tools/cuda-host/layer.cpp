// Whole training steps against the CPU engine: bn-core's example `cuda_cases` writes what its layers computed, and here
// the kernels compute the same, in the order in which the CUDA engine launches them.
//
// The file is a run of f64. A case: the numbers of `Options`, gamma and beta, the statistics; then for each step x, the
// residual, dy, and the results y, dx, dgamma, dbeta, the statistics and the counts.

#include "layer.h"

#include <algorithm>

#include "check.h"

namespace {

// In the file's order.
struct Options {
    double element, is_wide, outer, channels, inner, group, kind, slope, residual, gamma, beta, epsilon, decay,
        cumulative, unbiased, skips_constant, variant, renorm_decay, r_min, r_max, d_max, steps;
};
constexpr std::size_t AVERAGES = sizeof(Averages) / sizeof(void*);
const char* const NAMES[AVERAGES] = {
    "moving_mean",     "moving_mean_biased",     "moving_mean_weight",   "moving_variance",
    "moving_variance_biased", "moving_variance_weight", "renorm_mean",   "renorm_stddev",
    "renorm_mean_weight", "renorm_stddev_weight", "moving_stddev",
};

struct File {
    std::vector<double> values;
    std::size_t at = 0;

    explicit File(const char* path) {
        std::FILE* file = std::fopen(path, "rb");
        if (!file) {
            std::perror(path);
            std::exit(2);
        }
        double chunk[4096];
        while (const std::size_t read = std::fread(chunk, sizeof(double), 4096, file)) {
            values.insert(values.end(), chunk, chunk + read);
        }
        std::fclose(file);
    }

    std::vector<double> take(Index count) {
        if (at + count > values.size()) {
            std::fprintf(stderr, "the file of cases ends inside of a case\n");
            std::exit(2);
        }
        at += count;
        return {values.begin() + static_cast<long>(at) - count, values.begin() + static_cast<long>(at)};
    }
};

// A [channels] variable as the layer stores it.
struct Variable {
    std::vector<float> single;
    std::vector<double> wide;

    Variable(const std::vector<double>& values, bool is_wide) {
        if (is_wide) {
            wide = values;
        } else {
            single.assign(values.begin(), values.end());
        }
    }
    void* data() { return wide.empty() ? static_cast<void*>(single.data()) : wide.data(); }
    double operator[](Index c) const { return wide.empty() ? single[c] : wide[c]; }
};

class Layer {
public:
    Layer(File& file, const Options& options, Index splits, std::string name)
        : file_(file),
          o_(options),
          channels_(static_cast<Index>(o_.channels)),
          launch_(static_cast<Index>(o_.outer), channels_, static_cast<Index>(o_.inner), static_cast<Index>(o_.group), splits),
          tail_{static_cast<Index>(o_.kind), o_.slope},
          is_wide_(o_.is_wide != 0),
          name_(std::move(name)),
          in_i64_(splits == 2) {
        for (const double wanted : {o_.gamma, o_.beta}) parameters_.push_back(optional(wanted != 0));
        for (std::size_t k = 0; k < AVERAGES; ++k) averages_.push_back(optional(file_.take(1)[0] != 0));
    }

    void run(bool skip) {
        for (int step = 0; step < o_.steps; ++step) {
            this->step(step, skip);
        }
    }

private:
    std::unique_ptr<Variable> optional(bool present) {
        if (!present) return nullptr;
        return std::make_unique<Variable>(file_.take(channels_), is_wide_);
    }

    void* data(const std::unique_ptr<Variable>& of) const { return of ? of->data() : nullptr; }
    Index per_channel() const { return (channels_ + TOGETHER - 1) / TOGETHER; }

    Tensor tensor() {
        const auto values = file_.take(launch_.elements());
        return {launch_.elements(), [&](Index i) { return values[i]; }};
    }

    // The CPU's f32 sums are right to 1e-5 in the variance; its f64 ones, and all of ours, to rounding.
    double relative() const { return ELEMENT == F64 ? 1e-11 : 2e-5; }

    void near(const char* what, const std::vector<double>& want, const std::function<double(Index)>& got, double tolerance,
              double least = 0) {
        double most = 0;
        for (const double v : want) {
            if (fabs(v) <= std::numeric_limits<double>::max()) most = std::max(most, fabs(v));
        }
        for (Index i = 0; i < static_cast<Index>(want.size()); ++i) {
            checks.near(what, i, got(i), want[i], tolerance * (fabs(want[i]) + 0.1 * most) + least);
        }
    }

    void step(int number, bool skip) {
        const Tensor x = tensor();
        const bool with_residual = o_.residual != 0;
        const Tensor residual = with_residual ? tensor() : Tensor(1);
        const Tensor dy = tensor();
        const auto want_y = file_.take(launch_.elements()), want_dx = file_.take(launch_.elements());
        std::vector<double> want_of_gamma, want_of_beta, want_averages[AVERAGES];
        if (parameters_[0]) want_of_gamma = file_.take(channels_);
        if (parameters_[1]) want_of_beta = file_.take(channels_);
        for (std::size_t k = 0; k < AVERAGES; ++k) {
            if (averages_[k]) want_averages[k] = file_.take(channels_);
        }
        const auto want_counts = file_.take(4);  // updates, refused, skipped, effective sample size
        if (skip) return;
        checks.begin(name_ + ", step " + std::to_string(number));

        const Index count = launch_.groups() * channels_;
        std::vector<Part> parts(count * launch_.shape.splits);
        std::vector<double> fields(7 * count, NOTHING), batch(2 * channels_, NOTHING), before(2 * channels_, NOTHING);
        Tensor y(launch_.elements()), dx(launch_.elements());
        host::launch(launch_.blocks(), moments_kernel(launch_, false), x.data(), launch_.shape,
                     static_cast<const double*>(nullptr), parts.data());
        const Renorm renorm{data(averages_[6]), data(averages_[7]), data(averages_[8]), data(averages_[9]),
                            static_cast<Index>(o_.variant), is_wide_, o_.r_min, o_.r_max, o_.d_max};
        host::launch(per_channel(), by_batch,
                     ByBatch{parts.data(), fields.data(), batch.data(), data(parameters_[0]), data(parameters_[1]),
                             is_wide_, is_wide_, launch_.groups(), channels_, launch_.shape.splits, o_.epsilon, renorm});
        const Element* added = with_residual ? residual.data() : nullptr;
        host::launch(launch_.blocks(), BY_ACTIVATION(normalize, launch_, tail_.kind), x.data(), added, fields.data(),
                     launch_.shape, tail_, y.data());
        update(batch, before);

        const Back back{x.data(), added, dy.data(), fields.data()};
        std::vector<Pair> sums(count * launch_.shape.splits);
        std::vector<double> terms(2 * count, NOTHING);
        const std::vector<double> nothing(channels_, NOTHING);
        Variable dgamma(nothing, is_wide_), dbeta(nothing, is_wide_);
        host::launch(launch_.blocks(), BY_ACTIVATION(gradient_sums, launch_, tail_.kind), back, launch_.shape, tail_,
                     sums.data());
        host::launch(per_channel(), ::terms,
                     Terms{sums.data(), fields.data(), terms.data(), nullptr, dgamma.data(), dbeta.data(), is_wide_,
                           is_wide_, launch_.shape});
        host::launch(launch_.blocks(), input_gradient_kernel(launch_, false, tail_.kind), back, terms.data(),
                     static_cast<const double*>(nullptr), launch_.shape, tail_, dx.data(), static_cast<Element*>(nullptr));

        const double of_element = relative() + ELEMENT_EPSILON;
        near("y", want_y, [&](Index i) { return y[i]; }, of_element);
        // A gradient is what is left of terms of this size, each rounded.
        double of_terms = 0;
        for (Index i = 0; i < launch_.elements(); ++i) of_terms = std::max(of_terms, fabs(dy[i]));
        double scale = 0;
        for (Index at = 0; at < count; ++at) scale = std::max(scale, fabs(fields[SCALE * count + at]));
        near("dx", want_dx, [&](Index i) { return dx[i]; }, 4 * of_element, 8 * REAL_EPSILON * scale * of_terms);
        near("dgamma", want_of_gamma, [&](Index c) { return dgamma[c]; }, 4 * relative());
        near("dbeta", want_of_beta, [&](Index c) { return dbeta[c]; }, 4 * relative());
        for (std::size_t k = 0; k < AVERAGES; ++k) {
            near(NAMES[k], want_averages[k], [&](Index c) { return (*averages_[k])[c]; }, relative());
        }
        const double updates = in_i64_ ? static_cast<double>(updates_in_i64_) : updates_;
        near("updates", {want_counts[0]}, [&](Index) { return updates; }, 0);
        near("refused", {want_counts[1]}, [&](Index) { return counts_[REFUSED]; }, 0);
        near("skipped", {want_counts[2]}, [&](Index) { return counts_[SKIPPED_VARIANCE]; }, 0);
        const double size = counts_[SQUARES] > 0 ? counts_[GATHERED] * counts_[GATHERED] / counts_[SQUARES] : 0;
        near("effective sample size", {want_counts[3]}, [&](Index) { return size; }, 1e-12);
    }

    void update(const std::vector<double>& batch, std::vector<double>& before) {
        const double weight = o_.outer * o_.inner;
        Commit commit{};
        void** const pointers = reinterpret_cast<void**>(&commit.averages);
        for (std::size_t k = 0; k < AVERAGES; ++k) pointers[k] = data(averages_[k]);
        commit.batch = batch.data();
        commit.before = before.data();
        commit.updates = in_i64_ ? static_cast<void*>(&updates_in_i64_) : &updates_;
        commit.updates_are_i64 = in_i64_;
        commit.counts = counts_;
        commit.channels = channels_;
        commit.is_wide = is_wide_;
        commit.variant = static_cast<Index>(o_.variant);
        commit.is_cumulative = o_.cumulative != 0;
        commit.moves_variance = weight > 1;
        commit.skips_constant = o_.skips_constant != 0;
        commit.is_unbiased = o_.unbiased != 0;
        commit.rate = 1 - o_.decay;
        commit.renorm_decay = o_.renorm_decay;
        commit.epsilon = o_.epsilon;
        commit.weight = weight;
        commit.freedom = weight - 1;
        commit.values = weight;
        host::launch(1, ::commit, commit);
    }

    File& file_;
    Options o_;
    Index channels_;
    Launch launch_;
    Tail tail_;
    bool is_wide_;
    std::string name_;
    std::vector<std::unique_ptr<Variable>> parameters_, averages_;
    // The counter of some layers is an i64.
    bool in_i64_;
    long long updates_in_i64_ = 0;
    double updates_ = 0, counts_[5] = {};
};

}  // namespace

void check_layers(const char* path, unsigned share) {
    File file(path);
    for (unsigned number = 0; file.at < file.values.size(); ++number) {
        const auto numbers = file.take(sizeof(Options) / sizeof(double));
        Options options;
        std::memcpy(&options, numbers.data(), sizeof options);
        // A case of another type is read all the same, up to the next one.
        const bool skip = options.element != ELEMENT || number % share != 0;
        Layer(file, options, 1 + number % 3, "layer " + std::to_string(number)).run(skip);
    }
}
