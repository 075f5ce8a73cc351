// The numbers of one optimizer step, the same for all parameters. Plain data only.
#pragma once

namespace gradus {

/// AdamW (Loshchilov and Hutter, arXiv 1711.05101) with decoupled decay, or Adam with L2 when `decoupled` is false.
/// State 1 and 2 are the means of g and g^2; state 3, if there is one, the largest of the latter so far (AMSGrad).
struct AdamArgs {
  double lr, beta1, beta2, eps, weight_decay, bias_correction1, bias_correction2, gradient_scale;
  bool decoupled;
};
/// State 1 is the velocity, absent without momentum.
struct SgdArgs {
  double lr, momentum, dampening, weight_decay, gradient_scale;
  bool nesterov, first_step;
};
/// State 1 is the mean of g^2, state 2 the velocity, absent without momentum, state 3, if there is one, the mean of g.
struct RmspropArgs {
  double lr, alpha, eps, weight_decay, momentum, gradient_scale;
};

}  // namespace gradus
