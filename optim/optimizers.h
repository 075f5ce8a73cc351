// The update rules, each with its options; defaults are PyTorch's. `maximize` steps up the gradient.
#pragma once

#include <array>

#include <gradus/optim/optimizer.h>

namespace gradus::optim {

struct SGDOptions {
  double lr = 1e-3, momentum = 0, dampening = 0, weight_decay = 0;
  bool nesterov = false, maximize = false;
};
/// v <- momentum v + (1 - dampening) g, p <- p - lr v, where g includes weight_decay p; v starts as g. Nesterov's form
/// steps along g + momentum v (Sutskever et al., ICML 2013).
class GRADUS_API SGD final : public Optimizer {
 public:
  explicit SGD(const NamedTensors& parameters, const SGDOptions& options = {});
  /// Nothing without momentum: there is no velocity that it could apply to.
  std::optional<double> momentum() const override;
  void set_momentum(double momentum) override { options_.momentum = momentum; }
  bool is_elementwise() const override { return true; }

 private:
  StateNames state_names() const override;
  void update(Device device, std::span<const OptimizerSlice> slices, int64_t step, const Rates& rates) override;
  SGDOptions options_;
};

struct AdamOptions {
  double lr = 1e-3;
  std::array<double, 2> betas = {0.9, 0.999};
  double eps = 1e-8, weight_decay = 0;
  bool amsgrad = false, maximize = false;
};
/// p <- p - lr m' / (sqrt(v') + eps) with bias-corrected means m' of g and v' of g^2 (Kingma and Ba, arXiv 1412.6980);
/// g includes weight_decay p. With amsgrad the largest mean of g^2 so far takes the place of the present one (Reddi et
/// al., ICLR 2018).
class GRADUS_API Adam : public Optimizer {
 public:
  explicit Adam(const NamedTensors& parameters, const AdamOptions& options = {})
      : Adam("Adam", parameters, options, false) {}
  std::optional<double> momentum() const override { return options_.betas[0]; }
  void set_momentum(double momentum) override { options_.betas[0] = momentum; }
  bool is_elementwise() const override { return true; }

 protected:
  Adam(const char* name, const NamedTensors& parameters, const AdamOptions& options, bool decoupled);

 private:
  StateNames state_names() const override;
  void update(Device device, std::span<const OptimizerSlice> slices, int64_t step, const Rates& rates) override;
  AdamOptions options_;
  bool decoupled_;
};

struct AdamWOptions {
  double lr = 1e-3;
  std::array<double, 2> betas = {0.9, 0.999};
  double eps = 1e-8, weight_decay = 1e-2;
  bool amsgrad = false, maximize = false;
};
/// Adam with the decay outside of the means: p <- p - lr weight_decay p first (Loshchilov and Hutter, arXiv
/// 1711.05101).
class GRADUS_API AdamW final : public Adam {
 public:
  explicit AdamW(const NamedTensors& parameters, const AdamWOptions& options = {})
      : Adam("AdamW", parameters,
             {options.lr, options.betas, options.eps, options.weight_decay, options.amsgrad, options.maximize}, true) {}
};

struct RMSpropOptions {
  double lr = 1e-2, alpha = 0.99, eps = 1e-8, weight_decay = 0, momentum = 0;
  bool centered = false, maximize = false;
};
/// p <- p - lr g / (sqrt(v) + eps) with v the mean of g^2 that decays by alpha (Tieleman and Hinton, 2012); with
/// momentum the steps are gathered as in SGD. Centered, the square of the mean of g is taken off v (Graves, arXiv
/// 1308.0850), which leaves the variance of g.
class GRADUS_API RMSprop final : public Optimizer {
 public:
  explicit RMSprop(const NamedTensors& parameters, const RMSpropOptions& options = {});
  std::optional<double> momentum() const override;
  void set_momentum(double momentum) override { options_.momentum = momentum; }
  bool is_elementwise() const override { return true; }

 private:
  StateNames state_names() const override;
  void update(Device device, std::span<const OptimizerSlice> slices, int64_t step, const Rates& rates) override;
  RMSpropOptions options_;
};

}  // namespace gradus::optim
