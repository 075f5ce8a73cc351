// Modules made of modules: Sequential runs layers of any types one after the other; ModuleList holds layers of one
// type.
#pragma once

#include <utility>
#include <vector>

#include <gradus/nn/module.h>

namespace gradus::nn {

/// Layers that take and return one Tensor, called in order and named "0", "1", ... They are moved in:
///   nn::Sequential net{nn::Linear{784, 128}, nn::ReLU{}, nn::Linear{128, 10}};
class GRADUS_API Sequential final : public Module {
 public:
  Sequential() = default;
  template <class First, class... Rest>
  requires(std::derived_from<std::remove_cvref_t<First>, Module> &&
           (sizeof...(Rest) > 0 ||
            !std::same_as<std::remove_cvref_t<First>, Sequential>)) explicit Sequential(First&& first, Rest&&... rest) {
    push_back(std::forward<First>(first));
    (push_back(std::forward<Rest>(rest)), ...);
  }
  Sequential(const Sequential& other);
  Sequential(Sequential&&) noexcept = default;
  Sequential& operator=(Sequential&&) noexcept = default;

  template <class M>
  void push_back(M&& module) {
    static_assert(!std::is_lvalue_reference_v<M>, "hand the layer over with std::move(layer)");
    static_assert(std::derived_from<M, Module>, "Sequential holds modules, such as nn::Linear{784, 10}");
    steps_.push_back({make_box<M>(std::move(module)),
                      [](Module& m, const Tensor& x) -> Tensor { return static_cast<M&>(m)(x); },
                      [](const Module& m) -> Box<Module> { return make_box<M>(static_cast<const M&>(m)); }});
  }

  size_t size() const { return steps_.size(); }
  /// IndexError when there is no such layer.
  Module& operator[](int64_t index);
  /// As operator[], with its type; Error when it has another.
  template <class M>
  M& get(int64_t index) {
    M* layer = dynamic_cast<M*>(&(*this)[index]);
    if (!layer) throw_wrong_type(index, typeid(M));
    return *layer;
  }

  Tensor forward(const Tensor& x);
  Tensor operator()(const Tensor& x) { return call(*this, x); }
  void visit_fields(Visitor& visitor) override;

 private:
  struct Step {
    Box<Module> module;
    Tensor (*call)(Module&, const Tensor&);
    Box<Module> (*copy)(const Module&);
  };
  [[noreturn]] void throw_wrong_type(int64_t index, const std::type_info& wanted);
  std::vector<Step> steps_;
};

namespace detail {
GRADUS_API void visit_numbered(Visitor& visitor, size_t number, Module& module);
[[noreturn]] GRADUS_API void throw_no_element(const char* what, int64_t index, size_t size);
}  // namespace detail

/// Any number of layers of one type, named "0", "1", ...:
///   nn::ModuleList<Block> blocks{12, [&] { return Block{width, heads}; }};
///   for (Block& block : blocks) x = block(x);
template <std::derived_from<Module> M>
class ModuleList final : public Module {
 public:
  ModuleList() = default;
  /// `count` layers, each made by a call of its own, so that each has parameters of its own.
  template <class Make>
  requires std::is_invocable_r_v<M, Make&> ModuleList(int64_t count, Make make) {
    for (int64_t i = 0; i < count; ++i) layers_.push_back(make());
  }

  void push_back(M&& layer) { layers_.push_back(std::move(layer)); }
  size_t size() const { return layers_.size(); }
  M& operator[](int64_t index) {
    if (index < 0 || index >= static_cast<int64_t>(layers_.size()))
      detail::throw_no_element("ModuleList", index, layers_.size());
    return layers_[static_cast<size_t>(index)];
  }
  auto begin() { return layers_.begin(); }
  auto end() { return layers_.end(); }

  void visit_fields(Visitor& visitor) override {
    for (size_t i = 0; i < layers_.size(); ++i) detail::visit_numbered(visitor, i, layers_[i]);
  }

 private:
  std::vector<M> layers_;
};

}  // namespace gradus::nn
