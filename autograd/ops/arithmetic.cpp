// Arithmetic between tensors, and between tensors and numbers. The engine sums a gradient over the dims that were
// broadcast, so a derivative here is the broad one.
#include <algorithm>
#include <limits>

#include <gradus/autograd/detail/elementwise.h>
#include <gradus/core/math.h>

namespace gradus {

using detail::map;
using detail::wanted_by;

// ---- sums
Tensor add(const Tensor& x, const Tensor& y) {
  detail::check_numeric("add", x);
  return record("add", map("add", Elementwise::add, x, y), {&x, &y}, save(),
                [](const Tensor& g, const Saved&) -> Grads {
                  return {g, g};
                });
}

Tensor add(const Tensor& x, Scalar y) {
  detail::check_numeric("add", x);
  detail::check_scalar("add", x, y);
  return record("add", map(Elementwise::add_scalar, x, {y, 0}), {&x}, save(),
                [](const Tensor& g, const Saved&) -> Grads { return {g}; });
}

Tensor sub(const Tensor& x, const Tensor& y) {
  detail::check_numeric("sub", x);
  return record("sub", map("sub", Elementwise::sub, x, y), {&x, &y}, save(),
                [](const Tensor& g, const Saved& s) -> Grads {
                  return {g, s.needs(1) ? -g : Tensor()};
                });
}

Tensor sub(const Tensor& x, Scalar y) {
  detail::check_numeric("sub", x);
  detail::check_scalar("sub", x, y);
  const Scalar minus_y = y.is_floating() ? Scalar(-y.to<double>()) : Scalar(math::neg(y.to<int64_t>()));
  return record("sub", map(Elementwise::add_scalar, x, {minus_y, 0}), {&x}, save(),
                [](const Tensor& g, const Saved&) -> Grads { return {g}; });
}

Tensor sub(Scalar x, const Tensor& y) {
  detail::check_numeric("sub", y);
  detail::check_scalar("sub", y, x);
  return record("sub", map(Elementwise::rsub_scalar, y, {x, 0}), {&y}, save(),
                [](const Tensor& g, const Saved&) -> Grads { return {-g}; });
}

Tensor neg(const Tensor& x) {
  detail::check_numeric("neg", x);
  return record("neg", map(Elementwise::neg, x), {&x}, save(),
                [](const Tensor& g, const Saved&) -> Grads { return {-g}; });
}

// ---- products
Tensor mul(const Tensor& x, const Tensor& y) {
  detail::check_numeric("mul", x);
  const Tensor z = map("mul", Elementwise::mul, x, y);
  return record("mul", z, {&x, &y}, save(wanted_by(y, x), wanted_by(x, y)),
                [](const Tensor& g, const Saved& s) -> Grads {
                  return {s.needs(0) ? g * s[1] : Tensor(), s.needs(1) ? g * s[0] : Tensor()};
                });
}

Tensor mul(const Tensor& x, Scalar y) {
  detail::check_numeric("mul", x);
  detail::check_scalar("mul", x, y);
  return record("mul", map(Elementwise::mul_scalar, x, {y, 0}), {&x}, save(),
                [y](const Tensor& g, const Saved&) -> Grads { return {g * y}; });
}

namespace {
void check_division(const Tensor& x) {
  detail::check_defined("div", "x", x);
  GRADUS_CHECK(is_floating(x.dtype()), DtypeError, "div: {} has no exact quotient; convert with x.to(float32)",
               x.dtype());
}
}  // namespace

Tensor div(const Tensor& x, const Tensor& y) {
  check_division(x);
  const Tensor z = map("div", Elementwise::div, x, y);
  return record("div", z, {&x, &y}, save(wanted_by(y, x), y), [](const Tensor& g, const Saved& s) -> Grads {
    const Tensor dx = g / s[1];
    return {dx, s.needs(1) ? -dx * (s[0] / s[1]) : Tensor()};
  });
}

Tensor div(const Tensor& x, Scalar y) {
  check_division(x);
  return record("div", map(Elementwise::div_scalar, x, {y, 0}), {&x}, save(),
                [y](const Tensor& g, const Saved&) -> Grads { return {g / y}; });
}

Tensor div(Scalar x, const Tensor& y) {
  check_division(y);
  return record("div", map(Elementwise::rdiv_scalar, y, {x, 0}), {&y}, save(y),
                [x](const Tensor& g, const Saved& s) -> Grads { return {-g * (x / s[0] / s[0])}; });
}

Tensor remainder(const Tensor& x, const Tensor& y) {
  detail::check_numeric("remainder", x);
  return record("remainder", map("remainder", Elementwise::remainder, x, y), {&x, &y}, save(),
                [](const Tensor& g, const Saved& s) -> Grads {
                  GRADUS_CHECK(!s.needs(1), GradError,
                               "remainder: the derivative for y is not defined; use y.detach()");
                  return {g, Tensor()};
                });
}

Tensor remainder(const Tensor& x, Scalar y) {
  detail::check_numeric("remainder", x);
  detail::check_scalar("remainder", x, y);
  GRADUS_CHECK(is_floating(x.dtype()) || y.to<int64_t>() != 0, ValueError, "remainder: y is 0");
  return record("remainder", map(Elementwise::remainder_scalar, x, {y, 0}), {&x}, save(),
                [](const Tensor& g, const Saved&) -> Grads { return {g}; });
}

// d x^e / dx = e x^(e-1), 0 where e is 0; d x^e / de = x^e log(x), 0 where x is 0 and e >= 0
Tensor pow(const Tensor& x, const Tensor& exponent) {
  detail::check_floating("pow", x);
  const Tensor y = map("pow", Elementwise::pow, x, exponent);
  return record("pow", y, {&x, &exponent}, save(x, exponent, wanted_by(exponent, y)),
                [](const Tensor& g, const Saved& s) -> Grads {
                  const Tensor base = s[0], e = s[1];
                  Tensor dx, de;
                  if (s.needs(0)) dx = g * masked_fill(e * pow(base, e - 1), e == 0, 0);
                  if (s.needs(1)) de = g * masked_fill(s[2] * log(base), logical_and(base == 0, e >= 0), 0);
                  return {dx, de};
                });
}

namespace {
// Common exponents go without logarithms, at a tenth of the cost.
Tensor power(const Tensor& x, double e) {
  if (e == 2) return map(Elementwise::square, x);
  if (e == 3) return map("pow", Elementwise::mul, map(Elementwise::square, x), x);
  if (e == 0.5) return map(Elementwise::sqrt, x);
  if (e == -0.5) return map(Elementwise::rsqrt, x);
  if (e == -1) return map(Elementwise::reciprocal, x);
  return map(Elementwise::pow_scalar, x, {e, 0});
}
}  // namespace
Tensor pow(const Tensor& x, Scalar exponent) {
  detail::check_floating("pow", x);
  const double e = exponent.to<double>();
  return record("pow", power(x, e), {&x}, save(x), [e](const Tensor& g, const Saved& s) -> Grads {
    if (e == 0) return {zeros_like(g)};
    if (e == 2) return {g * (s[0] * 2)};
    return {g * (pow(s[0], e - 1) * e)};
  });
}

// ---- order
// Equal elements share the gradient.
Tensor minimum(const Tensor& x, const Tensor& y) {
  detail::check_numeric("minimum", x);
  return record("minimum", map("minimum", Elementwise::minimum, x, y), {&x, &y}, save(x, y),
                [](const Tensor& g, const Saved& s) -> Grads {
                  const Tensor shared = where(s[0] == s[1], g * 0.5, g);
                  return {masked_fill(shared, s[0] > s[1], 0), masked_fill(shared, s[1] > s[0], 0)};
                });
}

Tensor maximum(const Tensor& x, const Tensor& y) {
  detail::check_numeric("maximum", x);
  return record("maximum", map("maximum", Elementwise::maximum, x, y), {&x, &y}, save(x, y),
                [](const Tensor& g, const Saved& s) -> Grads {
                  const Tensor shared = where(s[0] == s[1], g * 0.5, g);
                  return {masked_fill(shared, s[0] < s[1], 0), masked_fill(shared, s[1] < s[0], 0)};
                });
}

namespace {
// A bound as the dtype can hold it: an integer beyond the dtype's range bounds nothing, and so does one not given.
Scalar bound(const Tensor& x, std::optional<Scalar> value, bool upper) {
  using Double = std::numeric_limits<double>;
  using Int64 = std::numeric_limits<int64_t>;
  if (value) detail::check_scalar("clamp", x, *value);
  if (is_floating(x.dtype())) return value.value_or(upper ? Double::infinity() : -Double::infinity());
  const int64_t wanted = value.value_or(upper ? Int64::max() : Int64::min()).to<int64_t>();
  switch (x.dtype()) {
    case uint8: return std::clamp<int64_t>(wanted, 0, std::numeric_limits<uint8_t>::max());
    case int32:
      return std::clamp<int64_t>(wanted, std::numeric_limits<int32_t>::min(), std::numeric_limits<int32_t>::max());
    default: return wanted;
  }
}
}  // namespace

// The gradient passes where low <= x <= high.
Tensor clamp(const Tensor& x, std::optional<Scalar> low, std::optional<Scalar> high) {
  detail::check_numeric("clamp", x);
  GRADUS_CHECK(low || high, ValueError, "clamp: neither low nor high is given");
  const Scalar a = bound(x, low, false), b = bound(x, high, true);
  return record(
      "clamp", map(Elementwise::clamp, x, {a, b}), {&x}, save(x),
      [a, b](const Tensor& g, const Saved& s) -> Grads { return {where(logical_and(s[0] >= a, s[0] <= b), g, 0)}; });
}

Tensor lerp(const Tensor& start, const Tensor& end, double weight) {
  detail::check_floating("lerp", start);
  return record("lerp", map("lerp", Elementwise::lerp, start, end, {weight, 0}), {&start, &end}, save(),
                [weight](const Tensor& g, const Saved&) -> Grads {
                  return {g * (1 - weight), g * weight};
                });
}

}  // namespace gradus
