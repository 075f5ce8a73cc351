// Per-ISA functions for fused kernels; see functions.h.
#pragma once

#include <cstdint>

namespace gradus::cpu {

/// Over `rows` rows of n contiguous elements. Outputs may be the inputs.
template <class T>
struct SoftmaxLoops {
  void (*softmax)(T* y, const T* x, int64_t rows, int64_t n);
  void (*softmax_backward)(T* dx, const T* g, const T* y, int64_t rows, int64_t n);
  void (*log_softmax)(T* y, const T* x, int64_t rows, int64_t n);
  void (*log_softmax_backward)(T* dx, const T* g, const T* y, int64_t rows, int64_t n);
  /// y[rows] = log sum exp x.
  void (*logsumexp)(T* y, const T* x, int64_t rows, int64_t n);
  /// y = scale[row] exp(x - shift[row]); zeros where the scale is 0, whatever x is.
  void (*scaled_exp)(T* y, const T* x, const T* shift, const T* scale, int64_t rows, int64_t n);
};

}  // namespace gradus::cpu

// clang-format off
#define GRADUS_ISA_FUSED(F) \
  F(softmax_loops_f32, const SoftmaxLoops<float>&) \
  F(softmax_loops_f64, const SoftmaxLoops<double>&)
// clang-format on
