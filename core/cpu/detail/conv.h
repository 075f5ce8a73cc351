// What the convolution kernels (conv.cpp) ask of those who do the arithmetic: oneDNN (onednn_conv.cpp) or im2col and
// GEMM (im2col.cpp).
#pragma once

#include <compare>
#include <memory>

#include <gradus/core/dtype.h>
#include <gradus/core/kernels.h>

namespace gradus::cpu {

enum class ConvPass { forward, backward_input, backward_weight };

/// x [images, channels, height, width], w [outputs, channels / groups, kernel], y [images, outputs, out_height,
/// out_width].
struct ConvShape {
  int64_t images, channels, height, width, outputs, out_height, out_width;
  ConvArgs args;

  int64_t image_numel() const { return channels * height * width; }
  int64_t output_numel() const { return outputs * out_height * out_width; }
  int64_t kernel_numel() const { return args.window.kernel[0] * args.window.kernel[1]; }
  int64_t weight_numel() const { return outputs * (channels / args.groups) * kernel_numel(); }
};

/// The operands of one pass; it reads all but the one it computes, and `bias` may be null. The weights are in the
/// plan's own layout.
struct ConvOperands {
  void* x;
  void* w;
  const void* bias;
  void* y;
};

/// A pass over a piece of the batch, worked out for one geometry. Immutable: many threads run the same plan, each on
/// itself alone.
class ConvPlan {
 public:
  virtual ~ConvPlan() = default;
  /// Bytes of the weights in the plan's layout. The gradient of weights is in float32, or float64 for float64.
  virtual int64_t packed_bytes() const = 0;
  /// Whether weights must pass through pack(); else [O, C / groups, kh, kw] is the plan's layout.
  virtual bool packs() const = 0;
  virtual void pack(const void* plain, void* packed) const = 0;
  virtual void unpack(const void* packed, void* plain) const = 0;
  virtual int64_t scratch_bytes() const = 0;
  /// Computes y, x or w, as the pass is; `accumulate` adds to w (backward_weight only).
  virtual void run(const ConvOperands& operands, bool accumulate, void* scratch) const = 0;
};

/// A plan for float32 or float64 that always exists.
std::shared_ptr<const ConvPlan> im2col_plan(ConvPass pass, const ConvShape& shape, Dtype dtype);

namespace onednn {
/// oneDNN's plan, or null when it has no good one for this geometry and dtype.
std::shared_ptr<const ConvPlan> conv_plan(ConvPass pass, const ConvShape& shape, Dtype dtype);
}  // namespace onednn

}  // namespace gradus::cpu
