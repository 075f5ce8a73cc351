// The numbers of one optimizer step, the same for all parameters. Plain data only.
#pragma once

namespace gradus {

/// AdamW (Loshchilov and Hutter, arXiv 1711.05101) with decoupled decay, or Adam with L2 when `decoupled` is false.
struct AdamArgs {
  double lr, beta1, beta2, eps, weight_decay, bias_correction1, bias_correction2, gradient_scale;
  bool decoupled;
};
struct SgdArgs {
  double lr, momentum, dampening, weight_decay, gradient_scale;
  bool nesterov, first_step;
};
struct RmspropArgs {
  double lr, alpha, eps, weight_decay, momentum, gradient_scale;
};

}  // namespace gradus
