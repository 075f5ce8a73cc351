// A node of the graph, as the engine and tools see it. Ops meet it only through record().
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include <gradus/autograd/record.h>

namespace gradus {

class Node;

/// Called with the gradient of a tensor; returns another to use instead, or an undefined Tensor to keep it.
using TensorHook = std::function<Tensor(const Tensor& gradient)>;
/// Called when the gradient of a leaf is complete in this backward.
using GradReadyHook = std::function<void(const Tensor& leaf_gradient)>;
/// Called when this backward has failed.
using BackwardFailedHook = std::function<void()>;

/// What few nodes have: hooks, where a leaf's gradient belongs, and in anomaly mode the place of the call.
struct NodeExtras {
  std::vector<TensorHook> hooks;
  std::vector<GradReadyHook> on_ready;
  std::vector<BackwardFailedHook> on_failed;
  Tensor home;
  std::string where;
};

namespace detail {
struct CheckpointFrame;
}

/// One recorded op: edges to its inputs' nodes, saved tensors, the backward lambda with its captures, all in one block
/// of memory. There is no tape: nodes are held by the tensors and nodes after them, so a graph dies with its outputs.
/// A leaf that requires grad has a node without inputs, which gathers its gradient.
class GRADUS_API Node final : public RefCounted {
 public:
  /// The node of an op; captures are copied.
  static Ref<Node> make(const char* op, const Tensor& y, std::span<const Tensor* const> inputs, size_t saved,
                        detail::Lambda call, const void* captures, size_t captures_size);
  /// The node of a leaf.
  static Ref<Node> make_leaf(const Tensor& leaf);
  static Node* of(const Tensor& x) { return static_cast<Node*>(x.impl().node.get()); }

  const char* op() const { return op_; }
  bool is_leaf() const { return call_ == nullptr; }
  const Shape& shape() const { return shape_; }
  Dtype dtype() const { return dtype_; }
  Device device() const { return device_; }
  std::span<Ref<Node>> edges() { return {edges_, num_edges_}; }
  std::span<detail::SavedTensor> saved() { return {saved_, num_saved_}; }
  NodeExtras& extras();
  bool has_extras() const { return extras_ != nullptr; }

  /// Runs the lambda. Throws GradError when the saved tensors are gone.
  void apply(Grads& out, const Tensor& g);
  /// Drops the saved tensors; a second backward is then an error.
  void free_saved();

  // ---- the engine's, valid while `run` is its own
  uint64_t run = 0;      ///< which run it belongs to; changed atomically
  uint32_t pending = 0;  ///< gradient contributions still to come
  uint8_t flags = 0;
  Tensor gradient;  ///< sum of the contributions so far; on a leaf between runs, its grad()
  Tensor arriving;  ///< a leaf's contributions of this run
  Ref<detail::CheckpointFrame> frame;

 private:
  friend class Saved;
  Node() = default;
  ~Node() override;
  void destroy() noexcept override;

  const char* op_ = nullptr;
  Ref<Node>* edges_ = nullptr;
  detail::SavedTensor* saved_ = nullptr;
  detail::Lambda call_ = nullptr;
  const void* captures_ = nullptr;
  NodeExtras* extras_ = nullptr;
  uint32_t num_edges_ = 0, num_saved_ = 0, block_bytes_ = 0;
  bool freed_ = false;
  Dtype dtype_ = Dtype::float32;
  Device device_;
  Shape shape_;
};

}  // namespace gradus
