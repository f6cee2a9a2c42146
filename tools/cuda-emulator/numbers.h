// The types of numbers in an emulated GPU's memory.
#pragma once

#include <bit>
#include <cstdint>

inline float of_bf16(std::uint16_t bits) { return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16); }

// Rounded to the nearest, ties to even.
inline std::uint16_t to_bf16(float v) {
    const auto bits = std::bit_cast<std::uint32_t>(v);
    return v != v ? 0x7fc0 : static_cast<std::uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

// As cudaDataType_t counts them.
enum Type { F32 = 0, F64 = 1, F16 = 2, BF16 = 14 };

inline double get(const void* at, std::int64_t index, int type) {
    switch (type) {
        case F32: return static_cast<const float*>(at)[index];
        case F64: return static_cast<const double*>(at)[index];
        case F16: return static_cast<double>(static_cast<const _Float16*>(at)[index]);
        case BF16: return of_bf16(static_cast<const std::uint16_t*>(at)[index]);
    }
    __builtin_trap();
}

inline void set(void* at, std::int64_t index, int type, double v) {
    switch (type) {
        case F32: static_cast<float*>(at)[index] = static_cast<float>(v); return;
        case F64: static_cast<double*>(at)[index] = v; return;
        case F16: static_cast<_Float16*>(at)[index] = static_cast<_Float16>(v); return;
        case BF16: static_cast<std::uint16_t*>(at)[index] = to_bf16(static_cast<float>(v)); return;
    }
    __builtin_trap();
}
