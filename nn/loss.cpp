// Losses: checked options, weights as buffers.
#include <gradus/nn/loss.h>

#include <gradus/core/detail/check.h>

namespace gradus::nn {
namespace {

Buffer optional_buffer(const Tensor& weight) { return weight.defined() ? Buffer(weight) : Buffer(); }

}  // namespace

CrossEntropyLoss::CrossEntropyLoss(const CrossEntropyParams& options)
    : weight(optional_buffer(options.weight)),
      ignore_index(options.ignore_index),
      label_smoothing(options.label_smoothing),
      reduction(options.reduction) {
  GRADUS_CHECK(label_smoothing >= 0 && label_smoothing <= 1, ValueError,
               "CrossEntropyLoss: label_smoothing is {}; want 0 to 1", label_smoothing);
}

NLLLoss::NLLLoss(const NLLLossOptions& options)
    : weight(optional_buffer(options.weight)), ignore_index(options.ignore_index), reduction(options.reduction) {}

SmoothL1Loss::SmoothL1Loss(const SmoothL1LossOptions& options) : reduction(options.reduction), beta(options.beta) {
  GRADUS_CHECK(beta >= 0, ValueError, "SmoothL1Loss: beta is {}; want 0 or more", beta);
}

HuberLoss::HuberLoss(const HuberLossOptions& options) : reduction(options.reduction), delta(options.delta) {
  GRADUS_CHECK(delta > 0, ValueError, "HuberLoss: delta is {}; want more than 0", delta);
}

BCELoss::BCELoss(const BCELossOptions& options)
    : weight(optional_buffer(options.weight)), reduction(options.reduction) {}

BCEWithLogitsLoss::BCEWithLogitsLoss(const BCEWithLogitsLossOptions& options)
    : weight(optional_buffer(options.weight)),
      pos_weight(optional_buffer(options.pos_weight)),
      reduction(options.reduction) {}

}  // namespace gradus::nn
