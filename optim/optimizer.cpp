// Groups, state and the step that all optimizers share.
#include <gradus/optim/optimizer.h>

#include <algorithm>
#include <unordered_map>
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
    added.entries.push_back({name, x, x.dtype(), {}, 0, {}, {}, -1});
  }
  groups_.push_back(std::move(added));
}

void Optimizer::set_slice(const std::string& name, const Shape& shape, int64_t begin) {
  GRADUS_CHECK(is_elementwise(), ValueError, "{}: the rule needs whole parameters, '{}' is a slice of one", name_,
               name);
  for (Group& g : groups_)
    for (Entry& e : g.entries) {
      if (e.name != name) continue;
      GRADUS_CHECK(begin >= 0 && begin + e.parameter.numel() <= shape.numel(), ValueError,
                   "{}: '{}' of {} elements from {} on is no slice of {}", name_, name, e.parameter.numel(), begin,
                   shape);
      e.whole = Whole{shape, begin};
      return;
    }
  throw ValueError(fmt::format("{}: there is no parameter '{}'", name_, name));
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

// A state begins with zeros, also when the options ask for it only later, such as momentum raised from 0; a master with
// the parameter.
Tensor Optimizer::state_of(const Entry& e, const Tensor& x) {
  if (x.defined()) return x;
  if (&x == &e.master) return e.parameter.detach().to(work_dtype(e.dtype));
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
    if (names[i]) e.state[i] = state_of(e, e.state[i]).to(p.device());
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
    if (!gradient.defined()) continue;
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
template <class E, class F>
void Optimizer::for_state(E& e, F f) const {
  const StateNames names = state_names();
  for (size_t i = 0; i < names.size(); ++i)
    if (names[i]) f(e.name + '.' + names[i], e.state[i]);
  if (work_dtype(e.dtype) != e.dtype) f(e.name + ".master", e.master);
}

NamedTensors Optimizer::state_dict() const {
  NamedTensors state;
  for (size_t i = 0; i < groups_.size(); ++i) {
    const Group& g = groups_[i];
    const std::pair<const char*, double> numbers[] = {
        {"lr", g.lr}, {"initial_lr", g.initial_lr}, {"weight_decay", g.weight_decay}};
    for (const auto& [what, value] : numbers)
      state.push_back({group_key(i, what), scalar_tensor(value, {.dtype = float64})});
    for (const Entry& e : g.entries) {
      if (e.step == 0 && !e.whole) continue;
      state.push_back({e.name + ".step", scalar_tensor(e.step)});
      if (e.whole) continue;
      for_state(e, [&](const std::string& name, const Tensor& x) { state.push_back({name, state_of(e, x).detach()}); });
    }
  }
  return state;
}

void Optimizer::load_state_dict(const NamedTensors& state) {
  gradus::detail::StateCheck check(name_, state);
  std::vector<Group> loaded = groups_;
  for (size_t i = 0; i < loaded.size(); ++i) {
    Group& g = loaded[i];
    g.lr = check.take_double(group_key(i, "lr"));
    g.initial_lr = check.take_double(group_key(i, "initial_lr"));
    g.weight_decay = check.take_double(group_key(i, "weight_decay"));
    for (Entry& e : g.entries) {
      e = {e.name, e.parameter, e.dtype, e.whole, 0, {}, {}, -1};
      if (!check.has(e.name + ".step")) continue;  // never stepped
      e.step = check.take_int(e.name + ".step");
      for_state(e, [&](const std::string& name, Tensor& x) {
        if (e.whole && !check.has(name)) return;  // load_state_slices() brings it
        const Tensor found = check.take(name, e.whole ? e.whole->shape : e.parameter.shape(), work_dtype(e.dtype));
        if (!found.defined()) return;
        const Tensor own =
            e.whole ? found.detach().reshape({-1}).narrow(0, e.whole->begin, e.parameter.numel()) : found.detach();
        x = own.clone().to(e.parameter.device());
      });
    }
  }
  check.finish();
  groups_ = std::move(loaded);
}

std::vector<StateSlice> Optimizer::state_slices() const {
  std::vector<StateSlice> slices;
  for (const Group& g : groups_)
    for (const Entry& e : g.entries)
      if (e.whole)
        for_state(e, [&](const std::string& name, const Tensor& x) {
          slices.push_back({name, e.whole->shape, e.whole->begin, state_of(e, x).detach()});
        });
  return slices;
}

void Optimizer::load_state_slices(const std::vector<StateSlice>& slices) {
  std::unordered_map<std::string, const StateSlice*> found;
  for (const StateSlice& s : slices) found.emplace(s.name, &s);
  std::vector<Group> loaded = groups_;
  for (Group& g : loaded)
    for (Entry& e : g.entries)
      if (e.whole)
        for_state(e, [&](const std::string& name, Tensor& x) {
          const auto at = found.find(name);
          if (at == found.end()) {
            GRADUS_CHECK(e.step == 0, CheckpointError, "{}: the state has no '{}', but {} steps", name_, name, e.step);
            return;
          }
          const StateSlice& s = *at->second;
          GRADUS_CHECK(s.shape == e.whole->shape && s.begin == e.whole->begin &&
                           s.values.shape() == e.parameter.shape() && s.values.dtype() == work_dtype(e.dtype),
                       CheckpointError, "{}: '{}' is {}{} from {} on of {}; want {}{} from {} on of {}", name_, name,
                       s.values.dtype(), s.values.shape(), s.begin, s.shape, work_dtype(e.dtype), e.parameter.shape(),
                       e.whole->begin, e.whole->shape);
          x = s.values.detach().clone().to(e.parameter.device());
        });
  groups_ = std::move(loaded);
}

}  // namespace gradus::optim
