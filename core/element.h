// Element types as plain data: the enumeration with its constants, the 16-bit float structs, the map from C++ types.
// Kernels compiled for one instruction set include this; names for people are in core/dtype.h.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include <gradus/core/api.h>

namespace gradus {

enum class Dtype : uint8_t { float32, float64, float16, bfloat16, int32, int64, uint8, boolean };
inline constexpr int num_dtypes = 8;

inline constexpr Dtype float32 = Dtype::float32, float64 = Dtype::float64, float16 = Dtype::float16,
                       bfloat16 = Dtype::bfloat16, int32 = Dtype::int32, int64 = Dtype::int64, uint8 = Dtype::uint8,
                       boolean = Dtype::boolean;

/// Bytes of one element.
constexpr int64_t itemsize(Dtype dtype) {
  constexpr int64_t sizes[] = {4, 8, 2, 2, 4, 8, 1, 1};
  return sizes[static_cast<int>(dtype)];
}
constexpr bool is_floating(Dtype dtype) { return dtype <= Dtype::bfloat16; }
constexpr bool is_integral(Dtype dtype) { return dtype >= Dtype::int32 && dtype <= Dtype::uint8; }

/// bfloat16: the upper half of a float32, rounded to nearest even.
struct bf16 {
  uint16_t bits = 0;
  bf16() = default;
  GRADUS_FN explicit bf16(float x) {
    const uint32_t u = std::bit_cast<uint32_t>(x);
    const uint32_t rounded = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
    bits = static_cast<uint16_t>((u & 0x7fffffffu) > 0x7f800000u ? 0x7fffu : rounded);
  }
  GRADUS_FN explicit operator float() const { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }
};

/// IEEE 754 binary16, rounded to nearest even; overflow becomes infinity, subnormals are kept.
struct f16 {
  uint16_t bits = 0;
  f16() = default;
  GRADUS_FN explicit f16(float x) {
    const uint32_t u = std::bit_cast<uint32_t>(x), sign = (u >> 16) & 0x8000u, magnitude = u & 0x7fffffffu;
    uint32_t out;
    if (magnitude > 0x7f800000u) {
      out = 0x7e00u;
    } else if (magnitude >= 0x477ff000u) {  // 65520 and above round to infinity
      out = 0x7c00u;
    } else if (magnitude < 0x38800000u) {  // below 2^-14: adding 0.5 lets the FPU round at 2^-24, a subnormal's unit
      out = std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) + 0.5f) - 0x3f000000u;
    } else {
      out = (magnitude + 0xfffu + ((magnitude >> 13) & 1u) - 0x38000000u) >> 13;
    }
    bits = static_cast<uint16_t>(sign | out);
  }
  // Without branches, so that loops become vector code.
  GRADUS_FN explicit operator float() const {
    const uint32_t sign = static_cast<uint32_t>(bits & 0x8000u) << 16, magnitude = bits & 0x7fffu, u = magnitude << 13;
    const uint32_t normal = u + (magnitude >= 0x7c00u ? 224u << 23 : 112u << 23);
    const float subnormal = std::bit_cast<float>(u + (113u << 23)) - 0x1p-14f;  // the mantissa behind a leading 2^-14
    return std::bit_cast<float>(sign | (magnitude < 0x400u ? std::bit_cast<uint32_t>(subnormal) : normal));
  }
};

template <class T>
struct DtypeOf;
#define GRADUS_DTYPE_OF(T, constant)                \
  template <>                                       \
  struct DtypeOf<T> {                               \
    static constexpr Dtype value = Dtype::constant; \
  };
GRADUS_DTYPE_OF(float, float32)
GRADUS_DTYPE_OF(double, float64)
GRADUS_DTYPE_OF(f16, float16)
GRADUS_DTYPE_OF(bf16, bfloat16)
GRADUS_DTYPE_OF(int32_t, int32)
GRADUS_DTYPE_OF(int64_t, int64)
GRADUS_DTYPE_OF(uint8_t, uint8)
GRADUS_DTYPE_OF(bool, boolean)
#undef GRADUS_DTYPE_OF
/// The Dtype of a C++ type: dtype_of<float> == float32.
template <class T>
inline constexpr Dtype dtype_of = DtypeOf<std::remove_cv_t<T>>::value;

}  // namespace gradus
