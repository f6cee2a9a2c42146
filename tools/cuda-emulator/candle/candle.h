// Enough of CUDA for candle's kernels, over ../shim.h: half floats, atomics and shuffles.
#pragma once

#include <algorithm>
#include <bit>
#include <cassert>
#include <cmath>
#include <cstdint>

#include "numbers.h"
#include "shim.h"

namespace host {
inline std::uint64_t launches = 0;
}

#define __CUDA_ARCH__ 800
#define __CUDACC_VER_MAJOR__ 13
#define __CUDACC_VER_MINOR__ 0
#define __global__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
// Blocks run one after the other.
#define __shared__ static

using std::max;
using std::min;
#define MIXED(A, B, C)                                                             \
    inline C min(A a, B b) { return (C)a < (C)b ? (C)a : (C)b; }                    \
    inline C max(A a, B b) { return (C)a > (C)b ? (C)a : (C)b; }
MIXED(int, unsigned, unsigned)
MIXED(unsigned, int, unsigned)
MIXED(std::size_t, unsigned, std::size_t)
MIXED(unsigned, std::size_t, std::size_t)
MIXED(std::size_t, int, std::size_t)
MIXED(int, std::size_t, std::size_t)

struct float2 { float x, y; };
struct alignas(16) float4 { float x, y, z, w; };
inline float2 make_float2(float x, float y) { return {x, y}; }

// A float that is rounded when it is stored.
template <class Bits> struct Short {
    Bits bits{};

    Short() = default;
    Short(float v) : bits(Bits::of(v)) {}
    Short(double v) : Short((float)v) {}
    Short(int v) : Short((float)v) {}
    template <class T, class = std::enable_if_t<std::is_integral_v<T>>> Short(T v) : Short((float)v) {}
    operator float() const { return bits.wide(); }
    Short& operator+=(Short v) { return *this = Short((float)*this + (float)v); }
    Short& operator*=(Short v) { return *this = Short((float)*this * (float)v); }
    friend Short operator+(Short a, Short b) { return Short((float)a + (float)b); }
    friend Short operator-(Short a, Short b) { return Short((float)a - (float)b); }
    friend Short operator*(Short a, Short b) { return Short((float)a * (float)b); }
    friend Short operator/(Short a, Short b) { return Short((float)a / (float)b); }
    friend Short operator-(Short a) { return Short(-(float)a); }
    friend bool operator<(Short a, Short b) { return (float)a < (float)b; }
    friend bool operator>(Short a, Short b) { return (float)a > (float)b; }
    friend bool operator<=(Short a, Short b) { return (float)a <= (float)b; }
    friend bool operator>=(Short a, Short b) { return (float)a >= (float)b; }
    friend bool operator==(Short a, Short b) { return (float)a == (float)b; }
    friend bool operator!=(Short a, Short b) { return (float)a != (float)b; }
};
struct HalfBits {
    _Float16 value;
    static HalfBits of(float v) { return {(_Float16)v}; }
    float wide() const { return (float)value; }
};
struct BrainBits {
    std::uint16_t value;
    static BrainBits of(float v) { return {to_bf16(v)}; }
    float wide() const { return of_bf16(value); }
};
using __half = Short<HalfBits>;
using half = __half;
using __nv_bfloat16 = Short<BrainBits>;
inline float __half2float(__half v) { return v; }
inline __half __float2half(float v) { return v; }
inline float __bfloat162float(__nv_bfloat16 v) { return v; }
inline __nv_bfloat16 __float2bfloat16(float v) { return v; }
inline __nv_bfloat16 __float2bfloat16_rn(float v) { return v; }
struct __nv_bfloat162 { __nv_bfloat16 x, y; };
inline __nv_bfloat162 __hadd2(__nv_bfloat162 a, __nv_bfloat162 b) { return {a.x + b.x, a.y + b.y}; }
inline __nv_bfloat162 __hsub2(__nv_bfloat162 a, __nv_bfloat162 b) { return {a.x - b.x, a.y - b.y}; }
inline __nv_bfloat162 __hmul2(__nv_bfloat162 a, __nv_bfloat162 b) { return {a.x * b.x, a.y * b.y}; }
inline __nv_bfloat162 __h2div(__nv_bfloat162 a, __nv_bfloat162 b) { return {a.x / b.x, a.y / b.y}; }
#define OF_SHORT(T)                                                              \
    inline bool __hisnan(T v) { return std::isnan((float)v); }                     \
    inline T hsqrt(T v) { return sqrtf(v); }                                       \
    inline T hcos(T v) { return cosf(v); }                                         \
    inline T hsin(T v) { return sinf(v); }                                         \
    inline T hlog(T v) { return logf(v); }                                         \
    inline T hexp(T v) { return expf(v); }                                         \
    inline T __habs(T v) { return fabsf(v); }                                      \
    inline T __hmax(T a, T b) { return fmaxf(a, b); }                              \
    inline T __hmin(T a, T b) { return fminf(a, b); }                              \
    inline T __hmax_nan(T a, T b) { return __hisnan(a) ? a : __hisnan(b) ? b : __hmax(a, b); } \
    inline T __hmin_nan(T a, T b) { return __hisnan(a) ? a : __hisnan(b) ? b : __hmin(a, b); } \
    inline T atomicAdd(T* at, T by) {                                              \
        const T old = *at;                                                         \
        *at = old + by;                                                            \
        return old;                                                                \
    }
OF_SHORT(__half)
OF_SHORT(__nv_bfloat16)
inline unsigned short __half_as_ushort(__half v) { return std::bit_cast<unsigned short>(v); }
inline __half __ushort_as_half(unsigned short bits) { return std::bit_cast<__half>(bits); }

// Only declared: no type of this workspace.
struct __nv_fp8_e4m3 {
    unsigned char __x;
    __nv_fp8_e4m3() = default;
    template <class T> explicit __nv_fp8_e4m3(T) : __x(0) { std::abort(); }
};
constexpr int __NV_E4M3 = 0;
inline __half __nv_cvt_fp8_to_halfraw(unsigned char, int) { std::abort(); }

inline int __float_as_int(float v) { return (int)__float_as_uint(v); }
inline float __int_as_float(int v) { return __uint_as_float((unsigned)v); }
inline long long __double_as_longlong(double v) { return std::bit_cast<long long>(v); }
inline double __longlong_as_double(long long bits) { return std::bit_cast<double>(bits); }
inline float normcdff(float v) { return 0.5f * erfcf(-v * 0.70710678f); }
inline double normcdf(double v) { return 0.5 * erfc(-v * 0.70710678118654752); }
inline float rsqrtf(float v) { return 1 / sqrtf(v); }

// Threads take turns.
template <class T, class U> std::enable_if_t<std::is_arithmetic_v<T>, T> atomicAdd(T* at, U by) {
    const T old = *at;
    *at = old + (T)by;
    return old;
}
template <class T, class U> T atomicMax(T* at, U by) {
    const T old = *at;
    *at = std::max<T>(old, by);
    return old;
}
template <class T, class U> T atomicMin(T* at, U by) {
    const T old = *at;
    *at = std::min<T>(old, by);
    return old;
}
template <class T> T atomicCAS(T* at, T expected, T desired) {
    const T old = *at;
    if (old == expected) *at = desired;
    return old;
}

#ifndef WITHOUT_BARRIERS
// All threads of a warp give a value and take another's; those of other warps may be elsewhere.
template <class T> T __shfl_xor_sync(unsigned, T own, int mask, int = 32) {
    struct Warp {
        std::uint64_t block = 0, arrived = 0;
        T given[2][32];
    };
    struct Thread {
        std::uint64_t block = 0;
        unsigned turn = 0;
    };
    static Warp warps[32];
    static Thread threads[1024];
    // Blocks run one after the other, and each begins anew.
    const std::uint64_t block = host::launches << 32 | blockIdx.x;
    Warp& warp = warps[threadIdx.x / 32];
    Thread& thread = threads[threadIdx.x];
    if (warp.block != block) warp = Warp{block};
    if (thread.block != block) thread = Thread{block};
    const unsigned lane = threadIdx.x % 32, active = std::min(32u, blockDim.x - threadIdx.x / 32 * 32);
    const unsigned turn = thread.turn++;
    // A thread is at most one turn ahead of the others.
    warp.given[turn % 2][lane] = own;
    ++warp.arrived;
    while (warp.arrived < (std::uint64_t)(turn + 1) * active) host::block->spin();
    return warp.given[turn % 2][lane ^ mask];
}
#else
template <class T> T __shfl_xor_sync(unsigned, T, int, int = 32) { std::abort(); }
#endif
