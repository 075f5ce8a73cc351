// Functions of one variable, each with its derivative.
#include <numbers>

#include <gradus/autograd/detail/elementwise.h>

namespace gradus {
namespace {

// y = f(x) for floating x.
Tensor floating(const char* op, Elementwise f, const Tensor& x) {
  detail::check_floating(op, x);
  return detail::map(f, x);
}

Tensor numeric(const char* op, Elementwise f, const Tensor& x) {
  detail::check_numeric(op, x);
  return detail::map(f, x);
}

// A function made of steps: its derivative is zero.
Tensor steps(const char* op, Tensor y, const Tensor& x) {
  return record(op, std::move(y), {&x}, save(), [](const Tensor& g, const Saved&) -> Grads { return {zeros_like(g)}; });
}

}  // namespace

Tensor abs(const Tensor& x) {
  return record("abs", numeric("abs", Elementwise::abs, x), {&x}, save(x),
                [](const Tensor& g, const Saved& s) -> Grads { return {g * sign(s[0])}; });
}
Tensor sign(const Tensor& x) { return steps("sign", numeric("sign", Elementwise::sign, x), x); }
Tensor square(const Tensor& x) {
  return record("square", numeric("square", Elementwise::square, x), {&x}, save(x),
                [](const Tensor& g, const Saved& s) -> Grads { return {g * (s[0] * 2)}; });
}

// ---- exponentials and logarithms
Tensor exp(const Tensor& x) {
  const Tensor y = floating("exp", Elementwise::exp, x);
  return record("exp", y, {&x}, save(y), [](const Tensor& g, const Saved& s) -> Grads { return {g * s[0]}; });
}
Tensor expm1(const Tensor& x) {
  const Tensor y = floating("expm1", Elementwise::expm1, x);
  return record("expm1", y, {&x}, save(y), [](const Tensor& g, const Saved& s) -> Grads { return {g * (s[0] + 1)}; });
}
Tensor log(const Tensor& x) {
  return record("log", floating("log", Elementwise::log, x), {&x}, save(x),
                [](const Tensor& g, const Saved& s) -> Grads { return {g / s[0]}; });
}
Tensor log1p(const Tensor& x) {
  return record("log1p", floating("log1p", Elementwise::log1p, x), {&x}, save(x),
                [](const Tensor& g, const Saved& s) -> Grads { return {g / (s[0] + 1)}; });
}
Tensor log2(const Tensor& x) {
  return record("log2", floating("log2", Elementwise::log2, x), {&x}, save(x),
                [](const Tensor& g, const Saved& s) -> Grads { return {g / (s[0] * std::numbers::ln2)}; });
}

// ---- roots and the reciprocal
Tensor sqrt(const Tensor& x) {
  const Tensor y = floating("sqrt", Elementwise::sqrt, x);
  return record("sqrt", y, {&x}, save(y), [](const Tensor& g, const Saved& s) -> Grads { return {g / (s[0] * 2)}; });
}
Tensor rsqrt(const Tensor& x) {
  const Tensor y = floating("rsqrt", Elementwise::rsqrt, x);
  return record("rsqrt", y, {&x}, save(y),
                [](const Tensor& g, const Saved& s) -> Grads { return {g * (s[0] * s[0] * s[0] * -0.5)}; });
}
Tensor reciprocal(const Tensor& x) {
  const Tensor y = floating("reciprocal", Elementwise::reciprocal, x);
  return record("reciprocal", y, {&x}, save(y),
                [](const Tensor& g, const Saved& s) -> Grads { return {-g * square(s[0])}; });
}

// ---- circular and hyperbolic functions
Tensor sin(const Tensor& x) {
  return record("sin", floating("sin", Elementwise::sin, x), {&x}, save(x),
                [](const Tensor& g, const Saved& s) -> Grads { return {g * cos(s[0])}; });
}
Tensor cos(const Tensor& x) {
  return record("cos", floating("cos", Elementwise::cos, x), {&x}, save(x),
                [](const Tensor& g, const Saved& s) -> Grads { return {-g * sin(s[0])}; });
}
Tensor tan(const Tensor& x) {
  const Tensor y = floating("tan", Elementwise::tan, x);
  return record("tan", y, {&x}, save(y),
                [](const Tensor& g, const Saved& s) -> Grads { return {g * (square(s[0]) + 1)}; });
}
Tensor asin(const Tensor& x) {
  return record("asin", floating("asin", Elementwise::asin, x), {&x}, save(x),
                [](const Tensor& g, const Saved& s) -> Grads { return {g * rsqrt(1 - square(s[0]))}; });
}
Tensor acos(const Tensor& x) {
  return record("acos", floating("acos", Elementwise::acos, x), {&x}, save(x),
                [](const Tensor& g, const Saved& s) -> Grads { return {-g * rsqrt(1 - square(s[0]))}; });
}
Tensor atan(const Tensor& x) {
  return record("atan", floating("atan", Elementwise::atan, x), {&x}, save(x),
                [](const Tensor& g, const Saved& s) -> Grads { return {g / (square(s[0]) + 1)}; });
}
Tensor sinh(const Tensor& x) {
  return record("sinh", floating("sinh", Elementwise::sinh, x), {&x}, save(x),
                [](const Tensor& g, const Saved& s) -> Grads { return {g * cosh(s[0])}; });
}
Tensor cosh(const Tensor& x) {
  return record("cosh", floating("cosh", Elementwise::cosh, x), {&x}, save(x),
                [](const Tensor& g, const Saved& s) -> Grads { return {g * sinh(s[0])}; });
}

namespace {
Tensor tanh_backward(const Tensor& g, const Tensor& y) {
  return fused("tanh_backward", detail::map("tanh_backward", Elementwise::tanh_backward, g, y), {&g, &y},
               [](std::span<const Tensor> in) { return in[0] * (1 - square(in[1])); });
}
}  // namespace
Tensor tanh(const Tensor& x) {
  const Tensor y = floating("tanh", Elementwise::tanh, x);
  return record("tanh", y, {&x}, save(y),
                [](const Tensor& g, const Saved& s) -> Grads { return {tanh_backward(g, s[0])}; });
}

// erf' = 2 / sqrt(pi) exp(-x^2)
Tensor erf(const Tensor& x) {
  return record("erf", floating("erf", Elementwise::erf, x), {&x}, save(x),
                [](const Tensor& g, const Saved& s) -> Grads {
                  return {g * (exp(-square(s[0])) * (2 * std::numbers::inv_sqrtpi))};
                });
}

// ---- rounding; round() goes to even
Tensor floor(const Tensor& x) { return steps("floor", floating("floor", Elementwise::floor, x), x); }
Tensor ceil(const Tensor& x) { return steps("ceil", floating("ceil", Elementwise::ceil, x), x); }
Tensor round(const Tensor& x) { return steps("round", floating("round", Elementwise::round, x), x); }
Tensor trunc(const Tensor& x) { return steps("trunc", floating("trunc", Elementwise::trunc, x), x); }

}  // namespace gradus
