// libnvrtc.so.13, libcublas.so.13 and libcurand.so.10 for driver.cpp: what candle and this workspace call.
#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "numbers.h"

namespace {

struct Program {
    std::string source, text;
};

struct Matrix {
    const void* at;
    int type, ld;
    std::int64_t stride;
    bool transposed;

    double operator()(std::int64_t batch, int row, int column) const {
        const std::int64_t i = transposed ? column + static_cast<std::int64_t>(row) * ld : row + static_cast<std::int64_t>(column) * ld;
        return get(at, batch * stride + i, type);
    }
};

// C = alpha·A·B + beta·C, columns first; sums in f64, over k in order.
void multiply(const Matrix& a, const Matrix& b, void* c, int type, int ldc, std::int64_t stride, int m, int n, int k, int batches,
              double alpha, double beta) {
    std::vector<double> wide(static_cast<std::size_t>(m) * k), sums(m);
    for (int batch = 0; batch < batches; ++batch) {
        for (int i = 0; i < k; ++i) {
            for (int row = 0; row < m; ++row) wide[static_cast<std::size_t>(i) * m + row] = a(batch, row, i);
        }
        for (int column = 0; column < n; ++column) {
            sums.assign(m, 0);
            for (int i = 0; i < k; ++i) {
                const double factor = b(batch, i, column), *of_a = &wide[static_cast<std::size_t>(i) * m];
                for (int row = 0; row < m; ++row) sums[row] += of_a[row] * factor;
            }
            for (int row = 0; row < m; ++row) {
                const std::int64_t at = batch * stride + row + static_cast<std::int64_t>(column) * ldc;
                set(c, at, type, alpha * sums[row] + (beta == 0 ? 0 : beta * get(c, at, type)));
            }
        }
    }
}

// SplitMix64.
struct Random {
    std::uint64_t state = 0;
    double unit() {
        std::uint64_t z = state += 0x9e3779b97f4a7c15u;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
        return (static_cast<double>((z ^ (z >> 31)) >> 11) + 1) * 0x1p-53;
    }
    double normal() { return std::sqrt(-2 * std::log(unit())) * std::cos(6.283185307179586 * unit()); }
};

}  // namespace

#define API extern "C" __attribute__((visibility("default"))) int

#ifdef NVRTC
API nvrtcCreateProgram(Program** program, const char* source, const char*, int, const char* const*, const char* const*) {
    *program = new Program{source, ""};
    return 0;
}
// The "PTX" is the source, with the element type that the options name.
API nvrtcCompileProgram(Program* program, int count, const char* const* options) {
    program->text = ".version emulated\n";
    for (int i = 0; i < count; ++i) {
        if (std::strncmp(options[i], "-DELEMENT=", 10) == 0) program->text += std::string("#define ELEMENT ") + (options[i] + 10) + "\n";
    }
    program->text += program->source + "\n// {}";
    return 0;
}
API nvrtcDestroyProgram(Program** program) {
    delete *program;
    return 0;
}
API nvrtcGetPTXSize(Program* program, std::size_t* size) {
    *size = program->text.size() + 1;
    return 0;
}
API nvrtcGetPTX(Program* program, char* to) {
    std::memcpy(to, program->text.c_str(), program->text.size() + 1);
    return 0;
}
API nvrtcGetProgramLogSize(Program*, std::size_t* size) {
    *size = 1;
    return 0;
}
API nvrtcGetProgramLog(Program*, char* to) {
    *to = 0;
    return 0;
}
#endif

#ifdef CUBLAS
API cublasCreate_v2(void** handle) {
    *handle = new char;
    return 0;
}
API cublasDestroy_v2(void* handle) {
    delete static_cast<char*>(handle);
    return 0;
}
API cublasSetStream_v2(void*, void*) { return 0; }
API cublasDgemmStridedBatched(void*, int ta, int tb, int m, int n, int k, const double* alpha, const double* a, int lda,
                              long long sa, const double* b, int ldb, long long sb, const double* beta, double* c, int ldc,
                              long long sc, int batches) {
    multiply({a, F64, lda, sa, ta != 0}, {b, F64, ldb, sb, tb != 0}, c, F64, ldc, sc, m, n, k, batches, *alpha, *beta);
    return 0;
}
// alpha and beta are of the compute type: 64 is CUBLAS_COMPUTE_16F, 68 and above are 32F.
API cublasGemmStridedBatchedEx(void*, int ta, int tb, int m, int n, int k, const void* alpha, const void* a, int a_type, int lda,
                               long long sa, const void* b, int b_type, int ldb, long long sb, const void* beta, void* c,
                               int c_type, int ldc, long long sc, int batches, int compute, int) {
    const int scalar = compute == 64 || compute == 65 ? F16 : compute == 70 || compute == 71 ? F64 : F32;
    multiply({a, a_type, lda, sa, ta != 0}, {b, b_type, ldb, sb, tb != 0}, c, c_type, ldc, sc, m, n, k, batches,
             get(alpha, 0, scalar), get(beta, 0, scalar));
    return 0;
}
#endif

#ifdef CURAND
API curandCreateGenerator(Random** generator, int) {
    *generator = new Random;
    return 0;
}
API curandDestroyGenerator(Random* generator) {
    delete generator;
    return 0;
}
API curandSetPseudoRandomGeneratorSeed(Random* generator, unsigned long long seed) {
    generator->state = seed;
    return 0;
}
API curandSetStream(Random*, void*) { return 0; }
API curandGenerateUniform(Random* generator, float* to, std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) to[i] = static_cast<float>(generator->unit());
    return 0;
}
API curandGenerateUniformDouble(Random* generator, double* to, std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) to[i] = generator->unit();
    return 0;
}
API curandGenerateNormal(Random* generator, float* to, std::size_t count, float mean, float stddev) {
    for (std::size_t i = 0; i < count; ++i) to[i] = static_cast<float>(mean + stddev * generator->normal());
    return 0;
}
API curandGenerateNormalDouble(Random* generator, double* to, std::size_t count, double mean, double stddev) {
    for (std::size_t i = 0; i < count; ++i) to[i] = mean + stddev * generator->normal();
    return 0;
}
#endif
