// Sums and what is made of them: sum, mean, prod, var, stddev, any, all, norm, logsumexp, sum_to. The extremes are in
// extreme.cpp.
#include <gradus/autograd/detail/reduction.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include <gradus/core/detail/check.h>
#include <gradus/core/kernels.h>

namespace gradus {

using detail::accumulator, detail::plan_reduction, detail::reduced, detail::ReducedDims, detail::spread;

namespace {

void check_floating(const char* op, const Tensor& x) {
  detail::check_defined(op, "x", x);
  GRADUS_CHECK(is_floating(x.dtype()), DtypeError, "{}: x is {}; convert it with x.to(float32)", op, x.dtype());
}

void sum_kernel(Device device, Tensor& y, const Tensor& x) { kernels::reduce_sum(device, y, x); }
void any_kernel(Device device, Tensor& y, const Tensor& x) { kernels::reduce_any(device, y, x); }
void all_kernel(Device device, Tensor& y, const Tensor& x) { kernels::reduce_all(device, y, x); }

// The sum over the plan's dims divided by a number; rounded to x's dtype once.
Tensor scaled_sum(const Tensor& x, const ReducedDims& plan, double divisor, Dtype dtype) {
  Tensor y = reduced(sum_kernel, x, plan, accumulator(x.dtype()));
  const Tensor* inputs[] = {&y};
  kernels::elementwise(y.device(), Elementwise::div_scalar, y, inputs, {divisor, 0});
  if (y.dtype() == dtype) return y;
  Tensor rounded = empty(y.shape(), {.dtype = dtype, .device = y.device()});
  kernels::copy(y.device(), rounded, y);
  return rounded;
}

}  // namespace

// ---- sums
Tensor sum(const Tensor& x, Dims dims, bool keep) {
  const ReducedDims plan = plan_reduction("sum", x, dims, keep);
  Tensor y = reduced(sum_kernel, x, plan, is_floating(x.dtype()) ? x.dtype() : int64);
  return record("sum", std::move(y), {&x}, save(),
                [kept = plan.kept, shape = x.shape()](const Tensor& g, const Saved&) -> Grads {
                  return {spread(g, kept, shape)};
                });
}

Tensor mean(const Tensor& x, Dims dims, bool keep) {
  check_floating("mean", x);
  const ReducedDims plan = plan_reduction("mean", x, dims, keep);
  const double count = static_cast<double>(plan.count);
  return record("mean", scaled_sum(x, plan, count, x.dtype()), {&x}, save(),
                [count, kept = plan.kept, shape = x.shape()](const Tensor& g, const Saved&) -> Grads {
                  return {spread(g / count, kept, shape)};
                });
}

Tensor sum_to(const Tensor& x, const Shape& shape) {
  detail::check_defined("sum_to", "x", x);
  if (x.shape() == shape) return x;
  const int lead = x.rank() - shape.rank();
  GRADUS_CHECK(lead >= 0, ShapeError, "sum_to: {} to {}: the rank cannot grow; use expand", x.shape(), shape);
  Shape dims;
  for (int d = 0; d < x.rank(); ++d) {
    const int64_t have = x.shape()[d], want = d < lead ? 1 : shape[d - lead];
    GRADUS_CHECK(have == want || want == 1, ShapeError, "sum_to: {} to {}: size {} at dim {} cannot become {}",
                 x.shape(), shape, have, d, want);
    if (have != want) dims.push_back(d);
  }
  return (dims.empty() ? x : sum(x, dims, keepdim)).reshape(shape);
}

// ---- logic
Tensor any(const Tensor& x, Dims dims, bool keep) {
  return reduced(any_kernel, x, plan_reduction("any", x, dims, keep), boolean);
}

Tensor all(const Tensor& x, Dims dims, bool keep) {
  return reduced(all_kernel, x, plan_reduction("all", x, dims, keep), boolean);
}

}  // namespace gradus
