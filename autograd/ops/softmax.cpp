// Softmax and log-softmax, each beside its derivative: a fused op as well, whose composite twin gives the higher
// orders.
#include <gradus/autograd/ops.h>
#include <gradus/core/detail/check.h>
#include <gradus/core/kernels.h>

namespace gradus {
namespace {

// dx = (g - sum g y) y, over the last dim.
Tensor softmax_backward(const Tensor& g, const Tensor& y) {
  Tensor dx = empty_like(y);
  kernels::softmax_backward(y.device(), dx, dense(g), dense(y));
  return fused("softmax_backward", dx, {&g, &y},
               [](std::span<const Tensor> in) { return (in[0] - sum(in[0] * in[1], -1, keepdim)) * in[1]; });
}

// dx = g - exp(y) sum g, over the last dim.
Tensor log_softmax_backward(const Tensor& g, const Tensor& y) {
  Tensor dx = empty_like(y);
  kernels::log_softmax_backward(y.device(), dx, dense(g), dense(y));
  return fused("log_softmax_backward", dx, {&g, &y},
               [](std::span<const Tensor> in) { return in[0] - exp(in[1]) * sum(in[0], -1, keepdim); });
}

}  // namespace

// y_i = exp(x_i - max x) / sum_j exp(x_j - max x), along dim.
Tensor softmax(const Tensor& x, int64_t dim) {
  detail::check_floating("softmax", "x", x);
  dim = wrap_dim("softmax", dim, x.rank());
  if (dim < x.rank() - 1) return softmax(x.transpose(dim, -1), -1).transpose(dim, -1);
  Tensor y = empty_like(x);
  kernels::softmax(x.device(), y, dense(x));
  return record("softmax", y, {&x}, save(y),
                [](const Tensor& g, const Saved& s) -> Grads { return {softmax_backward(g, s[0])}; });
}

// y_i = x_i - max x - log sum_j exp(x_j - max x), along dim.
Tensor log_softmax(const Tensor& x, int64_t dim) {
  detail::check_floating("log_softmax", "x", x);
  dim = wrap_dim("log_softmax", dim, x.rank());
  if (dim < x.rank() - 1) return log_softmax(x.transpose(dim, -1), -1).transpose(dim, -1);
  Tensor y = empty_like(x);
  kernels::log_softmax(x.device(), y, dense(x));
  return record("log_softmax", y, {&x}, save(y),
                [](const Tensor& g, const Saved& s) -> Grads { return {log_softmax_backward(g, s[0])}; });
}

}  // namespace gradus
