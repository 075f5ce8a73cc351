// Every kernel slot, one line each: all that a backend can implement. The op has checked everything and allocated the
// output; a kernel only computes. Tensors are contiguous unless the line says «strided»; `rows` means all dims but the
// last. An undefined Tensor stands for an optional argument that is absent. Floats means float32, float64, float16,
// bfloat16; 16-bit types accumulate in float32.
#pragma once

#include <cstdint>
#include <span>

#include <gradus/core/elementwise.h>
#include <gradus/core/kernel.h>
#include <gradus/core/optimizer_args.h>

namespace gradus {

/// Geometry of a 2-d convolution or pooling: (height, width) pairs.
struct Window2d {
  int64_t kernel[2] = {1, 1}, stride[2] = {1, 1}, padding[2] = {0, 0}, dilation[2] = {1, 1};
};
struct ConvArgs {
  Window2d window;
  int64_t groups = 1;
};
struct CrossEntropyArgs {
  double label_smoothing = 0;
  int64_t ignore_index = -100;
};
struct AttentionArgs {
  double scale = 1;
  bool causal = false;
};
/// A place in a Philox stream (Salmon et al., SC 2011): element i uses word i % 4 of counter offset + i / 4.
struct PhiloxState {
  uint64_t seed = 0, offset = 0;
};
/// What a check of indices is about: they should lie in [low, high).
struct IndexRange {
  const char *op, *argument;  ///< literals, for the error of a device that reports later
  int64_t low, high;
};
enum class Distribution : uint8_t { uniform, normal, integer };

/// One parameter of a fused optimizer step. Pointers are to float32 or all to float64, as `dtype` says; each state is
/// null when the optimizer does not use it.
struct OptimizerSlice {
  void* parameter;
  const void* gradient;
  void* state1;
  void* state2;
  void* state3;
  int64_t numel;
  Dtype dtype;
};
// The list: GRADUS_KERNEL(name, signature).
#define GRADUS_KERNELS                                                                                                 \
  /* ---- elementwise and data movement (strided inputs and outputs) */                                                \
  GRADUS_KERNEL(elementwise,                                                                                           \
                void(Elementwise op, Tensor & y, std::span<const Tensor* const> inputs, const Params& params))         \
  GRADUS_KERNEL(copy, void(Tensor & y, const Tensor& x)) /* any dtype to any dtype; same shape */                      \
  GRADUS_KERNEL(transfer,                                                                                              \
                void(Tensor & y, const Tensor& x)) /* to or from this device and the CPU; contiguous, same dtype */    \
  GRADUS_KERNEL(fill, void(Tensor & y, Scalar value))                                                                  \
  GRADUS_KERNEL(arange, void(Tensor & y, Scalar start, Scalar step)) /* y[i] = start + i step; contiguous */           \
  GRADUS_KERNEL(random,                                                                                                \
                void(Tensor & y, Distribution distribution, double a, double b, PhiloxState state)) /* contiguous */   \
  /* y = x / (1 - p) where the uniform number is >= p, else 0; the mask is drawn again in backward */                  \
  GRADUS_KERNEL(dropout, void(Tensor & y, const Tensor& x, double p, PhiloxState state))                               \
  /* ---- reductions: x is [outer, n, inner], y and index hold [outer, inner] in any shape; index int64 is the first   \
   * extreme, NaN wins */                                                                                              \
  GRADUS_KERNEL(reduce_sum,                                                                                            \
                void(Tensor & y, const Tensor& x)) /* y is int64 for integers and boolean; else of x's dtype, or of    \
                                                      the float32 that 16 bits are accumulated in, as for prod, max,   \
                                                      min: either way round */                                         \
  GRADUS_KERNEL(reduce_prod, void(Tensor & y, const Tensor& x))                                                        \
  GRADUS_KERNEL(reduce_max, void(Tensor & y, Tensor & index, const Tensor& x))                                         \
  GRADUS_KERNEL(reduce_min, void(Tensor & y, Tensor & index, const Tensor& x))                                         \
  GRADUS_KERNEL(reduce_any, void(Tensor & y, const Tensor& x)) /* boolean */                                           \
  GRADUS_KERNEL(reduce_all, void(Tensor & y, const Tensor& x)) /* boolean */                                           \
  GRADUS_KERNEL(cumsum, void(Tensor & y, const Tensor& x))     /* [outer, n, inner] both */                            \
  GRADUS_KERNEL(sort, void(Tensor & values, Tensor & index, const Tensor& x,                                           \
                           bool descending)) /* rows x n; stable; NaN largest */                                       \
  GRADUS_KERNEL(                                                                                                       \
      topk, void(Tensor & values, Tensor & index, const Tensor& x, bool largest)) /* rows x k from rows x n; sorted */ \
  /* ---- indexing: indices int64, checked by check_indices first */                                                   \
  /* the position of the first outside its range, or -1; a device that is not to be waited for gives -1, throws        \
   * IndexError where it is next waited for, and its kernels leave such indices out */                                 \
  GRADUS_KERNEL(check_indices, int64_t(const Tensor& index, const IndexRange& range))                                  \
  GRADUS_KERNEL(gather, void(Tensor & y, const Tensor& x, const Tensor& index,                                         \
                             int64_t dim)) /* PyTorch's; sizes are equal but x's at dim */                             \
  GRADUS_KERNEL(scatter_add, void(Tensor & y, const Tensor& index, const Tensor& source,                               \
                                  int64_t dim)) /* y += ; in index order; sizes are equal but y's at dim */            \
  GRADUS_KERNEL(index_select,                                                                                          \
                void(Tensor & y, const Tensor& x, const Tensor& index)) /* [outer, k, inner] from [outer, n, inner] */ \
  GRADUS_KERNEL(index_add, void(Tensor & y, const Tensor& index,                                                       \
                                const Tensor& source)) /* y[:, index[j], :] += source[:, j, :] */                      \
  GRADUS_KERNEL(nonzero, Tensor(const Tensor& mask))   /* flat positions of true, int64 [count] */                     \
  /* ---- linear algebra: c [batch, m, n] (+)= a [batch, m, k] b [batch, k, n] + bias [n] or absent; a and b strided,  \
   * last two dims either way round (core/detail/matrix.h), batch stride may be 0; bias excludes accumulate */         \
  GRADUS_KERNEL(gemm, void(Tensor & c, const Tensor& a, const Tensor& b, const Tensor& bias, bool accumulate))         \
  /* ---- convolution, NCHW: x [N, C, H, W], w [O, C / groups, kh, kw], b [O] or absent, y [N, O, OH, OW] */           \
  GRADUS_KERNEL(conv2d, void(Tensor & y, const Tensor& x, const Tensor& w, const Tensor& b, const ConvArgs& args))     \
  GRADUS_KERNEL(conv2d_backward_input, void(Tensor & dx, const Tensor& g, const Tensor& w, const ConvArgs& args))      \
  GRADUS_KERNEL(conv2d_backward_weight, void(Tensor & dw, const Tensor& g, const Tensor& x, const ConvArgs& args))     \
  GRADUS_KERNEL(max_pool2d,                                                                                            \
                void(Tensor & y, Tensor & index, const Tensor& x,                                                      \
                     const Window2d& window)) /* index: int64 into H W; absent when no gradient is wanted */           \
  GRADUS_KERNEL(max_pool2d_backward, void(Tensor & dx, const Tensor& g, const Tensor& index))                          \
  GRADUS_KERNEL(avg_pool2d, void(Tensor & y, const Tensor& x, const Window2d& window, bool count_include_pad))         \
  GRADUS_KERNEL(avg_pool2d_backward,                                                                                   \
                void(Tensor & dx, const Tensor& g, const Window2d& window, bool count_include_pad))                    \
  /* each output sees rows floor(i H / OH) to ceil((i + 1) H / OH); max_pool2d_backward is its derivative too */       \
  GRADUS_KERNEL(adaptive_max_pool2d, void(Tensor & y, Tensor & index, const Tensor& x))                                \
  GRADUS_KERNEL(adaptive_avg_pool2d, void(Tensor & y, const Tensor& x))                                                \
  GRADUS_KERNEL(adaptive_avg_pool2d_backward, void(Tensor & dx, const Tensor& g))                                      \
  /* ---- fused: rows x n */                                                                                           \
  GRADUS_KERNEL(softmax, void(Tensor & y, const Tensor& x))                                                            \
  GRADUS_KERNEL(softmax_backward, void(Tensor & dx, const Tensor& g, const Tensor& y))                                 \
  GRADUS_KERNEL(log_softmax, void(Tensor & y, const Tensor& x))                                                        \
  GRADUS_KERNEL(log_softmax_backward, void(Tensor & dx, const Tensor& g, const Tensor& y))                             \
  /* loss [rows], lse [rows] (logsumexp, float32 or float64); target int64 [rows]; weight [n] or absent; ignored rows  \
   * give 0 */                                                                                                         \
  GRADUS_KERNEL(cross_entropy, void(Tensor & loss, Tensor & lse, const Tensor& logits, const Tensor& target,           \
                                    const Tensor& weight, const CrossEntropyArgs& args))                               \
  /* g [rows] is the gradient of the row losses */                                                                     \
  GRADUS_KERNEL(cross_entropy_backward,                                                                                \
                void(Tensor & dlogits, const Tensor& g, const Tensor& logits, const Tensor& lse, const Tensor& target, \
                     const Tensor& weight, const CrossEntropyArgs& args))                                              \
  /* mean, rstd [rows] in float32 or float64; weight, bias [n] or absent */                                            \
  GRADUS_KERNEL(layer_norm, void(Tensor & y, Tensor & mean, Tensor & rstd, const Tensor& x, const Tensor& weight,      \
                                 const Tensor& bias, double eps))                                                      \
  GRADUS_KERNEL(layer_norm_backward,                                                                                   \
                void(Tensor & dx, Tensor & dweight, Tensor & dbias, const Tensor& g, const Tensor& x,                  \
                     const Tensor& mean, const Tensor& rstd, const Tensor& weight))                                    \
  GRADUS_KERNEL(rms_norm, void(Tensor & y, Tensor & rstd, const Tensor& x, const Tensor& weight, double eps))          \
  GRADUS_KERNEL(rms_norm_backward, void(Tensor & dx, Tensor & dweight, const Tensor& g, const Tensor& x,               \
                                        const Tensor& rstd, const Tensor& weight))                                     \
  /* x [N, C, S]; statistics over N and S [C] in float32 or float64; var is the biased one */                          \
  GRADUS_KERNEL(batch_norm, void(Tensor & y, Tensor & mean, Tensor & var, const Tensor& x, const Tensor& weight,       \
                                 const Tensor& bias, double eps))                                                      \
  GRADUS_KERNEL(batch_norm_backward,                                                                                   \
                void(Tensor & dx, Tensor & dweight, Tensor & dbias, const Tensor& g, const Tensor& x,                  \
                     const Tensor& mean, const Tensor& var, const Tensor& weight, double eps))                         \
  /* x [N, C, S]; statistics [N, groups] */                                                                            \
  GRADUS_KERNEL(group_norm, void(Tensor & y, Tensor & mean, Tensor & rstd, const Tensor& x, const Tensor& weight,      \
                                 const Tensor& bias, int64_t groups, double eps))                                      \
  GRADUS_KERNEL(group_norm_backward,                                                                                   \
                void(Tensor & dx, Tensor & dweight, Tensor & dbias, const Tensor& g, const Tensor& x,                  \
                     const Tensor& mean, const Tensor& rstd, const Tensor& weight, int64_t groups))                    \
  /* q [B, H, T, D], k, v [B, H, S, D], strided with unit stride in D; o [B, T, H, D] seen as [B, H, T, D] (strided);  \
   * lse [B, H, T] */                                                                                                  \
  GRADUS_KERNEL(attention, void(Tensor & o, Tensor & lse, const Tensor& q, const Tensor& k, const Tensor& v,           \
                                const AttentionArgs& args))                                                            \
  GRADUS_KERNEL(attention_backward,                                                                                    \
                void(Tensor & dq, Tensor & dk, Tensor & dv, const Tensor& g, const Tensor& q, const Tensor& k,         \
                     const Tensor& v, const Tensor& o, const Tensor& lse, const AttentionArgs& args))                  \
  /* ---- optimizers: one call for all parameters */                                                                   \
  GRADUS_KERNEL(squared_norm, double(std::span<const OptimizerSlice> slices)) /* of the gradients together */          \
  GRADUS_KERNEL(scale_gradients, void(std::span<const OptimizerSlice> slices, double factor)) /* in place */           \
  GRADUS_KERNEL(adam_step, void(std::span<const OptimizerSlice> slices, const AdamArgs& args))                         \
  GRADUS_KERNEL(sgd_step, void(std::span<const OptimizerSlice> slices, const SgdArgs& args))                           \
  GRADUS_KERNEL(rmsprop_step, void(std::span<const OptimizerSlice> slices, const RmspropArgs& args))

namespace kernels {
// One instance for the whole program: a hidden inline variable would give a plug-in its own.
#define GRADUS_KERNEL(name, ...) extern GRADUS_API Kernel<__VA_ARGS__> name;
GRADUS_KERNELS
#undef GRADUS_KERNEL
}  // namespace kernels

}  // namespace gradus
