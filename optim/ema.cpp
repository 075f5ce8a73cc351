// Moving averages of parameters.
#include <gradus/optim/ema.h>

#include <gradus/autograd/grad_mode.h>
#include <gradus/core/detail/check.h>
#include <gradus/core/detail/state_check.h>
#include <gradus/core/kernels.h>

namespace gradus::optim {
namespace {

Dtype average_dtype(Dtype dtype) { return itemsize(dtype) == 2 ? float32 : dtype; }

}  // namespace

EMA::EMA(const NamedTensors& parameters, const EMAOptions& options) : options_(options), parameters_(parameters) {
  GRADUS_CHECK(options.decay >= 0 && options.decay <= 1, ValueError, "EMA: decay is {}; want 0 to 1", options.decay);
  for (const auto& [name, x] : parameters_) {
    gradus::detail::check_defined("EMA", name.c_str(), x);
    GRADUS_CHECK(is_floating(x.dtype()), DtypeError, "EMA: '{}' is {}; want a floating dtype", name, x.dtype());
    averages_.push_back(x.detach().clone().to(average_dtype(x.dtype())));
  }
}

void EMA::update() {
  GRADUS_CHECK(kept_.empty(), Error, "EMA: update() between apply() and restore() would average the averages");
  const NoGrad no_graph;
  for (size_t i = 0; i < averages_.size(); ++i) {
    const Tensor p = parameters_[i].tensor.detach();
    Tensor& average = averages_[i];
    average = average.to(p.device());  // follows a parameter that moved
    const Tensor now = p.to(average.dtype());
    const Tensor* inputs[] = {&average, &now};
    average.impl().storage->bump_version();
    kernels::elementwise(p.device(), Elementwise::lerp, average, inputs, {1 - options_.decay, 0});
  }
}

void EMA::apply() {
  GRADUS_CHECK(kept_.empty(), Error, "EMA: apply() twice; call restore() in between");
  const NoGrad no_graph;
  for (size_t i = 0; i < averages_.size(); ++i) {
    const Tensor& p = parameters_[i].tensor;
    kept_.push_back(p.detach().clone());
    p.copy_(averages_[i]);
  }
}

void EMA::restore() {
  GRADUS_CHECK(kept_.size() == parameters_.size(), Error, "EMA: restore() without apply()");
  const NoGrad no_graph;
  for (size_t i = 0; i < kept_.size(); ++i) parameters_[i].tensor.copy_(kept_[i]);
  kept_.clear();
}

NamedTensors EMA::state_dict() const {
  NamedTensors state;
  for (size_t i = 0; i < averages_.size(); ++i) state.push_back({parameters_[i].name, averages_[i].detach()});
  return state;
}

void EMA::load_state_dict(const NamedTensors& state) {
  gradus::detail::StateCheck check("EMA", state);
  std::vector<Tensor> loaded;
  for (size_t i = 0; i < averages_.size(); ++i)
    loaded.push_back(check.take(parameters_[i].name, averages_[i].shape(), averages_[i].dtype()));
  check.finish();
  for (size_t i = 0; i < averages_.size(); ++i) averages_[i] = loaded[i].detach().clone().to(averages_[i].device());
}

}  // namespace gradus::optim
