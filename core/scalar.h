// A number that takes its tensor's dtype: remembers whether it was written as an integer, a floating value or a bool.
#pragma once

#include <concepts>
#include <cstdint>
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
  template <class T>
  GRADUS_FN T to() const {
    if constexpr (std::is_arithmetic_v<T>)
      return is_floating() ? static_cast<T>(floating_) : static_cast<T>(integer_);
    else
      return T(is_floating() ? static_cast<float>(floating_) : static_cast<float>(integer_));
  }

 private:
  enum class Kind : uint8_t { integer, floating, boolean };
  Kind kind_ = Kind::integer;
  union {
    int64_t integer_ = 0;
    double floating_;
  };
};

}  // namespace gradus
