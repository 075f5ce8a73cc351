// A number that takes its tensor's dtype: remembers whether it was written as an integer, a floating value or a bool.
#pragma once

#include <concepts>
#include <cstdint>
#include <limits>
#include <type_traits>

#include <gradus/core/api.h>

namespace gradus {

class Scalar {
 public:
  Scalar() = default;
  Scalar(bool value) : kind_(Kind::boolean), integer_(value) {}
  template <std::integral T>
  requires(!std::same_as<T, bool>) Scalar(T value) : kind_(Kind::integer), integer_(static_cast<int64_t>(value)) {}
  template <std::floating_point T>
  Scalar(T value) : kind_(Kind::floating), floating_(static_cast<double>(value)) {}

  GRADUS_FN bool is_floating() const { return kind_ == Kind::floating; }
  bool is_boolean() const { return kind_ == Kind::boolean; }
  /// As a T. A floating value beyond an integer's range becomes the nearest integer, NaN becomes 0; an integer beyond
  /// the range of a narrower one wraps around.
  template <class T>
  GRADUS_FN T to() const {
    if constexpr (std::integral<T> && !std::same_as<T, bool>)
      return is_floating() ? nearest<T>(floating_) : static_cast<T>(integer_);
    else if constexpr (std::is_arithmetic_v<T>)
      return is_floating() ? static_cast<T>(floating_) : static_cast<T>(integer_);
    else
      return T(is_floating() ? static_cast<float>(floating_) : static_cast<float>(integer_));
  }

 private:
  template <class T>
  GRADUS_FN static T nearest(double value) {
    // Powers of two, so exact as doubles: the least T, and the first number above the largest.
    constexpr double low = static_cast<double>(std::numeric_limits<T>::min());
    constexpr double beyond = 2.0 * static_cast<double>(std::numeric_limits<T>::max() / 2 + 1);
    if (value != value) return 0;
    if (value < low) return std::numeric_limits<T>::min();
    return value >= beyond ? std::numeric_limits<T>::max() : static_cast<T>(value);
  }

  enum class Kind : uint8_t { integer, floating, boolean };
  Kind kind_ = Kind::integer;
  union {
    int64_t integer_ = 0;
    double floating_;
  };
};

}  // namespace gradus
