// Activations, each with its derivative: a fused kernel whose twin in public ops carries the second order. Then choices
// by a mask, and dropout.
#include <numbers>

#include <gradus/autograd/detail/elementwise.h>
#include <gradus/core/random.h>

namespace gradus {

using detail::map;

// ---- sigmoid: 1 / (1 + exp(-x))
namespace {
Tensor sigmoid_backward(const Tensor& g, const Tensor& y) {
  return fused("sigmoid_backward", map("sigmoid_backward", Elementwise::sigmoid_backward, g, y), {&g, &y},
               [](std::span<const Tensor> in) { return in[0] * in[1] * (1 - in[1]); });
}
}  // namespace
Tensor sigmoid(const Tensor& x) {
  detail::check_floating("sigmoid", x);
  const Tensor y = map(Elementwise::sigmoid, x);
  return record("sigmoid", y, {&x}, save(y),
                [](const Tensor& g, const Saved& s) -> Grads { return {sigmoid_backward(g, s[0])}; });
}

// ---- relu: max(x, 0)
namespace {
Tensor relu_backward(const Tensor& g, const Tensor& y) {
  return fused("relu_backward", map("relu_backward", Elementwise::relu_backward, g, y), {&g, &y},
               [](std::span<const Tensor> in) { return where(in[1] > 0, in[0], 0); });
}
}  // namespace
Tensor relu(const Tensor& x) {
  detail::check_numeric("relu", x);
  const Tensor y = map(Elementwise::relu, x);
  return record("relu", y, {&x}, save(y),
                [](const Tensor& g, const Saved& s) -> Grads { return {relu_backward(g, s[0])}; });
}

// ---- leaky_relu: x above 0, slope x below
namespace {
Tensor leaky_relu_backward(const Tensor& g, const Tensor& x, double slope) {
  Tensor dx = map("leaky_relu_backward", Elementwise::leaky_relu_backward, g, x, {slope, 0});
  return fused("leaky_relu_backward", dx, {&g, &x},
               [slope](std::span<const Tensor> in) { return where(in[1] > 0, in[0], in[0] * slope); });
}
}  // namespace
Tensor leaky_relu(const Tensor& x, double slope) {
  detail::check_floating("leaky_relu", x);
  return record("leaky_relu", map(Elementwise::leaky_relu, x, {slope, 0}), {&x}, save(x),
                [slope](const Tensor& g, const Saved& s) -> Grads { return {leaky_relu_backward(g, s[0], slope)}; });
}

// ---- elu: x above 0, alpha (exp(x) - 1) below (Clevert et al., arXiv 1511.07289)
namespace {
Tensor elu_backward(const Tensor& g, const Tensor& x, double alpha) {
  Tensor dx = map("elu_backward", Elementwise::elu_backward, g, x, {alpha, 0});
  return fused("elu_backward", dx, {&g, &x}, [alpha](std::span<const Tensor> in) {
    // Clamped, because the derivative of where() would make NaN of an infinite exp.
    return where(in[1] > 0, in[0], in[0] * (exp(clamp(in[1], {}, 0)) * alpha));
  });
}
}  // namespace
Tensor elu(const Tensor& x, double alpha) {
  detail::check_floating("elu", x);
  return record("elu", map(Elementwise::elu, x, {alpha, 0}), {&x}, save(x),
                [alpha](const Tensor& g, const Saved& s) -> Grads { return {elu_backward(g, s[0], alpha)}; });
}

// ---- silu: x sigmoid(x), also called swish (Ramachandran et al., arXiv 1710.05941)
namespace {
Tensor silu_backward(const Tensor& g, const Tensor& x) {
  return fused("silu_backward", map("silu_backward", Elementwise::silu_backward, g, x), {&g, &x},
               [](std::span<const Tensor> in) {
                 const Tensor s = sigmoid(in[1]);
                 return in[0] * s * (in[1] * (1 - s) + 1);
               });
}
}  // namespace
Tensor silu(const Tensor& x) {
  detail::check_floating("silu", x);
  return record("silu", map(Elementwise::silu, x), {&x}, save(x),
                [](const Tensor& g, const Saved& s) -> Grads { return {silu_backward(g, s[0])}; });
}

// ---- gelu: x Phi(x), with Phi the normal distribution function; tanh: x sigmoid(2 u),
// u = sqrt(2 / pi) (x + 0.044715 x^3)
namespace {
Tensor gelu_erf_backward(const Tensor& g, const Tensor& x) {
  return fused("gelu_backward", map("gelu_backward", Elementwise::gelu_erf_backward, g, x), {&g, &x},
               [](std::span<const Tensor> in) {
                 const double density = std::numbers::inv_sqrtpi / std::numbers::sqrt2;  // 1 / sqrt(2 pi)
                 const Tensor phi = (erf(in[1] * (1 / std::numbers::sqrt2)) + 1) * 0.5;
                 return in[0] * (phi + in[1] * exp(square(in[1]) * -0.5) * density);
               });
}
Tensor gelu_tanh_backward(const Tensor& g, const Tensor& x) {
  return fused("gelu_backward", map("gelu_backward", Elementwise::gelu_tanh_backward, g, x), {&g, &x},
               [](std::span<const Tensor> in) {
                 const double scale = 2 * std::numbers::sqrt2 * std::numbers::inv_sqrtpi;  // 2 sqrt(2 / pi)
                 const Tensor x2 = square(in[1]), s = sigmoid(in[1] * (x2 * 0.044715 + 1) * scale);
                 return in[0] * (s + in[1] * s * (1 - s) * ((x2 * (3 * 0.044715) + 1) * scale));
               });
}
}  // namespace
Tensor gelu(const Tensor& x, GeluApproximation approximate) {
  detail::check_floating("gelu", x);
  if (approximate == GeluApproximation::tanh)
    return record("gelu", map(Elementwise::gelu_tanh, x), {&x}, save(x),
                  [](const Tensor& g, const Saved& s) -> Grads { return {gelu_tanh_backward(g, s[0])}; });
  return record("gelu", map(Elementwise::gelu_erf, x), {&x}, save(x),
                [](const Tensor& g, const Saved& s) -> Grads { return {gelu_erf_backward(g, s[0])}; });
}

// ---- softplus: log(1 + exp(x)); log_sigmoid(x) = -softplus(-x)
namespace {
Tensor softplus_backward(const Tensor& g, const Tensor& x) {
  return fused("softplus_backward", map("softplus_backward", Elementwise::softplus_backward, g, x), {&g, &x},
               [](std::span<const Tensor> in) { return in[0] * sigmoid(in[1]); });
}
}  // namespace
Tensor softplus(const Tensor& x) {
  detail::check_floating("softplus", x);
  return record("softplus", map(Elementwise::softplus, x), {&x}, save(x),
                [](const Tensor& g, const Saved& s) -> Grads { return {softplus_backward(g, s[0])}; });
}
Tensor log_sigmoid(const Tensor& x) {
  detail::check_floating("log_sigmoid", x);
  return -softplus(-x);
}

Tensor hardtanh(const Tensor& x, double low, double high) {
  detail::check_floating("hardtanh", x);
  GRADUS_CHECK(low <= high, ValueError, "hardtanh: low {} is above high {}", low, high);
  return clamp(x, low, high);
}

// ---- choices by a mask
Tensor where(const Tensor& condition, const Tensor& x, const Tensor& y) {
  detail::check_defined("where", "condition", condition);
  detail::check_defined("where", "x", x);
  detail::check_defined("where", "y", y);
  GRADUS_CHECK(condition.dtype() == boolean, DtypeError, "where: condition is {}; want boolean, as x > 0 gives it",
               condition.dtype());
  detail::check_same("where", x, y);
  GRADUS_CHECK(condition.device() == x.device(), DeviceError, "where: condition is on {}, x on {}; move one with .to()",
               condition.device(), x.device());
  Tensor z = empty(broadcast_shapes("where", broadcast_shapes("where", x.shape(), y.shape()), condition.shape()),
                   {.dtype = x.dtype(), .device = x.device()});
  const Tensor* inputs[] = {&condition, &x, &y};
  kernels::elementwise(x.device(), Elementwise::where, z, inputs, {});
  return record("where", z, {&x, &y}, save(condition), [](const Tensor& g, const Saved& s) -> Grads {
    return {s.needs(0) ? where(s[0], g, 0) : Tensor(), s.needs(1) ? masked_fill(g, s[0], 0) : Tensor()};
  });
}

namespace {
// A number as a tensor that broadcasts to x.
Tensor like_scalar(const char* op, const Tensor& x, Scalar value) {
  detail::check_defined(op, "x", x);
  detail::check_scalar(op, x, value);
  detail::check_fits(op, x.dtype(), value);
  return full({}, value, {.dtype = x.dtype(), .device = x.device()});
}
}  // namespace
Tensor where(const Tensor& condition, const Tensor& x, Scalar y) {
  return where(condition, x, like_scalar("where", x, y));
}
Tensor masked_fill(const Tensor& x, const Tensor& mask, Scalar value) {
  return where(mask, like_scalar("masked_fill", x, value), x);
}

// ---- dropout
namespace {
// Backward draws the same mask again, from the same place of the stream.
Tensor dropout_at(const Tensor& x, double p, PhiloxState state) {
  Tensor y = empty(x.shape(), {.dtype = x.dtype(), .device = x.device()});
  kernels::dropout(x.device(), y, dense(x), p, state);
  return record("dropout", y, {&x}, save(),
                [p, state](const Tensor& g, const Saved&) -> Grads { return {dropout_at(g, p, state)}; });
}
}  // namespace
Tensor dropout(const Tensor& x, double p, bool training) {
  detail::check_floating("dropout", x);
  GRADUS_CHECK(p >= 0 && p <= 1, ValueError, "dropout: p is {}; want 0 to 1", p);
  if (!training || p == 0) return x;
  Generator& generator = default_generator();
  return dropout_at(x, p, {generator.seed(), generator.advance(x.numel())});
}

}  // namespace gradus
