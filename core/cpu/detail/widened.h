// 16-bit operands of kernels that compute in float32.
#pragma once

#include <gradus/core/factories.h>
#include <gradus/core/kernels.h>

namespace gradus::cpu {

/// A contiguous float32 copy; undefined stays undefined.
inline Tensor widened(const Tensor& x) {
  if (!x.defined()) return x;
  Tensor y = empty(x.shape(), {.dtype = float32});
  kernels::copy(Device::cpu(), y, x);
  return y;
}

}  // namespace gradus::cpu
