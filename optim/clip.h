// Gradients kept within bounds, between backward() and the optimizer's step.
#pragma once

#include <gradus/core/stateful.h>

namespace gradus::optim {

struct ClipOptions {
  bool error_if_nonfinite = false;  ///< GradError when the norm is infinite or NaN
};
/// Scales the gradients of all parameters together so that their 2-norm is at most max_norm (Pascanu et al., arXiv
/// 1211.5063), and returns the norm that they had. Parameters without a gradient are passed over.
GRADUS_API double clip_grad_norm(const NamedTensors& parameters, double max_norm, const ClipOptions& options = {});
/// Clamps each element to [-max_value, max_value].
GRADUS_API void clip_grad_value(const NamedTensors& parameters, double max_value);

}  // namespace gradus::optim
