// What the elementwise ops share: their checks, the output, the call of the kernel.
#pragma once

#include <gradus/autograd/ops.h>
#include <gradus/core/detail/check.h>
#include <gradus/core/kernels.h>

namespace gradus::detail {

inline void check_floating(const char* op, const Tensor& x) {
  check_defined(op, "x", x);
  GRADUS_CHECK(is_floating(x.dtype()), DtypeError, "{}: want a floating dtype, got {}; convert with x.to(float32)", op,
               x.dtype());
}

inline void check_numeric(const char* op, const Tensor& x) {
  check_defined(op, "x", x);
  GRADUS_CHECK(x.dtype() != boolean, DtypeError,
               "{}: boolean has no arithmetic; use logical_and, logical_or or logical_not, or convert with x.to(int64)",
               op);
}

/// y = f(x) in x's dtype; `x` is checked.
inline Tensor map(Elementwise f, const Tensor& x, const Params& params = {}) {
  Tensor y = empty(x.shape(), {.dtype = x.dtype(), .device = x.device()});
  const Tensor* inputs[] = {&x};
  kernels::elementwise(x.device(), f, y, inputs, params);
  return y;
}

/// z = f(x, y), broadcast, in x's dtype or `result`; checks that x and y fit together.
inline Tensor map(const char* op, Elementwise f, const Tensor& x, const Tensor& y, const Params& params = {},
                  std::optional<Dtype> result = {}) {
  check_defined(op, "y", y);
  check_same(op, x, y);
  const TensorOptions options{.dtype = result.value_or(x.dtype()), .device = x.device()};
  Tensor z =
      x.shape() == y.shape() ? empty(x.shape(), options) : empty(broadcast_shapes(op, x.shape(), y.shape()), options);
  const Tensor* inputs[] = {&x, &y};
  kernels::elementwise(x.device(), f, z, inputs, params);
  return z;
}

/// x when the gradient of `other` will read it, else an undefined tensor: a frozen factor keeps nothing alive.
inline const Tensor& wanted_by(const Tensor& other, const Tensor& x) {
  static const Tensor none;
  return other.requires_grad() ? x : none;
}

}  // namespace gradus::detail
