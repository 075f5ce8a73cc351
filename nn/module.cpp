// What a module does through the list of its fields.
#include <gradus/nn/module.h>

#include <cxxabi.h>
#include <fnmatch.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <memory>
#include <unordered_map>
#include <unordered_set>

#include <gradus/autograd/node.h>
#include <gradus/core/detail/check.h>
#include <gradus/core/detail/state_check.h>
#include <gradus/nn/detail/type_name.h>

namespace gradus::nn {
namespace {

enum class Kind { parameter, persistent_buffer, transient_buffer };

struct Entry {
  std::string name;
  Tensor* tensor;
  Kind kind;
};

// Everything below a module, with dotted names; absent tensors are left out.
class Walk final : public Visitor {
 public:
  explicit Walk(Module& root) {
    modules.push_back({"", &root});
    root.visit(*this);
  }

  void parameter(std::string_view name, Parameter& x) override { add(name, x, Kind::parameter); }
  void buffer(std::string_view name, Buffer& x) override {
    add(name, x, x.persistent() ? Kind::persistent_buffer : Kind::transient_buffer);
  }
  void module(std::string_view name, Module& x) override {
    const size_t length = prefix_.size();
    prefix_ += name;
    modules.push_back({prefix_, &x});
    prefix_ += '.';
    x.visit(*this);
    prefix_.resize(length);
  }

  std::vector<Entry> entries;
  std::vector<NamedModule> modules;

 private:
  void add(std::string_view name, Tensor& x, Kind kind) {
    if (x.defined()) entries.push_back({prefix_ + std::string(name), &x, kind});
  }
  std::string prefix_;
};

// Looking at the fields changes nothing, but the visitor's interface serves those who do change them.
Walk walk(const Module& module) { return Walk(const_cast<Module&>(module)); }

// The entries that name a tensor for the first time.
std::vector<Entry> distinct(const Module& module) {
  std::vector<Entry> all = walk(module).entries;
  std::unordered_set<const TensorImpl*> seen;
  std::erase_if(all, [&](const Entry& e) { return !seen.insert(&e.tensor->impl()).second; });
  return all;
}

NamedTensors distinct_if(const Module& module, bool (*wanted)(const Entry&)) {
  NamedTensors found;
  for (Entry& e : distinct(module))
    if (wanted(e)) found.push_back({std::move(e.name), *e.tensor});
  return found;
}

// Gives the tensor behind the handle `x` the bytes of `y`. A leaf gets a new node, because the old one remembers dtype
// and device for graphs recorded before; hooks go with the tensor.
void replace_bytes(const Tensor& x, const Tensor& y) {
  TensorImpl& to = x.impl();
  const TensorImpl& from = y.impl();
  const Tensor gradient = x.grad();
  to.storage = from.storage;
  to.offset = from.offset;
  to.strides = from.strides;
  to.dtype = from.dtype;
  to.device = from.device;
  to.contiguous = from.contiguous;
  if (!to.node) return;
  Ref<Node> node = Node::make_leaf(x);
  if (Node* before = Node::of(x); before->has_extras()) node->extras() = std::move(before->extras());
  to.node = node;
  if (gradient.defined()) x.set_grad(gradient.to(to.device, to.dtype));
}

// Parameters whose name matches the pattern.
std::vector<Tensor> matching(const char* op, const Module& module, std::string_view pattern) {
  const std::string glob(pattern);
  std::vector<Tensor> found;
  const NamedTensors all = module.parameters();
  for (const auto& [name, x] : all)
    if (fnmatch(glob.c_str(), name.c_str(), 0) == 0) found.push_back(x);
  GRADUS_CHECK(!found.empty(), ValueError, "{}: no parameter matches '{}'; names are like {}", op, pattern,
               all.empty() ? "(the module has none)" : "'" + all.front().name + "', all of a layer 'layer.*'");
  return found;
}

thread_local int copy_scopes = 0;

}  // namespace

struct Module::Hooks {
  std::vector<std::pair<int64_t, ForwardPreHook>> before;
  std::vector<std::pair<int64_t, ForwardHook>> after;
  std::vector<Adapter> adapters;
};

Module::Module() = default;
Module::Module(const Module& other) : Stateful(other), training_(other.training_) {
  GRADUS_CHECK(copy_scopes > 0, Error,
               "a module was copied, and the copy would share its parameters; make a separate one with "
               "nn::clone(module), hand it over with std::move(module), or pass it by reference");
  if (!other.hooks_ || other.hooks_->adapters.empty()) return;
  hooks_ = make_box<Hooks>();
  for (const Adapter& a : other.hooks_->adapters)
    hooks_->adapters.push_back({a.name, a.copy(*a.module), a.call, a.copy});
}
Module::Module(Module&&) noexcept = default;
Module& Module::operator=(Module&&) noexcept = default;
Module::~Module() = default;

NamedTensors Module::parameters() const {
  return distinct_if(*this, [](const Entry& e) { return e.kind == Kind::parameter; });
}
NamedTensors Module::trainable_parameters() const {
  return distinct_if(*this, [](const Entry& e) { return e.kind == Kind::parameter && e.tensor->requires_grad(); });
}
NamedTensors Module::buffers() const {
  return distinct_if(*this, [](const Entry& e) { return e.kind != Kind::parameter; });
}
std::vector<NamedModule> Module::named_modules() { return walk(*this).modules; }

int64_t Module::num_parameters() const {
  int64_t n = 0;
  for (const auto& [name, x] : parameters()) n += x.numel();
  return n;
}

// ---- state
NamedTensors Module::state_dict() const {
  NamedTensors state;
  for (Entry& e : walk(*this).entries)
    if (e.kind != Kind::transient_buffer) state.push_back({std::move(e.name), e.tensor->detach()});
  return state;
}

void Module::load_state_dict(const NamedTensors& state) { load_state_dict(state, {}); }

LoadReport Module::load_state_dict(const NamedTensors& state, const LoadOptions& options) {
  using gradus::detail::StateCheck;
  std::vector<Entry> entries = walk(*this).entries;
  std::erase_if(entries, [](const Entry& e) { return e.kind == Kind::transient_buffer; });
  StateCheck check("load_state_dict", state);

  std::unordered_set<const TensorImpl*> found;
  for (const Entry& e : entries)
    if (check.has(e.name)) found.insert(&e.tensor->impl());
  std::vector<std::pair<Tensor, Tensor>> copies;  // to, from
  for (const Entry& e : entries) {
    if (!check.has(e.name) && found.count(&e.tensor->impl())) continue;  // tied, and there under another name
    Tensor from = check.take(e.name, e.tensor->shape(), e.tensor->dtype(), StateCheck::Cast::floating);
    if (from.defined()) copies.emplace_back(*e.tensor, std::move(from));
  }
  check.finish(options.strict);

  const NoGrad no_graph;
  for (const auto& [to, from] : copies) to.copy_(from);
  return {check.missing(), check.unexpected()};
}

// ---- moves and modes
Module& Module::to(Device device) {
  const NoGrad no_graph;
  for (const Entry& e : distinct(*this))
    if (e.tensor->device() != device) replace_bytes(*e.tensor, e.tensor->detach().to(device));
  return *this;
}

Module& Module::to(Dtype dtype) {
  GRADUS_CHECK(is_floating(dtype), DtypeError, "to: a module computes in a floating dtype, got {}", dtype);
  const NoGrad no_graph;
  for (const Entry& e : distinct(*this))
    if (is_floating(e.tensor->dtype()) && e.tensor->dtype() != dtype)
      replace_bytes(*e.tensor, e.tensor->detach().to(dtype));
  return *this;
}

Module& Module::train(bool mode) {
  for (const NamedModule& m : named_modules()) m.module->training_ = mode;
  return *this;
}

int64_t Module::freeze(std::string_view pattern) {
  const std::vector<Tensor> frozen = matching("freeze", *this, pattern);
  for (const Tensor& x : frozen) {
    if (x.grad().defined()) x.set_grad({});  // an optimizer would go on stepping with it
    x.requires_grad_(false);
  }
  return static_cast<int64_t>(frozen.size());
}

int64_t Module::unfreeze(std::string_view pattern) {
  const std::vector<Tensor> thawed = matching("unfreeze", *this, pattern);
  for (const Tensor& x : thawed) x.requires_grad_();
  return static_cast<int64_t>(thawed.size());
}

void Module::zero_grad() {
  for (const auto& [name, x] : parameters())
    if (x.grad().defined()) x.set_grad({});
}

// ---- hooks
namespace {
std::atomic<int64_t> next_hook{1};  // never used twice, so that a stale number removes nothing
}

int64_t Module::register_forward_pre_hook(ForwardPreHook hook) {
  GRADUS_CHECK(hook, ValueError, "register_forward_pre_hook: the hook is empty");
  if (!hooks_) hooks_ = make_box<Hooks>();
  return hooks_->before.emplace_back(next_hook++, std::move(hook)).first;
}

int64_t Module::register_forward_hook(ForwardHook hook) {
  GRADUS_CHECK(hook, ValueError, "register_forward_hook: the hook is empty");
  if (!hooks_) hooks_ = make_box<Hooks>();
  return hooks_->after.emplace_back(next_hook++, std::move(hook)).first;
}

void Module::remove_hook(int64_t number) {
  const auto is_it = [number](const auto& entry) { return entry.first == number; };
  GRADUS_CHECK(hooks_ && std::erase_if(hooks_->before, is_it) + std::erase_if(hooks_->after, is_it) > 0, ValueError,
               "remove_hook: this module has no hook {}", number);
  if (hooks_->before.empty() && hooks_->after.empty() && hooks_->adapters.empty()) hooks_ = {};
}

// ---- adapters
Module& Module::take_adapter(Adapter adapter) {
  const std::string& name = adapter.name;
  GRADUS_CHECK(!name.empty() && name.find('.') == std::string::npos, ValueError,
               "attach: '{}' is no name; want one word, as for a field", name);
  const auto is_taken = [&](const std::string& other) { return other.substr(0, other.find('.')) == name; };
  const Walk here(*this);
  GRADUS_CHECK(
      std::none_of(here.entries.begin(), here.entries.end(), [&](const Entry& e) { return is_taken(e.name); }) &&
          std::none_of(here.modules.begin(), here.modules.end(),
                       [&](const NamedModule& m) { return is_taken(m.name); }),
      ValueError, "attach: there is a '{}' already", name);
  if (!hooks_) hooks_ = make_box<Hooks>();
  return *hooks_->adapters.emplace_back(std::move(adapter)).module;
}

void Module::visit(Visitor& visitor) {
  visit_fields(visitor);
  if (!hooks_) return;
  for (const Adapter& a : hooks_->adapters) visitor.module(a.name, *a.module);
}

// Hooks may remove themselves: the lists are copied, and may be gone.
Tensor Module::before_forward(const Tensor& input) {
  Tensor x = input;
  for (const auto& [number, hook] : std::vector(hooks_->before))
    if (Tensor replaced = hook(*this, x); replaced.defined()) x = std::move(replaced);
  return x;
}

Tensor Module::after_forward(const Tensor& input, const Tensor& output) {
  Tensor y = output;
  if (!hooks_) return y;
  for (size_t i = 0; i < hooks_->adapters.size(); ++i) {  // an adapter may attach another
    const Adapter& adapter = hooks_->adapters[i];
    GRADUS_CHECK(y.defined(), Error, "{}: the adapter '{}' wants a Tensor, and forward gave none",
                 detail::type_name(typeid(*this)), adapter.name);
    y = adapter.call(*adapter.module, input, y);
  }
  for (const auto& [number, hook] : std::vector(hooks_->after))
    if (Tensor replaced = hook(*this, input, y); replaced.defined()) y = std::move(replaced);
  return y;
}

int64_t Module::macs(const Shape&, const Shape&) const { return 0; }

// ---- the list of fields
namespace detail {

std::string_view next_name(std::string_view& list) {
  const size_t comma = list.find(',');
  std::string_view name = list.substr(0, comma);
  list.remove_prefix(comma == std::string_view::npos ? list.size() : comma + 1);
  name.remove_prefix(std::min(name.find_first_not_of(' '), name.size()));
  return name.substr(0, name.find_last_not_of(' ') + 1);
}

void check_list_owner(const Module& object, const std::type_info& owner) {
  GRADUS_CHECK(typeid(object) == owner, Error,
               "{} derives from {} but has no GRADUS_MODULE of its own, so its layers are invisible; give it one that "
               "lists all data members, the inherited ones first",
               type_name(typeid(object)), type_name(owner));
}

CopyScope::CopyScope(const Module& object, const std::type_info& copied) {
  GRADUS_CHECK(typeid(object) == copied, Error, "clone: the module is a {}, and only its part {} would be copied",
               type_name(typeid(object)), type_name(copied));
  ++copy_scopes;
}
CopyScope::~CopyScope() { --copy_scopes; }

void own_tensors(Module& copy) {
  const NoGrad no_graph;
  std::unordered_map<const TensorImpl*, Tensor> owned;
  std::vector<Tensor> originals;  // held, so that no address comes twice
  for (const Entry& e : walk(copy).entries) {
    const Tensor original = *e.tensor;
    Tensor& mine = owned[&original.impl()];
    if (!mine.defined()) {
      mine = original.detach().clone();
      mine.requires_grad_(original.requires_grad());
      originals.push_back(original);
    }
    *e.tensor = mine;
  }
}

std::string type_name(const std::type_info& type) {
  int status = 0;
  const std::unique_ptr<char, void (*)(void*)> text(abi::__cxa_demangle(type.name(), nullptr, nullptr, &status),
                                                    std::free);
  std::string name = status == 0 ? text.get() : type.name();
  for (const std::string_view noise : {"gradus::nn::", "(anonymous namespace)::"})
    for (size_t at = 0; (at = name.find(noise, at)) != std::string::npos;) name.erase(at, noise.size());
  return name;
}

}  // namespace detail

}  // namespace gradus::nn
