// The methods of Tensor that belong to autograd but are no op: leaves, gradients, detaching, hooks.
#include <gradus/autograd/autograd.h>
#include <gradus/core/detail/check.h>

namespace gradus {
namespace {

Node* node_of_leaf(const char* op, const Tensor& x) {
  GRADUS_CHECK(x.requires_grad() && x.is_leaf(), GradError, "{}: want a leaf that requires grad", op);
  return Node::of(x);
}

}  // namespace

const Tensor& Tensor::requires_grad_(bool value) const {
  TensorImpl& x = impl();
  GRADUS_CHECK(is_leaf(), GradError, "requires_grad_: the tensor is the result of {}; use detach() for a new leaf",
               Node::of(*this)->op());
  GRADUS_CHECK(!value || is_floating(x.dtype), DtypeError, "requires_grad_: {} has no gradients; want a floating dtype",
               x.dtype);
  if (value && !x.node) x.node = Node::make_leaf(*this);
  x.requires_grad = value;
  return *this;
}

Tensor Tensor::grad() const {
  if (!is_leaf() || !impl().node) return {};
  return Node::of(*this)->gradient;
}

void Tensor::set_grad(const Tensor& gradient) const {
  GRADUS_CHECK(is_leaf() && impl().node, GradError, "set_grad: want a leaf that requires grad");
  if (gradient.defined()) {
    GRADUS_CHECK(gradient.shape() == shape(), ShapeError, "set_grad: gradient {} for a tensor {}", gradient.shape(),
                 shape());
    detail::check_same("set_grad", *this, gradient);
  }
  Node::of(*this)->gradient = gradient;
}

Tensor Tensor::detach() const {
  const TensorImpl& x = impl();
  return Tensor(make_ref<TensorImpl>(x.storage, x.offset, x.shape, x.strides, x.dtype));
}

void register_hook(const Tensor& x, TensorHook hook) {
  GRADUS_CHECK(x.requires_grad(), GradError, "register_hook: the tensor does not require grad");
  Node::of(x)->extras().hooks.push_back(std::move(hook));
}

void on_backward_failed(const Tensor& leaf, BackwardFailedHook hook) {
  node_of_leaf("on_backward_failed", leaf)->extras().on_failed.push_back(std::move(hook));
}

void on_grad_ready(const Tensor& leaf, GradReadyHook hook) {
  node_of_leaf("on_grad_ready", leaf)->extras().on_ready.push_back(std::move(hook));
}

void keep_grad_in(const Tensor& leaf, const Tensor& memory) {
  Node* const node = node_of_leaf("keep_grad_in", leaf);
  if (memory.defined()) {
    GRADUS_CHECK(memory.shape() == leaf.shape(), ShapeError, "keep_grad_in: memory {} for a leaf {}", memory.shape(),
                 leaf.shape());
    detail::check_same("keep_grad_in", leaf, memory);
    GRADUS_CHECK(!memory.requires_grad(), GradError, "keep_grad_in: the memory has a history; give memory.detach()");
  }
  node->extras().home = memory;
}

}  // namespace gradus
