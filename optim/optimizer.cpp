// Groups, state and the step that all optimizers share.
#include <gradus/optim/optimizer.h>

#include <algorithm>
#include <unordered_set>

#include <gradus/autograd/ops.h>
#include <gradus/core/detail/check.h>
#include <gradus/core/detail/state_check.h>
#include <gradus/core/kernels.h>

namespace gradus::optim {
namespace {

// The dtype of state and arithmetic for a parameter.
Dtype work_dtype(Dtype dtype) { return itemsize(dtype) == 2 ? float32 : dtype; }

std::string group_key(size_t index, const char* what) { return fmt::format("group.{}.{}", index, what); }

}  // namespace

Optimizer::Optimizer(const char* name, double lr, double weight_decay, bool maximize)
    : name_(name), default_lr_(lr), default_weight_decay_(weight_decay), maximize_(maximize) {}
Optimizer::~Optimizer() = default;

void Optimizer::add_group(const NamedTensors& parameters, const GroupOptions& options) {
  std::unordered_set<std::string> names;
  std::unordered_set<const TensorImpl*> tensors;
  for (const Group& g : groups_)
    for (const Entry& e : g.entries) {
      names.insert(e.name);
      tensors.insert(&e.parameter.impl());
    }
  GRADUS_CHECK(!parameters.empty(), ValueError, "{}: there are no parameters to train", name_);
  const double lr = options.lr.value_or(default_lr_), decay = options.weight_decay.value_or(default_weight_decay_);
  GRADUS_CHECK(lr >= 0 && decay >= 0, ValueError, "{}: lr {} and weight_decay {}; want 0 or more", name_, lr, decay);

  Group added{lr, lr, decay, {}};
  for (const auto& [name, x] : parameters) {
    gradus::detail::check_defined(name_, name.c_str(), x);
    GRADUS_CHECK(names.insert(name).second, ValueError, "{}: the name '{}' comes twice", name_, name);
    GRADUS_CHECK(tensors.insert(&x.impl()).second, ValueError, "{}: '{}' is a parameter that is here already", name_,
                 name);
    GRADUS_CHECK(x.is_leaf(), GradError, "{}: '{}' is the result of an operation; want a leaf", name_, name);
    GRADUS_CHECK(x.requires_grad(), GradError,
                 "{}: '{}' does not require grad; pass net.trainable_parameters() to leave frozen ones out", name_,
                 name);
    GRADUS_CHECK(x.is_contiguous(), ValueError, "{}: '{}' is a strided view; want a contiguous parameter", name_, name);
    added.entries.push_back({name, x, x.dtype(), 0, {}, {}, -1});
  }
  groups_.push_back(std::move(added));
}

// ---- learning rates
const Optimizer::Group& Optimizer::group(size_t index) const {
  GRADUS_CHECK(index < groups_.size(), IndexError, "{}: no group {}; there are {}", name_, index, groups_.size());
  return groups_[index];
}
double Optimizer::lr(size_t index) const { return group(index).lr; }
double Optimizer::initial_lr(size_t index) const { return group(index).initial_lr; }
void Optimizer::set_lr(size_t index, double lr) {
  GRADUS_CHECK(lr >= 0, ValueError, "{}: lr is {}; want 0 or more", name_, lr);
  const_cast<Group&>(group(index)).lr = lr;
}
void Optimizer::set_lr(double lr) {
  for (size_t i = 0; i < groups_.size(); ++i) set_lr(i, lr);
}

// ---- stepping
void Optimizer::zero_grad() {
  for (const Group& g : groups_)
    for (const Entry& e : g.entries)
      if (e.parameter.grad().defined()) e.parameter.set_grad({});
}

void Optimizer::step(double gradient_scale) {
  const NoGrad no_graph;
  for (Group& g : groups_) step_group(g, gradient_scale);
}

// A state that the options have asked for since the last step, such as momentum raised from 0, begins with zeros.
Tensor Optimizer::state_or_zeros(const Entry& e, size_t i) {
  if (e.state[i].defined()) return e.state[i];
  return zeros(e.parameter.shape(), {.dtype = work_dtype(e.dtype), .device = e.parameter.device()});
}

// State for the first step, on the device where the parameter is now.
void Optimizer::prepare(Entry& e, const StateNames& names) const {
  const Tensor& p = e.parameter;
  GRADUS_CHECK(p.dtype() == e.dtype, DtypeError,
               "{}: '{}' was {} when the optimizer was made and is {} now; make the optimizer after to(dtype)", name_,
               e.name, e.dtype, p.dtype());
  const Dtype work = work_dtype(e.dtype);
  for (size_t i = 0; i < names.size(); ++i)
    if (names[i]) e.state[i] = state_or_zeros(e, i).to(p.device());
  if (work == e.dtype) return;
  if (e.master.defined()) e.master = e.master.to(p.device());
  // Somebody may have changed the parameter: then the master starts from it again.
  const bool current = e.master.defined() && (p.version() == e.version || equal(e.master.to(e.dtype), p.detach()));
  if (!current) e.master = p.detach().to(work);
}

void Optimizer::step_group(Group& g, double gradient_scale) {
  struct Update {
    Entry* entry;
    Tensor gradient;  // in the dtype of the work
  };
  std::vector<Update> updates;
  const StateNames names = state_names();
  for (Entry& e : g.entries) {
    const Tensor gradient = e.parameter.grad();
    if (!gradient.defined() || gradient.numel() == 0) continue;
    prepare(e, names);
    updates.push_back({&e, dense(gradient).to(work_dtype(e.dtype))});
  }
  for (const Update& u : updates) ++u.entry->step;

  // One call for all that agree on device, dtype and number of steps: nearly always one in all.
  std::vector<OptimizerSlice> slices;
  for (auto first = updates.begin(); first != updates.end();) {
    const auto key = [](const Update& u) {
      return std::tuple(u.gradient.device().type, u.gradient.device().index, u.gradient.dtype(), u.entry->step);
    };
    const auto last =
        std::stable_partition(first, updates.end(), [&, k = key(*first)](const Update& u) { return key(u) == k; });
    slices.clear();
    for (auto u = first; u != last; ++u) {
      Entry& e = *u->entry;
      const Tensor& target = e.master.defined() ? e.master : e.parameter;
      const auto state = [](const Tensor& s) { return s.defined() ? s.mutable_raw_data() : nullptr; };
      slices.push_back({target.mutable_raw_data(), u->gradient.raw_data(), state(e.state[0]), state(e.state[1]),
                        state(e.state[2]), target.numel(), target.dtype()});
    }
    update(first->gradient.device(), slices, first->entry->step,
           {g.lr, g.weight_decay, maximize_ ? -gradient_scale : gradient_scale});
    first = last;
  }

  for (const Update& u : updates)
    if (Entry& e = *u.entry; e.master.defined()) {
      e.parameter.copy_(e.master);
      e.version = e.parameter.version();
    }
}

// ---- state
NamedTensors Optimizer::state_dict() const {
  NamedTensors state;
  const StateNames names = state_names();
  for (size_t i = 0; i < groups_.size(); ++i) {
    const Group& g = groups_[i];
    const std::pair<const char*, double> numbers[] = {
        {"lr", g.lr}, {"initial_lr", g.initial_lr}, {"weight_decay", g.weight_decay}};
    for (const auto& [what, value] : numbers)
      state.push_back({group_key(i, what), scalar_tensor(value, {.dtype = float64})});
    for (const Entry& e : g.entries) {
      if (e.step == 0) continue;
      state.push_back({e.name + ".step", scalar_tensor(e.step)});
      for (size_t s = 0; s < names.size(); ++s)
        if (names[s]) state.push_back({e.name + '.' + names[s], state_or_zeros(e, s).detach()});
      if (e.master.defined()) state.push_back({e.name + ".master", e.master.detach()});
    }
  }
  return state;
}

void Optimizer::load_state_dict(const NamedTensors& state) {
  gradus::detail::StateCheck check(name_, state);
  const StateNames names = state_names();
  std::vector<Group> loaded = groups_;
  for (size_t i = 0; i < loaded.size(); ++i) {
    Group& g = loaded[i];
    g.lr = check.take_double(group_key(i, "lr"));
    g.initial_lr = check.take_double(group_key(i, "initial_lr"));
    g.weight_decay = check.take_double(group_key(i, "weight_decay"));
    for (Entry& e : g.entries) {
      e = {e.name, e.parameter, e.dtype, 0, {}, {}, -1};
      if (!check.has(e.name + ".step")) continue;  // never stepped
      e.step = check.take_int(e.name + ".step");
      const auto take = [&](const char* what) {
        const Tensor x = check.take(e.name + '.' + what, e.parameter.shape(), work_dtype(e.dtype));
        return x.defined() ? x.detach().clone().to(e.parameter.device()) : x;
      };
      for (size_t s = 0; s < names.size(); ++s)
        if (names[s]) e.state[s] = take(names[s]);
      if (work_dtype(e.dtype) != e.dtype) e.master = take("master");
    }
  }
  check.finish();
  groups_ = std::move(loaded);
}

}  // namespace gradus::optim
