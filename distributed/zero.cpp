// A step: gradients lent to the slices, the slices' optimizer, everybody's results.
#include <gradus/distributed/zero.h>

#include <gradus/core/detail/check.h>
#include <gradus/distributed/detail/slicing.h>

namespace gradus::dist {

ZeroOptimizer::ZeroOptimizer(const ProcessGroup& world) : slicing_(make_box<detail::Slicing>(world)) {}
ZeroOptimizer::~ZeroOptimizer() = default;

NamedTensors ZeroOptimizer::cut(const NamedTensors& parameters) {
  slicing_->add(parameters);
  NamedTensors slices;
  const std::vector<detail::Slice>& all = slicing_->slices();
  for (size_t i = all.size() - parameters.size(); i < all.size(); ++i) slices.push_back({all[i].name, all[i].slice});
  return slices;
}

void ZeroOptimizer::mark(size_t count) {
  const std::vector<detail::Slice>& all = slicing_->slices();
  for (size_t i = all.size() - count; i < all.size(); ++i)
    optimizer_->set_slice(all[i].name, all[i].parameter.shape(), all[i].begin);
}

void ZeroOptimizer::add_group(const NamedTensors& parameters, const optim::GroupOptions& options) {
  const NamedTensors slices = cut(parameters);
  optimizer_->add_group(slices, options);
  mark(slices.size());
}

void ZeroOptimizer::step(double gradient_scale) {
  slicing_->lend_gradients();
  optimizer_->step(gradient_scale);
  slicing_->take_gradients_back();
  slicing_->gather();
}

void ZeroOptimizer::zero_grad() {
  for (const detail::Slice& s : slicing_->slices())
    if (s.parameter.grad().defined()) s.parameter.set_grad({});
}

}  // namespace gradus::dist
