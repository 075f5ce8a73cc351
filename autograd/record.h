// How an op becomes differentiable: record() ties its output to its inputs by one node with a backward lambda. The same
// call serves the ops of Gradus and a user's own; there is no macro, no registration and no class to derive.
//
//   Tensor exp(const Tensor& x) {
//     Tensor y = ...;                                                  // forward, any way you like
//     return record("exp", y, {&x}, save(y), [](const Tensor& g, const Saved& s) -> Grads { return {g * s[0]}; });
//   }
#pragma once

#include <array>
#include <initializer_list>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include <gradus/autograd/grad_mode.h>
#include <gradus/core/tensor.h>

namespace gradus {

class Node;

/// The gradients of an op's inputs, in their order. An undefined Tensor means none. A gradient whose shape is broader
/// than its input's is summed down to it: that is the derivative of broadcasting, in one place for every op.
class Grads {
 public:
  template <class... T>
  requires(std::is_same_v<std::remove_cvref_t<T>, Tensor>&&...) Grads(T&&... tensors)
      : size_(sizeof...(T)), inline_{std::forward<T>(tensors)...} {
    static_assert(sizeof...(T) <= 4, "use Grads(std::vector<Tensor>) for more than four inputs");
  }
  Grads(std::vector<Tensor> tensors) : size_(tensors.size()), many_(std::move(tensors)) {}

  size_t size() const { return size_; }
  Tensor& operator[](size_t i) { return many_.empty() ? inline_[i] : many_[i]; }

 private:
  size_t size_;
  std::array<Tensor, 4> inline_;
  std::vector<Tensor> many_;
};

/// What a backward lambda sees of its node: the saved tensors and which inputs want a gradient.
class GRADUS_API Saved {
 public:
  explicit Saved(Node& node) : node_(node) {}
  /// The i-th tensor given to save(), with its history; GradError when it was modified in place since. An optional
  /// argument that was undefined comes back undefined.
  Tensor operator[](size_t i) const;
  /// Whether input i wants a gradient.
  bool needs(size_t i) const;
  /// The shape of input i, which wants a gradient, as the only input of an op does. So a lambda need not capture it.
  const Shape& shape(size_t i) const;

 private:
  Node& node_;
};

/// The tensors that backward will read; made by save().
template <size_t N>
struct SaveList {
  std::array<const Tensor*, N> tensors;
};
template <class... T>
SaveList<sizeof...(T)> save(const T&... tensors) {
  return {{&tensors...}};
}

namespace detail {

/// A saved tensor is held without its node when it is the output, so that no cycle arises, and with the version it had.
struct SavedTensor {
  Tensor tensor;
  uint32_t version = 0;
  bool is_output = false;
  int32_t replay = -1;  ///< index in a checkpoint's frame that will compute it again, or -1
};

using Lambda = void (*)(Grads& out, const void* captures, const Tensor& g, const Saved& saved);

GRADUS_API bool any_requires_grad(std::span<const Tensor* const> inputs);
GRADUS_API void attach_node(const char* op, const Tensor& y, std::span<const Tensor* const> inputs,
                            std::span<const Tensor* const> saved, Lambda call, const void* captures,
                            size_t captures_size);
GRADUS_API void attach_no_derivative(const char* op, const Tensor& y, std::span<const Tensor* const> inputs,
                                     const char* why);

using Composite = std::vector<Tensor> (*)(const void* captures, std::span<const Tensor> inputs);
GRADUS_API Grads differentiate_composite(Composite composite, const void* captures, const Tensor& g, const Saved& saved,
                                         size_t n);

}  // namespace detail

/// Makes `y`, a fresh tensor, the output of an op: nothing happens unless grad mode is on and an input requires grad.
/// `backward(g, saved)` gets the gradient of y and returns one for each input; it captures numbers and shapes only and
/// computes with public ops, so that derivatives of every order follow.
template <size_t N, class Backward>
Tensor record(const char* op, Tensor y, std::span<const Tensor* const> inputs, SaveList<N> saved, Backward backward) {
  static_assert(std::is_trivially_copyable_v<Backward>, "capture numbers and shapes; tensors go through save()");
  static_assert(alignof(Backward) <= alignof(std::max_align_t));
  if (!grad_enabled() || !detail::any_requires_grad(inputs)) return y;
  detail::attach_node(
      op, y, inputs, saved.tensors,
      [](Grads& out, const void* captures, const Tensor& g, const Saved& s) {
        out = (*static_cast<const Backward*>(captures))(g, s);
      },
      &backward, sizeof(Backward));
  return y;
}
template <size_t N, class Backward>
Tensor record(const char* op, Tensor y, std::initializer_list<const Tensor*> inputs, SaveList<N> saved,
              Backward backward) {
  return record(op, std::move(y), std::span(inputs.begin(), inputs.size()), saved, backward);
}

/// For an op without a derivative: differentiating it throws GradError with its name and `why`, instead of cutting the
/// gradient silently.
inline Tensor record_no_derivative(const char* op, Tensor y, std::initializer_list<const Tensor*> inputs,
                                   const char* why = "") {
  const std::span<const Tensor* const> list(inputs.begin(), inputs.size());
  if (grad_enabled() && detail::any_requires_grad(list)) detail::attach_no_derivative(op, y, list, why);
  return y;
}

/// Makes `y` the output of a fused kernel whose derivative is that of its composite twin, written in public ops:
/// `composite(std::span<const Tensor> inputs) -> Tensor`. Costs nothing unless somebody differentiates y.
template <class Composite>
Tensor fused(const char* op, Tensor y, std::initializer_list<const Tensor*> inputs, Composite composite) {
  static_assert(std::is_trivially_copyable_v<Composite>, "capture numbers and shapes; tensors are inputs");
  const std::span<const Tensor* const> list(inputs.begin(), inputs.size());
  if (!grad_enabled() || !detail::any_requires_grad(list)) return y;
  struct Captures {
    Composite composite;
    size_t n;
  } captures{composite, inputs.size()};
  detail::attach_node(
      op, y, list, list,
      [](Grads& out, const void* p, const Tensor& g, const Saved& s) {
        const Captures& c = *static_cast<const Captures*>(p);
        out = detail::differentiate_composite(
            [](const void* q, std::span<const Tensor> in) -> std::vector<Tensor> {
              return {(*static_cast<const Composite*>(q))(in)};
            },
            &c.composite, g, s, c.n);
      },
      &captures, sizeof(captures));
  return y;
}

}  // namespace gradus
