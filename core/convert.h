// From one element type to another, the same on every device. Plain data only.
#pragma once

#include <limits>
#include <type_traits>

#include <gradus/core/element.h>

namespace gradus {

template <class T>
inline constexpr bool is_half = std::is_same_v<T, f16> || std::is_same_v<T, bf16>;

// Floating to integer without undefined behaviour: saturates, and NaN becomes 0.
template <class To, class From>
GRADUS_FN To to_integer(From x) {
  constexpr From low = static_cast<From>(std::numeric_limits<To>::min());
  constexpr From limit = static_cast<From>(std::numeric_limits<To>::max() / 2 + 1) * 2;  // 2^bits, exact
  if (!(x > low)) return x == x ? std::numeric_limits<To>::min() : To(0);
  return x < limit ? static_cast<To>(x) : std::numeric_limits<To>::max();
}

template <class To, class From>
GRADUS_FN To convert(From x) {
  if constexpr (is_half<From>)
    return convert<To>(static_cast<float>(x));
  else if constexpr (is_half<To>)
    return To(static_cast<float>(x));
  else if constexpr (std::is_same_v<To, bool>)
    return x != From(0);
  else if constexpr (std::is_floating_point_v<From> && std::is_integral_v<To>)
    return to_integer<To>(x);
  else
    return static_cast<To>(x);
}

}  // namespace gradus
