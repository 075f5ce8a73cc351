// Comparison and logic: boolean results, no gradients.
#include <cstring>

#include <gradus/autograd/detail/elementwise.h>

namespace gradus {
namespace {

Tensor compare(const char* op, Elementwise f, const Tensor& x, const Tensor& y) {
  detail::check_defined(op, "x", x);
  return detail::map(op, f, x, y, {}, boolean);
}

// y as the tensor's dtype has it: 0.1 becomes the float16 next to 0.1, so that equal means equal.
Scalar rounded(Scalar y, Dtype dtype) {
  if (dtype == float16) return static_cast<float>(y.to<f16>());
  if (dtype == bfloat16) return static_cast<float>(y.to<bf16>());
  return y;
}

Tensor map_to_boolean(Elementwise f, const Tensor& x, const Params& params = {}) {
  Tensor y = empty(x.shape(), {.dtype = boolean, .device = x.device()});
  const Tensor* inputs[] = {&x};
  kernels::elementwise(x.device(), f, y, inputs, params);
  return y;
}

Tensor compare(const char* op, Elementwise f, const Tensor& x, Scalar y) {
  detail::check_defined(op, "x", x);
  detail::check_scalar(op, x, y);
  detail::check_fits(op, x.dtype(), y);
  return map_to_boolean(f, x, {rounded(y, x.dtype()), 0});
}

void check_boolean(const char* op, const Tensor& x) {
  detail::check_defined(op, "x", x);
  GRADUS_CHECK(x.dtype() == boolean, DtypeError, "{}: want boolean, got {}; compare first, as in x != 0", op,
               x.dtype());
}

Tensor logical(const char* op, Elementwise f, const Tensor& x, const Tensor& y) {
  check_boolean(op, x);
  return detail::map(op, f, x, y);
}

// Integers are always finite and never NaN.
Tensor classify(const char* op, Elementwise f, const Tensor& x, bool integers) {
  detail::check_defined(op, "x", x);
  if (!is_floating(x.dtype())) return full(x.shape(), integers, {.dtype = boolean, .device = x.device()});
  return map_to_boolean(f, x);
}

bool all_true(const Tensor& mask) {
  const Tensor host = dense(mask.to(Device::cpu()));
  return host.numel() == 0 || !std::memchr(host.raw_data(), 0, static_cast<size_t>(host.numel()));
}

}  // namespace

#define GRADUS_DEFINE_COMPARISON(name)                                                              \
  Tensor name(const Tensor& x, const Tensor& y) { return compare(#name, Elementwise::name, x, y); } \
  Tensor name(const Tensor& x, Scalar y) { return compare(#name, Elementwise::name##_scalar, x, y); }
GRADUS_DEFINE_COMPARISON(eq)
GRADUS_DEFINE_COMPARISON(ne)
GRADUS_DEFINE_COMPARISON(lt)
GRADUS_DEFINE_COMPARISON(le)
GRADUS_DEFINE_COMPARISON(gt)
GRADUS_DEFINE_COMPARISON(ge)
#undef GRADUS_DEFINE_COMPARISON

Tensor logical_and(const Tensor& x, const Tensor& y) { return logical("logical_and", Elementwise::logical_and, x, y); }
Tensor logical_or(const Tensor& x, const Tensor& y) { return logical("logical_or", Elementwise::logical_or, x, y); }
Tensor logical_xor(const Tensor& x, const Tensor& y) { return logical("logical_xor", Elementwise::logical_xor, x, y); }
Tensor logical_not(const Tensor& x) {
  check_boolean("logical_not", x);
  return detail::map(Elementwise::logical_not, x);
}

Tensor isnan(const Tensor& x) { return classify("isnan", Elementwise::isnan, x, false); }
Tensor isinf(const Tensor& x) { return classify("isinf", Elementwise::isinf, x, false); }
Tensor isfinite(const Tensor& x) { return classify("isfinite", Elementwise::isfinite, x, true); }

bool equal(const Tensor& x, const Tensor& y) {
  detail::check_defined("equal", "x", x);
  detail::check_defined("equal", "y", y);
  return x.dtype() == y.dtype() && x.shape() == y.shape() && all_true(x == y);
}

// In float64, so that the tolerance itself is exact; equal infinities are close.
bool allclose(const Tensor& x, const Tensor& y, double rtol, double atol) {
  detail::check_defined("allclose", "x", x);
  detail::check_defined("allclose", "y", y);
  detail::check_same("allclose", x, y);
  const NoGrad no_graph;
  const Tensor a = x.to(float64), b = y.to(float64), distance = abs(a - b);
  return all_true(logical_or(a == b, logical_and(isfinite(distance), distance <= abs(b) * rtol + atol)));
}

}  // namespace gradus
