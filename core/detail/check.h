// The check macro of our own .cpp files: formatting happens out of line, so a check costs one branch.
#pragma once

#include <fmt/format.h>

#include <gradus/core/fmt.h>
#include <gradus/core/tensor.h>

// clang before 16 cannot capture structured bindings in a lambda, so there the formatting stays in line.
#if defined(__clang__) && __clang_major__ < 16
#define GRADUS_OUT_OF_LINE(...) __VA_ARGS__
#else
#define GRADUS_OUT_OF_LINE(...)                          \
  [&]() __attribute__((noinline, cold)) { __VA_ARGS__; } \
  ()
#endif

// Throws ErrorType with a formatted message when the condition does not hold.
#define GRADUS_CHECK(condition, ErrorType, ...)                      \
  do {                                                               \
    if (!(condition)) [[unlikely]]                                   \
      GRADUS_OUT_OF_LINE(throw ErrorType(fmt::format(__VA_ARGS__))); \
  } while (false)

namespace gradus::detail {

/// Same dtype and device for two operands of `op`, with the hint that helps.
inline void check_same(const char* op, const Tensor& a, const Tensor& b) {
  GRADUS_CHECK(a.dtype() == b.dtype(), DtypeError, "{}: {} and {}; convert one with x.to({})", op, a.dtype(), b.dtype(),
               a.dtype());
  GRADUS_CHECK(a.device() == b.device(), DeviceError, "{}: tensors on {} and {}; move one with x.to(device)", op,
               a.device(), b.device());
}
/// A defined tensor, or an error that names the argument.
inline void check_defined(const char* op, const char* argument, const Tensor& x) {
  GRADUS_CHECK(x.defined(), Error,
               "{}: {} is an undefined tensor (default-constructed, or a gradient that was never computed)", op,
               argument);
}

/// A defined tensor of floating dtype, or an error that names the argument.
inline void check_floating(const char* op, const char* argument, const Tensor& x) {
  check_defined(op, argument, x);
  GRADUS_CHECK(is_floating(x.dtype()), DtypeError, "{}: {} is {}; want a floating dtype, convert with x.to(float32)",
               op, argument, x.dtype());
}

/// A scalar takes the tensor's dtype; a floating one does not fit an integer or boolean tensor.
inline void check_scalar(const char* op, const Tensor& x, Scalar value) {
  GRADUS_CHECK(!value.is_floating() || is_floating(x.dtype()), DtypeError,
               "{}: {} and a floating scalar; convert the tensor with x.to(float32)", op, x.dtype());
}

/// An integer that `dtype` can hold: wrapped round, it would be another number.
inline void check_fits(const char* op, Dtype dtype, Scalar value) {
  if (value.is_floating() || is_floating(dtype)) return;
  const int64_t n = value.to<int64_t>();
  const bool fits = dtype == uint8     ? n == static_cast<uint8_t>(n)
                    : dtype == int32   ? n == static_cast<int32_t>(n)
                    : dtype == boolean ? n == 0 || n == 1
                                       : true;
  GRADUS_CHECK(fits, ValueError, "{}: {} does not fit {}", op, n, dtype);
}

}  // namespace gradus::detail
