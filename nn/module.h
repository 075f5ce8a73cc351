// Module: a struct of layers, parameters and plain values with one list of its fields. From that list come names,
// state, moves between devices, freezing, copies. The layers of the library are in nn/layers.h.
#pragma once

#include <concepts>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <typeinfo>
#include <utility>
#include <vector>

#include <gradus/core/box.h>
#include <gradus/core/stateful.h>

namespace gradus::nn {

class Module;

/// A trained tensor of a module. It is a handle as every Tensor: a copy of it is the same tensor, which is how weights
/// are tied: `head.weight = embedding.weight`.
class Parameter : public Tensor {
 public:
  Parameter() = default;  ///< absent, as the bias of a layer without one
  /// A new leaf on the storage of `value`, which must have a floating dtype.
  explicit Parameter(const Tensor& value) : Tensor(value.detach()) { requires_grad_(); }
};

/// A tensor that belongs to a module but is not trained: it moves with the module and, when persistent, is saved.
class Buffer : public Tensor {
 public:
  Buffer() = default;
  explicit Buffer(const Tensor& value, bool persistent = true) : Tensor(value.detach()), persistent_(persistent) {}
  bool persistent() const { return persistent_; }

 private:
  bool persistent_ = true;
};

/// Sees the fields of one module, in the order of its list.
class Visitor {
 public:
  virtual void parameter(std::string_view name, Parameter& parameter) = 0;
  virtual void buffer(std::string_view name, Buffer& buffer) = 0;
  virtual void module(std::string_view name, Module& module) = 0;

 protected:
  ~Visitor() = default;
};

/// Called before forward with its first argument, when that is a Tensor (else undefined); returns another to use
/// instead, or an undefined Tensor to keep it.
using ForwardPreHook = std::function<Tensor(Module& module, const Tensor& input)>;
/// Called after forward with its first argument and its result, as far as they are Tensors; returns another result to
/// use instead, or an undefined Tensor to keep it.
using ForwardHook = std::function<Tensor(Module& module, const Tensor& input, const Tensor& output)>;

struct NamedModule {
  std::string name;  ///< "" for the module itself, else dotted: "blocks.0.attn"
  Module* module;
};

struct LoadOptions {
  bool strict = true;  ///< false: missing and unexpected names are returned instead of thrown
};
/// What load_state_dict() did not find, and what it did not need.
struct LoadReport {
  std::vector<std::string> missing, unexpected;
};

/// Base of everything with a forward function. Derive a struct (not inside a function: it has a member template), write
/// `forward`, list all data members once:
///
///   struct Net : nn::Module {
///     nn::Linear fc1{784, 128}, fc2{128, 10};
///     Tensor forward(const Tensor& x) { return fc2(relu(fc1(x))); }  // (B, 784) -> (B, 10)
///     GRADUS_MODULE(fc1, fc2)
///   };
///
/// Call the module, not its forward: `net(x)` runs the hooks. Names and their order are those of the list, nested ones
/// with dots: "fc1.weight".
///
/// Modules move. They do not copy: copies would share their parameters, so twelve blocks copied from one would be one
/// block. Copy assignment does not compile; copy construction throws Error, except inside nn::clone(), which copies
/// each distinct tensor once. (The language gives clone() no other way to copy a struct it knows nothing about than the
/// copy constructor, so that one cannot be deleted.)
class GRADUS_API Module : public Stateful {
 public:
  Module();
  Module(const Module& other);
  Module(Module&& other) noexcept;
  Module& operator=(const Module&) = delete;
  Module& operator=(Module&& other) noexcept;
  ~Module() override;

  /// Every parameter once, under its first name (PyTorch's named_parameters()).
  NamedTensors parameters() const;
  /// The parameters that are not frozen.
  NamedTensors trainable_parameters() const;
  /// Every buffer once, under its first name.
  NamedTensors buffers() const;
  /// This module first, then all within it.
  std::vector<NamedModule> named_modules();
  int64_t num_parameters() const;

  const char* state_name() const override { return "model"; }
  /// Parameters and persistent buffers under all their names, without history, sharing their storage.
  NamedTensors state_dict() const override;
  /// Copies values in, converting between floating dtypes. CheckpointError lists all names that are missing, unexpected
  /// or of another shape; nothing is changed then. Of the names of a tied tensor one is enough.
  void load_state_dict(const NamedTensors& state) override;
  LoadReport load_state_dict(const NamedTensors& state, const LoadOptions& options);

  /// Moves parameters, gradients and buffers. Handles stay the same tensors, so an optimizer follows.
  Module& to(Device device);
  /// Converts floating parameters, gradients and buffers. Make the optimizer afterwards.
  Module& to(Dtype dtype);

  Module& train(bool mode = true);
  Module& eval() { return train(false); }
  bool is_training() const { return training_; }

  /// Ends the training of the parameters whose names match a shell pattern (`*` matches dots too), and drops their
  /// gradients. Returns how many match; ValueError when none does.
  int64_t freeze(std::string_view pattern = "*");
  int64_t unfreeze(std::string_view pattern = "*");
  void zero_grad();

  /// Adds a hook and returns the number that remove_hook() takes. Hooks stay with this object: clone() leaves them out.
  int64_t register_forward_pre_hook(ForwardPreHook hook);
  int64_t register_forward_hook(ForwardHook hook);
  void remove_hook(int64_t number);

  /// Adds an adapter: a module that is no field and whose `Tensor forward(const Tensor& input, const Tensor& output)`
  /// gives what this module returns from now on. It is named, moved, trained, saved and cloned as a field called `name`
  /// would be, and stays where it is when this module moves. ValueError when there is such a name; Error when this
  /// module is called and returns no Tensor.
  template <class M>
  M& attach(std::string_view name, M module) {
    static_assert(std::derived_from<M, Module>, "attach takes a module, by value");
    return static_cast<M&>(
        take_adapter({std::string(name), make_box<M>(std::move(module)),
                      [](Module& m, const Tensor& input, const Tensor& output) -> Tensor {
                        return static_cast<M&>(m)(input, output);
                      },
                      [](const Module& m) -> Box<Module> { return make_box<M>(static_cast<const M&>(m)); }}));
  }

  /// Multiply-adds of the matrix products and convolutions that forward itself does, for summary().
  virtual int64_t macs(const Shape& input, const Shape& output) const;

  /// Defined by GRADUS_MODULE.
  virtual void visit_fields(Visitor& visitor) = 0;
  /// The fields, then what is attached.
  void visit(Visitor& visitor);

 protected:
  /// Hooks and forward; what operator() does. Without hooks it costs one branch.
  template <class Self, class... Args>
  static decltype(auto) call(Self& self, Args&&... args) {
    if (!static_cast<Module&>(self).hooks_) [[likely]]
      return self.forward(std::forward<Args>(args)...);
    return call_hooked(self, std::forward<Args>(args)...);
  }

 private:
  struct Adapter {
    std::string name;
    Box<Module> module;
    Tensor (*call)(Module&, const Tensor& input, const Tensor& output);
    Box<Module> (*copy)(const Module&);
  };
  struct Hooks;
  Module& take_adapter(Adapter adapter);
  Tensor before_forward(const Tensor& input);
  Tensor after_forward(const Tensor& input, const Tensor& output);

  template <class Self>
  static decltype(auto) call_hooked(Self& self) {
    self.before_forward({});
    return finish(self, {}, [&]() -> decltype(auto) { return self.forward(); });
  }
  template <class Self, class First, class... Rest>
  static decltype(auto) call_hooked(Self& self, First&& first, Rest&&... rest) {
    if constexpr (std::is_base_of_v<Tensor, std::remove_cvref_t<First>>) {
      Tensor input = self.before_forward(first);
      return finish(self, input, [&]() -> decltype(auto) { return self.forward(input, std::forward<Rest>(rest)...); });
    } else {
      self.before_forward({});
      return finish(self, {}, [&]() -> decltype(auto) {
        return self.forward(std::forward<First>(first), std::forward<Rest>(rest)...);
      });
    }
  }
  template <class Forward>
  static auto finish(Module& self, const Tensor& input, Forward forward) -> decltype(forward()) {
    using Result = decltype(forward());
    if constexpr (std::is_same_v<Result, Tensor>) {
      return self.after_forward(input, forward());
    } else if constexpr (std::is_void_v<Result>) {
      forward();
      self.after_forward(input, {});
    } else {
      Result result = forward();
      self.after_forward(input, {});
      return result;
    }
  }

  // The flag before the pointer leaves no padding at the end, into which the compiler could lay a first field: the
  // count in detail::size_when_complete starts from sizeof(Module).
  bool training_ = true;
  Box<Hooks> hooks_;
};

namespace detail {

/// The size of a struct that derives from Module and has these fields.
template <class... F>
constexpr size_t size_when_complete() {
  const size_t sizes[] = {sizeof(Module), sizeof(F)...}, alignments[] = {alignof(Module), alignof(F)...};
  size_t end = 0, largest = 1;
  for (size_t i = 0; i <= sizeof...(F); ++i) {
    end = (end + alignments[i] - 1) / alignments[i] * alignments[i] + sizes[i];
    largest = alignments[i] > largest ? alignments[i] : largest;
  }
  return (end + largest - 1) / largest * largest;
}

template <class T>
inline constexpr bool is_optional = false;
template <class T>
inline constexpr bool is_optional<std::optional<T>> = true;

/// Whether F is a Base, or leads to one as a pointer, an array or a container does.
template <class Base, class F>
constexpr bool leads_to() {
  if constexpr (std::is_convertible_v<F*, const Base*>)
    return true;
  else if constexpr (std::is_array_v<F>)
    return leads_to<Base, std::remove_extent_t<F>>();
  else if constexpr (requires { typename F::mapped_type; })
    return leads_to<Base, typename F::mapped_type>();
  else if constexpr (requires { typename F::value_type; })
    return leads_to<Base, typename F::value_type>();
  else if constexpr (requires(F & f) { *f; } && !std::is_same_v<F, void*>)
    return leads_to<Base, std::remove_reference_t<decltype(*std::declval<F&>())>>();
  else
    return false;
}

/// Shows a field to the visitor; numbers, strings and the like are passed over.
template <class F>
void visit_field(Visitor& visitor, std::string_view name, F& field) {
  if constexpr (std::is_base_of_v<Module, F>) {
    visitor.module(name, field);
  } else if constexpr (std::is_same_v<F, Parameter>) {
    visitor.parameter(name, field);
  } else if constexpr (std::is_same_v<F, Buffer>) {
    visitor.buffer(name, field);
  } else if constexpr (is_optional<F>) {
    if (field) visit_field(visitor, name, *field);
  } else {
    static_assert(!leads_to<Tensor, F>(),
                  "a module holds its tensors as nn::Parameter (trained) or nn::Buffer (not trained), by value");
    static_assert(!leads_to<Module, F>(),
                  "a module holds its layers by value, in std::optional, in nn::Sequential or in nn::ModuleList");
  }
}

/// Takes the first name off a list such as "conv1, conv2, fc".
GRADUS_API std::string_view next_name(std::string_view& list);
/// Throws when the object is of a type derived from the one whose list this is.
GRADUS_API void check_list_owner(const Module& object, const std::type_info& owner);

template <class Self, class... F>
void visit_all(Self& self, Visitor& visitor, [[maybe_unused]] std::string_view names, F&... fields) {
  static_assert(sizeof(Self) == size_when_complete<F...>(),
                "GRADUS_MODULE must list every data member, in the order of declaration: a layer that is left out "
                "would be neither trained nor saved");
  check_list_owner(self, typeid(Self));
  (visit_field(visitor, next_name(names), fields), ...);
}

/// Copying modules is allowed while one lives.
class GRADUS_API CopyScope {
 public:
  /// `copied` is the type that will be made; throws when the object is of a derived one.
  CopyScope(const Module& object, const std::type_info& copied);
  ~CopyScope();
  CopyScope(const CopyScope&) = delete;
  CopyScope& operator=(const CopyScope&) = delete;
};
/// Gives a fresh copy tensors of its own, each distinct one once.
GRADUS_API void own_tensors(Module& copy);

}  // namespace detail

/// A copy with tensors of its own, on the same device, with the same modes. Tied tensors stay tied, frozen ones frozen;
/// gradients and hooks are left out.
template <std::derived_from<Module> M>
M clone(const M& module) {
  M copy = [&] {
    const detail::CopyScope scope(module, typeid(M));
    return M(module);
  }();
  detail::own_tensors(copy);
  return copy;
}

}  // namespace gradus::nn

// The list of all data members of a module, in the order of declaration, at the end of its struct. Defines
// visit_fields(), from which all else follows, and operator().
#define GRADUS_MODULE(...)                                                                    \
 public:                                                                                      \
  void visit_fields(::gradus::nn::Visitor& visitor) override {                                \
    ::gradus::nn::detail::visit_all(*this, visitor, #__VA_ARGS__ __VA_OPT__(, ) __VA_ARGS__); \
  }                                                                                           \
  template <class... Args>                                                                    \
  decltype(auto) operator()(Args&&... args) {                                                 \
    return ::gradus::nn::Module::call(*this, static_cast<Args&&>(args)...);                   \
  }
