// Scalar mathematics for every device. The float versions of what matters are branch-free polynomials
// (core/math_float.h), so that loops over them become vector code; the rest calls the standard library. Plain data
// only.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>

#include <gradus/core/api.h>
#include <gradus/core/math_float.h>

namespace gradus::math {

template <class T>
GRADUS_FN constexpr T largest() {
  return std::numeric_limits<T>::max();
}
// Integers wrap around, as in NumPy and PyTorch: in C++ only unsigned arithmetic may.
template <class T>
GRADUS_FN T add(T a, T b) {
  if constexpr (std::is_integral_v<T>)
    return static_cast<T>(static_cast<uint64_t>(a) + static_cast<uint64_t>(b));
  else
    return a + b;
}
template <class T>
GRADUS_FN T sub(T a, T b) {
  if constexpr (std::is_integral_v<T>)
    return static_cast<T>(static_cast<uint64_t>(a) - static_cast<uint64_t>(b));
  else
    return a - b;
}
template <class T>
GRADUS_FN T mul(T a, T b) {
  if constexpr (std::is_integral_v<T>)
    return static_cast<T>(static_cast<uint64_t>(a) * static_cast<uint64_t>(b));
  else
    return a * b;
}
template <class T>
GRADUS_FN T neg(T x) {
  if constexpr (std::is_integral_v<T>)
    return sub(T(0), x);
  else
    return -x;
}
// A NaN in either operand gives NaN, as in PyTorch. One condition a select: of two joined by || loops stay scalar.
template <class T>
GRADUS_FN T minimum(T a, T b) {
  const T smaller = a < b ? a : b;
  return a != a ? a : smaller;
}
template <class T>
GRADUS_FN T maximum(T a, T b) {
  const T larger = a > b ? a : b;
  return a != a ? a : larger;
}
template <class T>
GRADUS_FN T abs(T x) {
  if constexpr (std::is_unsigned_v<T>)
    return x;
  else if constexpr (std::is_floating_point_v<T>)
    return std::fabs(x);
  else
    return x < 0 ? neg(x) : x;
}
// Python's %: the sign of the divisor. Integer division by zero gives zero instead of a trap; the op has checked
// scalars.
template <class T>
GRADUS_FN T remainder(T x, T y) {
  if constexpr (std::is_floating_point_v<T>) {
    const T r = std::fmod(x, y);
    return r != 0 && (r < 0) != (y < 0) ? r + y : r;
  } else {
    if (y == 0 || (std::is_signed_v<T> && y == T(-1))) return 0;
    const T r = static_cast<T>(x % y);
    return r != 0 && (r < 0) != (y < 0) ? static_cast<T>(r + y) : r;
  }
}

#define GRADUS_STD_MATH(name) \
  template <class T>          \
  GRADUS_FN T name(T x) {     \
    return std::name(x);      \
  }
GRADUS_STD_MATH(exp)
GRADUS_STD_MATH(expm1)
GRADUS_STD_MATH(log)
GRADUS_STD_MATH(log1p)
GRADUS_STD_MATH(log2)
GRADUS_STD_MATH(sqrt)
GRADUS_STD_MATH(sin)
GRADUS_STD_MATH(cos)
GRADUS_STD_MATH(tan)
GRADUS_STD_MATH(asin)
GRADUS_STD_MATH(acos)
GRADUS_STD_MATH(atan)
GRADUS_STD_MATH(sinh)
GRADUS_STD_MATH(cosh)
GRADUS_STD_MATH(tanh)
GRADUS_STD_MATH(erf)
GRADUS_STD_MATH(floor)
GRADUS_STD_MATH(ceil)
GRADUS_STD_MATH(trunc)
#undef GRADUS_STD_MATH
template <class T>
GRADUS_FN T pow(T x, T y) {
  return std::pow(x, y);
}
// To nearest, ties to even.
template <class T>
GRADUS_FN T round(T x) {
  return std::nearbyint(x);
}

template <class T>
GRADUS_FN T sigmoid(T x) {
  return T(1) / (T(1) + exp(-x));
}
template <class T>
GRADUS_FN T silu_derivative(T x) {
  const T s = sigmoid(x);
  return s * (T(1) + x * (T(1) - s));
}
// GELU (Hendrycks and Gimpel, arXiv 1606.08415): x Phi(x), and the tanh approximation of the same paper, which equals
// x sigmoid(2 u) with u = sqrt(2/pi) (x + 0.044715 x^3).
template <class T>
GRADUS_FN T gelu_erf(T x) {
  return T(0.5) * x * (T(1) + erf(x * T(0.70710678118654752)));
}
template <class T>
GRADUS_FN T gelu_erf_derivative(T x) {
  return T(0.5) * (T(1) + erf(x * T(0.70710678118654752))) + x * exp(T(-0.5) * x * x) * T(0.39894228040143268);
}
template <class T>
GRADUS_FN T gelu_tanh(T x) {
  return x * sigmoid(T(1.5957691216057308) * (x + T(0.044715) * x * x * x));
}
template <class T>
GRADUS_FN T gelu_tanh_derivative(T x) {
  const T s = sigmoid(T(1.5957691216057308) * (x + T(0.044715) * x * x * x));
  return s + x * s * (T(1) - s) * T(1.5957691216057308) * (T(1) + T(0.134145) * x * x);
}
// log(1 + exp(x)) without overflow.
template <class T>
GRADUS_FN T softplus(T x) {
  return maximum(x, T(0)) + log1p(exp(-abs(x)));
}

}  // namespace gradus::math
