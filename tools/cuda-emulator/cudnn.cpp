// libcudnn.so.9 for driver.cpp: convolutions of images in NCHW, as plain loops, and nothing else that cuDNN has. The
// algorithms it recommends are those that a program must not take as they are: some add in an order of chance, and some
// want more memory than there is. It ends the program where one is run that does not repeat, without the memory it asked
// for, or on f32 in a type of less precision.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "numbers.h"

namespace {

constexpr int SUCCESS = 0, BAD_PARAM = 2000;
constexpr int NCHW = 0, CROSS_CORRELATION = 1;
enum Math { TENSOR_OP = 1, FMA = 3 };

// As cudnnDataType_t counts them.
constexpr int FLOAT = 0, BFLOAT16 = 9;

[[noreturn]] void die(const char* problem) {
    std::fprintf(stderr, "cuda-emulator: cuDNN: %s\n", problem);
    std::_Exit(99);
}

struct Tensor {
    int type, dims[4];

    int numbers_type() const { return type == FLOAT ? F32 : BF16; }
    std::size_t elements() const { return static_cast<std::size_t>(dims[0]) * dims[1] * dims[2] * dims[3]; }
    std::vector<double> read(const void* at) const {
        std::vector<double> values(elements());
        for (std::size_t i = 0; i < values.size(); ++i) values[i] = get(at, static_cast<std::int64_t>(i), numbers_type());
        return values;
    }
    // to = alpha·values + beta·to.
    void write(void* at, const std::vector<double>& values, const void* alpha, const void* beta) const {
        const float scale = *static_cast<const float*>(alpha), kept = *static_cast<const float*>(beta);
        for (std::size_t i = 0; i < values.size(); ++i) {
            const auto index = static_cast<std::int64_t>(i);
            set(at, index, numbers_type(), scale * values[i] + (kept == 0 ? 0 : kept * get(at, index, numbers_type())));
        }
    }
};

struct Convolution {
    int padding[2], stride[2], compute, math = 0;
};

struct Shapes {
    const Convolution& of;
    const Tensor &x, &weights, &y;

    bool fit() const {
        for (const int axis : {0, 1}) {
            const int room = x.dims[2 + axis] + 2 * of.padding[axis] - weights.dims[2 + axis];
            if (room < 0 || y.dims[2 + axis] != room / of.stride[axis] + 1) return false;
        }
        return x.type == weights.type && x.type == y.type && x.dims[0] == y.dims[0] && x.dims[1] == weights.dims[1] &&
               weights.dims[0] == y.dims[1];
    }

    // Calls f(y, x, weight, count, stride) for each row that is multiplied by one weight: where it starts, and the stride in x.
    template <class F> void each(F f) const {
        const int down = of.stride[0], right = of.stride[1], rows = y.dims[2], columns = y.dims[3], height = x.dims[2], width = x.dims[3];
        for (int j = 0; j < weights.dims[3]; ++j) {
            // The columns whose element of x is in the image.
            const int shift = j - of.padding[1];
            int first = 0, end = columns;
            while (first < end && first * right + shift < 0) ++first;
            while (end > first && (end - 1) * right + shift >= width) --end;
            if (first == end) continue;
            for (int n = 0; n < y.dims[0]; ++n) {
                for (int k = 0; k < y.dims[1]; ++k) {
                    const std::size_t of_y = (static_cast<std::size_t>(n) * y.dims[1] + k) * rows * columns + first;
                    for (int c = 0; c < x.dims[1]; ++c) {
                        const std::size_t of_x = (static_cast<std::size_t>(n) * x.dims[1] + c) * height * width + first * right + shift;
                        for (int i = 0; i < weights.dims[2]; ++i) {
                            const std::size_t weight = ((static_cast<std::size_t>(k) * x.dims[1] + c) * weights.dims[2] + i) * weights.dims[3] + j;
                            for (int row = 0; row < rows; ++row) {
                                const int line = row * down + i - of.padding[0];
                                if (line < 0 || line >= height) continue;
                                f(of_y + static_cast<std::size_t>(row) * columns, of_x + static_cast<std::size_t>(line) * width, weight,
                                  end - first, right);
                            }
                        }
                    }
                }
            }
        }
    }
};

// What cuDNN says of an algorithm; its three structs are alike.
struct Recommended {
    int algorithm, status;
    float time;
    std::size_t memory;
    int determinism, math, reserved[3];
};

constexpr int FORWARD_FFT = 4;
constexpr std::size_t TOO_MUCH = std::size_t{1} << 33, SOME = 1000;

int recommend(int algorithm, const Convolution& convolution, int wanted, int* count, Recommended* found) {
    if (wanted < 1) return BAD_PARAM;
    *count = 1;
    *found = Recommended{algorithm, SUCCESS, 1, 0, 0, convolution.math, {}};
    return SUCCESS;
}

int check(const Shapes& shapes, void* memory, std::size_t bytes, std::size_t needed) {
    if (!shapes.fit()) return BAD_PARAM;
    if (shapes.of.compute != FLOAT) die("sums that are not f32");
    if (shapes.of.math != (shapes.x.type == FLOAT ? FMA : TENSOR_OP)) die("f32 in less precision, or bfloat16 without tensor cores");
    if (!memory || bytes < needed) die("less memory than the algorithm asked for");
    std::memset(memory, 0xff, needed);
    return SUCCESS;
}

int describe(Tensor* to, int type, int format, int a, int b, int c, int d) {
    if (format != NCHW || a < 1 || b < 1 || c < 1 || d < 1 || (type != FLOAT && type != BFLOAT16)) return BAD_PARAM;
    *to = Tensor{type, {a, b, c, d}};
    return SUCCESS;
}

}  // namespace

#define API extern "C" __attribute__((visibility("default"))) int

#define CREATED(NAME, TYPE)                            \
    API cudnnCreate##NAME(TYPE** to) {                 \
        *to = new TYPE{};                              \
        return SUCCESS;                                \
    }                                                  \
    API cudnnDestroy##NAME(TYPE* it) {                 \
        delete it;                                     \
        return SUCCESS;                                \
    }
CREATED(, char)
CREATED(TensorDescriptor, Tensor)
CREATED(FilterDescriptor, Tensor)
CREATED(ConvolutionDescriptor, Convolution)
API cudnnSetStream(void*, void*) { return SUCCESS; }

API cudnnSetTensor4dDescriptor(Tensor* to, int format, int type, int n, int c, int h, int w) { return describe(to, type, format, n, c, h, w); }
API cudnnSetTensor4dDescriptorEx(Tensor*, int, int, int, int, int, int, int, int, int) { die("candle's own convolution"); }
API cudnnSetFilter4dDescriptor(Tensor* to, int type, int format, int k, int c, int h, int w) { return describe(to, type, format, k, c, h, w); }
API cudnnSetConvolution2dDescriptor(Convolution* to, int rows, int columns, int down, int right, int dilation_down, int dilation_right,
                                    int mode, int compute) {
    if (dilation_down != 1 || dilation_right != 1 || mode != CROSS_CORRELATION || down < 1 || right < 1) return BAD_PARAM;
    *to = Convolution{{rows, columns}, {down, right}, compute};
    return SUCCESS;
}
API cudnnSetConvolutionMathType(Convolution* to, int math) {
    to->math = math;
    return SUCCESS;
}

// FFT, which wants too much memory, for large kernels, and the implicit product for others.
API cudnnGetConvolutionForwardAlgorithm_v7(void*, Tensor*, Tensor* weights, Convolution* of, Tensor*, int wanted, int* count, Recommended* to) {
    return recommend(weights->dims[2] > 3 ? FORWARD_FFT : 1, *of, wanted, count, to);
}
// 0 adds in an order of chance, also 3 below.
API cudnnGetConvolutionBackwardDataAlgorithm_v7(void*, Tensor* weights, Tensor*, Convolution* of, Tensor*, int wanted, int* count,
                                                Recommended* to) {
    return recommend(weights->dims[2] > 3 ? 4 : 0, *of, wanted, count, to);
}
API cudnnGetConvolutionBackwardFilterAlgorithm_v7(void*, Tensor*, Tensor*, Convolution* of, Tensor* weights, int wanted, int* count,
                                                  Recommended* to) {
    return recommend(weights->dims[2] > 3 ? 0 : 3, *of, wanted, count, to);
}
API cudnnGetConvolutionForwardWorkspaceSize(void*, Tensor*, Tensor*, Convolution*, Tensor*, int algorithm, std::size_t* bytes) {
    *bytes = algorithm == FORWARD_FFT ? TOO_MUCH : algorithm == 0 ? 0 : SOME;
    return SUCCESS;
}
API cudnnGetConvolutionBackwardDataWorkspaceSize(void*, Tensor*, Tensor*, Convolution*, Tensor*, int, std::size_t* bytes) {
    *bytes = SOME;
    return SUCCESS;
}
API cudnnGetConvolutionBackwardFilterWorkspaceSize(void*, Tensor*, Tensor*, Convolution*, Tensor*, int, std::size_t* bytes) {
    *bytes = SOME;
    return SUCCESS;
}

API cudnnConvolutionForward(void*, const void* alpha, Tensor* x, const void* x_at, Tensor* weights, const void* weights_at, Convolution* of,
                            int algorithm, void* memory, std::size_t bytes, const void* beta, Tensor* y, void* y_at) {
    const Shapes shapes{*of, *x, *weights, *y};
    if (algorithm == FORWARD_FFT) die("an algorithm that wants too much memory");
    if (const int problem = check(shapes, memory, bytes, algorithm == 0 ? 0 : SOME)) return problem;
    const std::vector<double> from = x->read(x_at), by = weights->read(weights_at);
    std::vector<double> sums(y->elements());
    shapes.each([&](std::size_t to, std::size_t at, std::size_t weight, int count, int stride) {
        for (int i = 0; i < count; ++i) sums[to + i] += by[weight] * from[at + static_cast<std::size_t>(i) * stride];
    });
    y->write(y_at, sums, alpha, beta);
    return SUCCESS;
}
API cudnnConvolutionBackwardData(void*, const void* alpha, Tensor* weights, const void* weights_at, Tensor* dy, const void* dy_at, Convolution* of,
                                 int algorithm, void* memory, std::size_t bytes, const void* beta, Tensor* dx, void* dx_at) {
    const Shapes shapes{*of, *dx, *weights, *dy};
    if (algorithm == 0) die("a gradient by the images that adds in an order of chance");
    if (const int problem = check(shapes, memory, bytes, SOME)) return problem;
    const std::vector<double> from = dy->read(dy_at), by = weights->read(weights_at);
    std::vector<double> sums(dx->elements());
    shapes.each([&](std::size_t at, std::size_t to, std::size_t weight, int count, int stride) {
        for (int i = 0; i < count; ++i) sums[to + static_cast<std::size_t>(i) * stride] += by[weight] * from[at + i];
    });
    dx->write(dx_at, sums, alpha, beta);
    return SUCCESS;
}
API cudnnConvolutionBackwardFilter(void*, const void* alpha, Tensor* x, const void* x_at, Tensor* dy, const void* dy_at, Convolution* of,
                                   int algorithm, void* memory, std::size_t bytes, const void* beta, Tensor* dw, void* dw_at) {
    const Shapes shapes{*of, *x, *dw, *dy};
    if (algorithm == 0 || algorithm == 3) die("a gradient by the weights that adds in an order of chance");
    if (const int problem = check(shapes, memory, bytes, SOME)) return problem;
    const std::vector<double> from = x->read(x_at), by = dy->read(dy_at);
    std::vector<double> sums(dw->elements());
    shapes.each([&](std::size_t dy_row, std::size_t at, std::size_t to, int count, int stride) {
        double sum = 0;
        for (int i = 0; i < count; ++i) sum += by[dy_row + i] * from[at + static_cast<std::size_t>(i) * stride];
        sums[to] += sum;
    });
    dw->write(dw_at, sums, alpha, beta);
    return SUCCESS;
}
