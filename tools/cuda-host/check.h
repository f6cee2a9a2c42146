// Numbers that a case makes up, and comparison with what must come out.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <string>

#include "kernels.h"

// SplitMix64.
struct Numbers {
    std::uint64_t state;

    std::uint64_t bits() {
        std::uint64_t z = state += 0x9e3779b97f4a7c15u;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
        return z ^ (z >> 31);
    }
    double unit() { return static_cast<double>(bits() >> 11) * 0x1p-53; }
    double normal() { return sqrt(-2 * log(1 - unit())) * cos(6.283185307179586 * unit()); }
};

constexpr double NOTHING = std::numeric_limits<double>::quiet_NaN();
// Distances between neighbouring numbers at 1.
constexpr double REAL_EPSILON = sizeof(Real) == 8 ? 0x1p-52 : 0x1p-23;
constexpr double ELEMENT_EPSILON = ELEMENT == F16 ? 0x1p-10 : ELEMENT == BF16 ? 0x1p-7 : REAL_EPSILON;
// The least number of full precision.
constexpr double ELEMENT_TINY = ELEMENT == F64 ? 0x1p-1022 : ELEMENT == F16 ? 0x1p-14 : 0x1p-126;

inline double wide(Element v) { return real(v); }

// A tensor of exactly this many elements, on the heap; NaN until it is written.
struct Tensor {
    std::vector<Element> values;

    explicit Tensor(Index count) : values(count, element(static_cast<Real>(NOTHING))) {}
    template <class F> Tensor(Index count, F value) {
        values.reserve(count);
        for (Index i = 0; i < count; ++i) values.push_back(element(static_cast<Real>(value(i))));
        values.shrink_to_fit();
    }
    Element* data() { return values.data(); }
    const Element* data() const { return values.data(); }
    double operator[](Index i) const { return wide(values[i]); }
};

struct Checks {
    std::string what;
    long long cases = 0, values = 0, failures = 0;

    // A case whose name the next failures print.
    void begin(std::string name) {
        what = std::move(name);
        ++cases;
    }

    void near(const char* name, Index at, double got, double want, double bound) {
        ++values;
        if (got == want || fabs(got - want) <= bound || (got != got && want != want)) return;
        if (failures < 20) {
            std::fprintf(stderr, "%s %s: %s[%lld] is %.17g, expected %.17g within %.3g\n", ELEMENT_NAME, what.c_str(),
                         name, at, got, want, bound);
        }
        fail();
    }

    void same_bits(const char* name, const void* a, const void* b, std::size_t bytes) {
        ++values;
        if (std::memcmp(a, b, bytes) == 0) return;
        std::fprintf(stderr, "%s %s: %s differs between two runs\n", ELEMENT_NAME, what.c_str(), name);
        fail();
    }

    // A mutant is judged by its first failure.
    void fail() {
        ++failures;
#ifdef ONE_FAILURE
        std::_Exit(1);
#endif
    }
};

inline Checks checks;
