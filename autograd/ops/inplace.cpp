// In-place operations: no graph, a new version of the storage, refused where a recorded graph would notice.
#include <gradus/autograd/detail/inplace.h>
#include <gradus/autograd/ops.h>
#include <gradus/core/kernels.h>

namespace gradus {
namespace {

// A handle that a kernel may write through, with the version bumped.
Tensor writable(const Tensor& x) {
  x.impl().storage->bump_version();
  return x;
}

void check_broadcast(const char* op, const Tensor& target, const Tensor& source) {
  GRADUS_CHECK(broadcast_shapes(op, target.shape(), source.shape()) == target.shape(), ShapeError,
               "{}: {} does not broadcast to the target {}", op, source.shape(), target.shape());
}

const Tensor& apply(const char* op, Elementwise kernel, const Tensor& target, const Tensor* source, Params params) {
  GRADUS_CHECK(target.dtype() != boolean, DtypeError,
               "{}: boolean has no arithmetic; use logical_and, logical_or, or x.to(int64)", op);
  Tensor y = writable(target);
  const Tensor* inputs[] = {&target, source};
  kernels::elementwise(y.device(), kernel, y, std::span(inputs, source ? 2 : 1), params);
  return target;
}

}  // namespace

const Tensor& Tensor::copy_(const Tensor& source) const {
  detail::check_in_place("copy_", *this, {&source});
  check_broadcast("copy_", *this, source);
  const Tensor from = source.device() == device() ? source : source.detach().to(device());
  Tensor y = writable(*this);
  kernels::copy(device(), y, from.detach().expand(shape()));
  return *this;
}

const Tensor& Tensor::fill_(Scalar value) const {
  detail::check_in_place("fill_", *this);
  detail::check_scalar("fill_", *this, value);
  detail::check_fits("fill_", dtype(), value);
  Tensor y = writable(*this);
  kernels::fill(device(), y, value);
  return *this;
}

const Tensor& Tensor::zero_() const { return fill_(0); }

const Tensor& Tensor::add_(const Tensor& other, Scalar alpha) const {
  detail::check_in_place("add_", *this, {&other});
  detail::check_same("add_", *this, other);
  check_broadcast("add_", *this, other);
  detail::check_scalar("add_", *this, alpha);
  return apply("add_", Elementwise::add_scaled, *this, &other, {alpha, 0});
}

const Tensor& Tensor::add_(Scalar value) const {
  detail::check_in_place("add_", *this);
  detail::check_scalar("add_", *this, value);
  return apply("add_", Elementwise::add_scalar, *this, nullptr, {value, 0});
}

const Tensor& Tensor::mul_(const Tensor& other) const {
  detail::check_in_place("mul_", *this, {&other});
  detail::check_same("mul_", *this, other);
  check_broadcast("mul_", *this, other);
  return apply("mul_", Elementwise::mul, *this, &other, {});
}

const Tensor& Tensor::mul_(Scalar value) const {
  detail::check_in_place("mul_", *this);
  detail::check_scalar("mul_", *this, value);
  return apply("mul_", Elementwise::mul_scalar, *this, nullptr, {value, 0});
}

}  // namespace gradus
