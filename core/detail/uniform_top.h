// The upper end of a uniform distribution in a dtype, on the host.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include <gradus/core/element.h>

namespace gradus::detail {

/// The largest value of a floating dtype below x.
inline double next_below(double x, Dtype dtype) {
  const auto step_down = []<class T>(T t) {
    const bool zero = (t.bits & 0x7fffu) == 0, negative = (t.bits & 0x8000u) != 0;
    t.bits = static_cast<uint16_t>(zero ? 0x8001u : negative ? t.bits + 1u : t.bits - 1u);
    return static_cast<double>(static_cast<float>(t));
  };
  switch (dtype) {
    case Dtype::float16: return step_down(f16(static_cast<float>(x)));
    case Dtype::bfloat16: return step_down(bf16(static_cast<float>(x)));
    case Dtype::float32: return std::nextafter(static_cast<float>(x), -std::numeric_limits<float>::max());
    default: return std::nextafter(x, -std::numeric_limits<double>::max());
  }
}

/// The largest number that is drawn from [low, high): rounding must not reach `high`.
inline double uniform_top(double low, double high, Dtype dtype) { return std::max(low, next_below(high, dtype)); }

}  // namespace gradus::detail
