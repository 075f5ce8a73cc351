// What all optimizers share: named parameters in groups, their state, learning rates, one fused kernel call for all of
// them. The update rules are in optim/optimizers.h.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <gradus/core/stateful.h>

namespace gradus {
struct OptimizerSlice;
}

namespace gradus::optim {

/// What a group of parameters may have of its own; what is left out is the optimizer's.
struct GroupOptions {
  std::optional<double> lr = {}, weight_decay = {};
};

/// Steps parameters along their gradients. Parameters are leaves that require grad; they may move to another device
/// later, and their state follows, but not change their dtype. 16-bit parameters are stepped in float32 masters, so
/// that small updates are not lost. A parameter without a gradient is skipped and keeps its state.
class GRADUS_API Optimizer : public Stateful {
 public:
  Optimizer(const Optimizer&) = delete;  // schedulers point at it
  Optimizer& operator=(const Optimizer&) = delete;
  ~Optimizer() override;

  /// GradError for a tensor that is no leaf or does not require grad (pass net.trainable_parameters()), ValueError for
  /// one that comes twice, or a name that does.
  void add_group(const NamedTensors& parameters, const GroupOptions& options = {});
  size_t num_groups() const { return groups_.size(); }

  /// One update. Gradients are multiplied by `gradient_scale` on the way.
  void step(double gradient_scale = 1);
  /// Drops the gradients; backward() makes new ones.
  void zero_grad();

  double lr(size_t group = 0) const;
  /// Of all groups, or of one.
  void set_lr(double lr);
  void set_lr(size_t group, double lr);
  /// The learning rate that the group was made with: what schedulers start from.
  double initial_lr(size_t group = 0) const;
  /// SGD's momentum or Adam's first beta; nothing for an optimizer without.
  virtual std::optional<double> momentum() const { return {}; }
  virtual void set_momentum(double) {}

  /// Whether each element is stepped by itself, whatever the others are: then a parameter may be cut into slices.
  virtual bool is_elementwise() const { return false; }
  /// Says that the parameter of this name is a run of elements, from `begin` on, of a larger one of `shape` that
  /// several processes step together: state_slices() gives its state out instead of state_dict().
  void set_slice(const std::string& name, const Shape& shape, int64_t begin);

  const char* state_name() const override { return "optimizer"; }
  /// "<parameter>.<state>" for each tensor of state, "<parameter>.step", "group.<i>.lr" and so on.
  NamedTensors state_dict() const override;
  /// Takes a slice's state from whole tensors, too, where they are there.
  void load_state_dict(const NamedTensors& state) override;
  std::vector<StateSlice> state_slices() const override;
  void load_state_slices(const std::vector<StateSlice>& slices) override;

 protected:
  /// The options that every rule has, and those of one kernel call.
  struct Rates {
    double lr, weight_decay, gradient_scale;
  };
  /// maximize: steps up the gradients instead of down.
  Optimizer(const char* name, double lr, double weight_decay, bool maximize);
  /// Names of the states that the kernel keeps for each parameter, in the order of OptimizerSlice; null for one that
  /// it does without.
  using StateNames = std::array<const char*, 3>;
  virtual StateNames state_names() const = 0;
  /// Updates parameters of one device and dtype, all at their `step`-th update (1 is the first).
  virtual void update(Device device, std::span<const OptimizerSlice> slices, int64_t step, const Rates& rates) = 0;

  const char* name() const { return name_; }

 private:
  struct Whole {
    Shape shape;
    int64_t begin;
  };
  struct Entry {
    std::string name;
    Tensor parameter;
    Dtype dtype;                 // of the parameter when it was added
    std::optional<Whole> whole;  // what it is a slice of
    int64_t step = 0;            // updates so far
    Tensor state[std::tuple_size_v<StateNames>];
    Tensor master;         // float32 values of a 16-bit parameter
    int64_t version = -1;  // of the parameter when it was last rounded from the master
  };
  struct Group {
    double lr, initial_lr, weight_decay;
    std::vector<Entry> entries;
  };

  const Group& group(size_t index) const;
  /// One of the entry's tensors of state, or what it begins with.
  static Tensor state_of(const Entry& e, const Tensor& x);
  /// Calls f(name, tensor) for each tensor of an entry's state; those that are not there yet are undefined.
  template <class E, class F>
  void for_state(E& entry, F f) const;
  void prepare(Entry& entry, const StateNames& names) const;
  void step_group(Group& group, double gradient_scale);

  const char* name_;
  double default_lr_, default_weight_decay_;
  bool maximize_;
  std::vector<Group> groups_;
};

}  // namespace gradus::optim
