// Optimizer state shared out among the ranks, so that each keeps and steps a part of it: ZeRO, stage 1.
#pragma once

#include <type_traits>
#include <vector>

#include <gradus/core/box.h>
#include <gradus/distributed/process_group.h>
#include <gradus/optim/optimizer.h>

namespace gradus::dist {

namespace detail {
class Slicing;
}

/// Each rank steps a slice of the parameters, and all get the results from each other (Rajbhandari et al., SC 2020):
/// the same bits as without, with 1/n of the state. Gradients are the same on all ranks before step(), as DDP leaves
/// them.
///
///   dist::ZeroOptimizer opt(net.parameters(), world, [](const NamedTensors& slices) {
///     return optim::AdamW(slices, {.lr = 3e-4});
///   });
///   optim::OneCycle schedule(opt, {...});
///
/// A group's parameters count as one long row, of which each rank owns a run; what the function gets are those runs,
/// one tensor for each parameter (maybe empty), under their names. Checkpoints are those of the optimizer without
/// slices: they are read by any number of ranks, with ZeroOptimizer or without. Make it after net.to(...).
class GRADUS_API ZeroOptimizer final : public Stateful {
 public:
  /// Errors are those of the optimizer that `make` makes, and ValueError for a rule that needs whole parameters.
  template <class Make>
  ZeroOptimizer(const NamedTensors& parameters, const ProcessGroup& world, Make make) : ZeroOptimizer(world) {
    using Rule = std::invoke_result_t<Make&, const NamedTensors&>;
    static_assert(std::is_base_of_v<optim::Optimizer, Rule>, "the function makes an optimizer of the slices it gets");
    const NamedTensors slices = cut(parameters);
    optimizer_ = Box<optim::Optimizer>(new Rule(make(slices)));
    mark(slices.size());
  }
  ~ZeroOptimizer() override;

  void add_group(const NamedTensors& parameters, const optim::GroupOptions& options = {});

  /// One update; returns when this rank has all parameters. All ranks call it.
  void step(double gradient_scale = 1);
  void zero_grad();

  double lr(size_t group = 0) const { return optimizer_->lr(group); }
  void set_lr(double lr) { optimizer_->set_lr(lr); }
  void set_lr(size_t group, double lr) { optimizer_->set_lr(group, lr); }
  /// The optimizer of the slices, for schedulers.
  operator optim::Optimizer&() { return *optimizer_; }

  const char* state_name() const override { return "optimizer"; }
  /// Learning rates and steps; the rest is in state_slices().
  NamedTensors state_dict() const override { return optimizer_->state_dict(); }
  void load_state_dict(const NamedTensors& state) override { optimizer_->load_state_dict(state); }
  std::vector<StateSlice> state_slices() const override { return optimizer_->state_slices(); }
  void load_state_slices(const std::vector<StateSlice>& slices) override { optimizer_->load_state_slices(slices); }

 private:
  explicit ZeroOptimizer(const ProcessGroup& world);
  /// This rank's slices of a new group.
  NamedTensors cut(const NamedTensors& parameters);
  /// Tells the optimizer what the newest slices are slices of.
  void mark(size_t count);

  Box<detail::Slicing> slicing_;
  Box<optim::Optimizer> optimizer_;
};

}  // namespace gradus::dist
