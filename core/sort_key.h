// Unsigned numbers in the order of the values of a dtype, for sorting on every device. NaN is the largest value, as in
// PyTorch. Plain data only.
#pragma once

#include <limits>

#include <gradus/core/element.h>

namespace gradus {

namespace detail {

// Negative floats have their bits flipped, others get the top bit; -0 and NaNs of any bits are made one first.
template <class Bits>
GRADUS_FN Bits float_key(Bits bits, Bits infinity) {
  constexpr Bits top = static_cast<Bits>(Bits(1) << (sizeof(Bits) * 8 - 1));
  const Bits magnitude = bits & static_cast<Bits>(~top);
  if (magnitude > infinity) return std::numeric_limits<Bits>::max();
  if (magnitude == 0) return top;
  return static_cast<Bits>(bits & top ? ~bits : bits | top);
}

}  // namespace detail

/// Of 8 sizeof(x) bits.
GRADUS_FN uint32_t sort_key(float x) {
  return detail::float_key<uint32_t>(__builtin_bit_cast(uint32_t, x), 0x7f800000u);
}
GRADUS_FN uint64_t sort_key(double x) {
  return detail::float_key<uint64_t>(__builtin_bit_cast(uint64_t, x), 0x7ff0000000000000u);
}
GRADUS_FN uint32_t sort_key(f16 x) { return detail::float_key<uint16_t>(x.bits, 0x7c00u); }
GRADUS_FN uint32_t sort_key(bf16 x) { return detail::float_key<uint16_t>(x.bits, 0x7f80u); }
GRADUS_FN uint32_t sort_key(int32_t x) { return static_cast<uint32_t>(x) ^ 0x80000000u; }
GRADUS_FN uint64_t sort_key(int64_t x) { return static_cast<uint64_t>(x) ^ 0x8000000000000000u; }
GRADUS_FN uint32_t sort_key(uint8_t x) { return x; }
GRADUS_FN uint32_t sort_key(bool x) { return x; }

}  // namespace gradus
