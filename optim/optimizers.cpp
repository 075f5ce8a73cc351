// The update rules: options checked, one kernel call each.
#include <gradus/optim/optimizers.h>

#include <cmath>

#include <gradus/core/detail/check.h>
#include <gradus/core/kernels.h>

namespace gradus::optim {
namespace {

// A number in [0, 1), as the decay of a mean must be.
void check_decay(const char* optimizer, const char* option, double value) {
  GRADUS_CHECK(value >= 0 && value < 1, ValueError, "{}: {} is {}; want 0 or more and below 1", optimizer, option,
               value);
}
void check_not_negative(const char* optimizer, const char* option, double value) {
  GRADUS_CHECK(value >= 0 && std::isfinite(value), ValueError, "{}: {} is {}; want a finite number, 0 or more",
               optimizer, option, value);
}

}  // namespace

// ---- SGD
SGD::SGD(const NamedTensors& parameters, const SGDOptions& options)
    : Optimizer("SGD", options.lr, options.weight_decay, options.maximize), options_(options) {
  check_not_negative("SGD", "momentum", options.momentum);
  GRADUS_CHECK(!options.nesterov || (options.momentum > 0 && options.dampening == 0), ValueError,
               "SGD: nesterov wants momentum above 0 and no dampening, got {} and {}", options.momentum,
               options.dampening);
  add_group(parameters);
}
std::optional<double> SGD::momentum() const {
  return options_.momentum > 0 ? std::optional(options_.momentum) : std::nullopt;
}
Optimizer::StateNames SGD::state_names() const {
  return {options_.momentum > 0 ? "momentum_buffer" : nullptr, nullptr, nullptr};
}
void SGD::update(Device device, std::span<const OptimizerSlice> slices, int64_t step, const Rates& r) {
  kernels::sgd_step(device, slices,
                    {.lr = r.lr,
                     .momentum = options_.momentum,
                     .dampening = options_.dampening,
                     .weight_decay = r.weight_decay,
                     .gradient_scale = r.gradient_scale,
                     .nesterov = options_.nesterov,
                     .first_step = step == 1});
}

// ---- Adam, AdamW
Adam::Adam(const char* name, const NamedTensors& parameters, const AdamOptions& options, bool decoupled)
    : Optimizer(name, options.lr, options.weight_decay, options.maximize), options_(options), decoupled_(decoupled) {
  check_decay(name, "betas[0]", options.betas[0]);
  check_decay(name, "betas[1]", options.betas[1]);
  check_not_negative(name, "eps", options.eps);
  add_group(parameters);
}
Optimizer::StateNames Adam::state_names() const {
  return {"exp_avg", "exp_avg_sq", options_.amsgrad ? "max_exp_avg_sq" : nullptr};
}
void Adam::update(Device device, std::span<const OptimizerSlice> slices, int64_t step, const Rates& r) {
  const auto [beta1, beta2] = options_.betas;
  kernels::adam_step(device, slices,
                     {.lr = r.lr,
                      .beta1 = beta1,
                      .beta2 = beta2,
                      .eps = options_.eps,
                      .weight_decay = r.weight_decay,
                      .bias_correction1 = 1 - std::pow(beta1, static_cast<double>(step)),
                      .bias_correction2 = 1 - std::pow(beta2, static_cast<double>(step)),
                      .gradient_scale = r.gradient_scale,
                      .decoupled = decoupled_});
}

// ---- RMSprop
RMSprop::RMSprop(const NamedTensors& parameters, const RMSpropOptions& options)
    : Optimizer("RMSprop", options.lr, options.weight_decay, options.maximize), options_(options) {
  check_decay("RMSprop", "alpha", options.alpha);
  check_not_negative("RMSprop", "momentum", options.momentum);
  check_not_negative("RMSprop", "eps", options.eps);
  add_group(parameters);
}
std::optional<double> RMSprop::momentum() const {
  return options_.momentum > 0 ? std::optional(options_.momentum) : std::nullopt;
}
Optimizer::StateNames RMSprop::state_names() const {
  return {"square_avg", options_.momentum > 0 ? "momentum_buffer" : nullptr, options_.centered ? "grad_avg" : nullptr};
}
void RMSprop::update(Device device, std::span<const OptimizerSlice> slices, int64_t, const Rates& r) {
  kernels::rmsprop_step(device, slices,
                        {.lr = r.lr,
                         .alpha = options_.alpha,
                         .eps = options_.eps,
                         .weight_decay = r.weight_decay,
                         .momentum = options_.momentum,
                         .gradient_scale = r.gradient_scale});
}

}  // namespace gradus::optim
