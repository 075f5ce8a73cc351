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

/// Over rows of n, or over n elements of one channel. Weight and bias may be null. The backward loops add to dweight
/// and dbias, which are null together or not at all; dx may be null too.
template <class T>
struct NormLoops {
  void (*layer_norm)(T* y, T* mean, T* rstd, const T* x, const T* weight, const T* bias, int64_t rows, int64_t n,
                     T eps);
  void (*layer_norm_backward)(T* dx, T* dweight, T* dbias, const T* g, const T* x, const T* mean, const T* rstd,
                              const T* weight, int64_t rows, int64_t n);
  void (*rms_norm)(T* y, T* rstd, const T* x, const T* weight, int64_t rows, int64_t n, T eps);
  void (*rms_norm_backward)(T* dx, T* dweight, const T* g, const T* x, const T* rstd, const T* weight, int64_t rows,
                            int64_t n);
  T (*sum)(const T* x, int64_t n);
  /// sums[0] = sum (x - center), sums[1] = sum (x - center)^2.
  void (*deviations)(T* sums, const T* x, int64_t n, T center);
  /// y = (x - center) scale + shift.
  void (*affine)(T* y, const T* x, int64_t n, T center, T scale, T shift);
  /// sums[0] = sum g, sums[1] = sum g (x - center).
  void (*gradient_sums)(T* sums, const T* g, const T* x, int64_t n, T center);
  /// dx = g scale - (x - center) slope - offset.
  void (*gradient)(T* dx, const T* g, const T* x, int64_t n, T center, T scale, T slope, T offset);
};

/// Over a block of attention scores, [rows, n] dense. Row r sees its first `visible + r step` columns; what it does not
/// see becomes 0.
template <class T>
struct AttentionLoops {
  /// s = exp(scale s - top). `top` and `sum` of the rows go on from the blocks before; what those blocks gave is to be
  /// multiplied by `correction`.
  void (*softmax_block)(T* s, int64_t rows, int64_t n, T scale, int64_t visible, int64_t step, T* top, T* sum,
                        T* correction);
  /// s = exp(scale s - lse[row]).
  void (*probabilities)(T* s, int64_t rows, int64_t n, T scale, int64_t visible, int64_t step, const T* lse);
  /// ds = scale p (ds - dot[row]).
  void (*score_gradient)(T* ds, const T* p, int64_t rows, int64_t n, T scale, const T* dot);
  /// x[row] *= factor[row]; rows are `stride` apart.
  void (*scale_rows)(T* x, int64_t stride, int64_t rows, int64_t n, const T* factor);
  /// y[row] = sum a[row] b[row].
  void (*dot_rows)(T* y, const T* a, int64_t stride_a, const T* b, int64_t stride_b, int64_t rows, int64_t n);
};

}  // namespace gradus::cpu

// clang-format off
#define GRADUS_ISA_FUSED(F) \
  F(softmax_loops_f32, const SoftmaxLoops<float>&) \
  F(softmax_loops_f64, const SoftmaxLoops<double>&) \
  F(norm_loops_f32, const NormLoops<float>&) \
  F(norm_loops_f64, const NormLoops<double>&) \
  F(attention_loops_f32, const AttentionLoops<float>&) \
  F(attention_loops_f64, const AttentionLoops<double>&)
// clang-format on
