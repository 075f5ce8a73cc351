// Sums and what is made of them: sum, mean, prod, var, stddev, any, all, norm, logsumexp, sum_to. The extremes are in
// extreme.cpp.
#include <algorithm>
#include <cmath>
#include <limits>

#include <gradus/autograd/detail/elementwise.h>
#include <gradus/autograd/detail/reduction.h>

namespace gradus {

using detail::accumulator, detail::plan_reduction, detail::reduced, detail::ReducedDims, detail::spread;

namespace {

void sum_kernel(Device device, Tensor& y, const Tensor& x) { kernels::reduce_sum(device, y, x); }
void prod_kernel(Device device, Tensor& y, const Tensor& x) { kernels::reduce_prod(device, y, x); }
void any_kernel(Device device, Tensor& y, const Tensor& x) { kernels::reduce_any(device, y, x); }
void all_kernel(Device device, Tensor& y, const Tensor& x) { kernels::reduce_all(device, y, x); }

// The sum over the plan's dims divided by a number; rounded once.
Tensor scaled_sum(const Tensor& x, const ReducedDims& plan, double divisor, Dtype dtype) {
  Tensor y = reduced(sum_kernel, x, plan, accumulator(x.dtype()));
  const Tensor* inputs[] = {&y};
  kernels::elementwise(y.device(), Elementwise::div_scalar, y, inputs, {divisor, 0});
  return y.to(dtype);
}

double degrees_of_freedom(const ReducedDims& plan, int64_t correction) {
  return static_cast<double>(std::max<int64_t>(0, plan.count - correction));
}

// g / y, and 0 where y is 0, for derivatives of every order.
Tensor divide_or_zero(const Tensor& g, const Tensor& y) {
  const Tensor inside = y != 0;
  return where(inside, g / where(inside, y, 1.0), 0.0);
}

}  // namespace

// ---- sums
Tensor sum(const Tensor& x, Dims dims, bool keep) {
  const ReducedDims plan = plan_reduction("sum", x, dims, keep);
  Tensor y = reduced(sum_kernel, x, plan, is_floating(x.dtype()) ? x.dtype() : int64);
  return record("sum", std::move(y), {&x}, save(),
                [kept = plan.kept](const Tensor& g, const Saved& s) -> Grads { return {spread(g, kept, s.shape(0))}; });
}

Tensor mean(const Tensor& x, Dims dims, bool keep) {
  detail::check_floating("mean", x);
  const ReducedDims plan = plan_reduction("mean", x, dims, keep);
  const double count = static_cast<double>(plan.count);
  return record("mean", scaled_sum(x, plan, count, x.dtype()), {&x}, save(),
                [count, kept = plan.kept](const Tensor& g, const Saved& s) -> Grads {
                  return {spread(g / count, kept, s.shape(0))};
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

// ---- products
namespace {

// For v [rows, n] the product of all other elements of the row: pairs are multiplied, the products of the other pairs
// found, and each partner multiplied in. No division, so zeros are no special case, for derivatives of any order.
Tensor product_of_others(const Tensor& v) {
  const int64_t n = v.size(1);
  if (n <= 1) return ones_like(v);
  if (n % 2) return product_of_others(cat({v, ones_like(v.narrow(1, 0, 1))}, 1)).narrow(1, 0, n);
  const Tensor left = v.slice(1, 0, {}, 2), right = v.slice(1, 1, {}, 2);
  const Tensor others = product_of_others(left * right);
  return stack({others * right, others * left}, 2).reshape(v.shape());
}

}  // namespace

Tensor prod(const Tensor& x, Dims dims, bool keep) {
  const ReducedDims plan = plan_reduction("prod", x, dims, keep);
  Tensor y = reduced(prod_kernel, x, plan, is_floating(x.dtype()) ? x.dtype() : int64);
  return record("prod", std::move(y), {&x}, save(x), [plan](const Tensor& g, const Saved& s) -> Grads {
    const Tensor in = s[0];
    Shape order, back = in.shape();  // the kept dims, then the reduced ones
    for (const bool reduced : {false, true})
      for (int d = 0; d < in.rank(); ++d)
        if (plan.reduced[static_cast<size_t>(d)] == reduced) {
          back[d] = order.rank();
          order.push_back(d);
        }
    const Tensor last = in.permute(order);
    const int64_t rows = plan.kept.numel();
    const Tensor others = product_of_others(last.reshape({rows, plan.count}));
    return {others.reshape(last.shape()).permute(back) * spread(g, plan.kept, in.shape())};
  });
}

// ---- variance
namespace {

// sum (x - mean)^2 / (n - correction) in the accumulator's precision, unrecorded.
Tensor variance(const Tensor& x, const ReducedDims& plan, int64_t correction) {
  const NoGrad no_graph;
  const Dtype wide = accumulator(x.dtype());
  const Tensor average = scaled_sum(x, plan, static_cast<double>(plan.count), wide);
  const Tensor centred = x.detach().to(wide) - spread(average, plan.kept, x.shape());
  return scaled_sum(centred.mul_(centred), plan, degrees_of_freedom(plan, correction), wide);
}

}  // namespace

Tensor var(const Tensor& x, Dims dims, int64_t correction, bool keep) {
  detail::check_floating("var", x);
  const ReducedDims plan = plan_reduction("var", x, dims, keep);
  Tensor y = variance(x, plan, correction).to(x.dtype());
  return record("var", std::move(y), {&x}, save(x), [plan, correction](const Tensor& g, const Saved& s) -> Grads {
    const Tensor centred = s[0] - mean(s[0], plan.dims, keepdim);
    return {centred * spread(g * (2 / degrees_of_freedom(plan, correction)), plan.kept, centred.shape())};
  });
}

// Where the deviation is 0 its derivative is taken as 0.
Tensor stddev(const Tensor& x, Dims dims, int64_t correction, bool keep) {
  detail::check_floating("stddev", x);
  const ReducedDims plan = plan_reduction("stddev", x, dims, keep);
  Tensor y;
  {
    const NoGrad no_graph;
    y = sqrt(variance(x, plan, correction)).to(x.dtype());
  }
  return record("stddev", y, {&x}, save(x, y), [plan, correction](const Tensor& g, const Saved& s) -> Grads {
    const Tensor centred = s[0] - mean(s[0], plan.dims, keepdim);
    const Tensor scale = divide_or_zero(g, s[1]) / degrees_of_freedom(plan, correction);
    return {centred * spread(scale, plan.kept, centred.shape())};
  });
}

// ---- norms
namespace {

// The p-norm in the accumulator's precision, unrecorded.
Tensor norm_value(const Tensor& x, double p, const Dims& dims, bool keep) {
  const NoGrad no_graph;
  const Tensor wide = x.detach().to(accumulator(x.dtype()));
  if (p == 0) return sum((wide != 0).to(wide.dtype()), dims, keep);
  if (p == 1) return sum(abs(wide), dims, keep);
  if (p == 2) return sqrt(sum(square(wide), dims, keep));
  if (std::isinf(p)) return detail::extreme("norm", p > 0, abs(wide), plan_reduction("norm", x, dims, keep));
  return pow(sum(pow(abs(wide), p), dims, keep), 1 / p);
}

// d norm / dx for g and y of the kept shape; 0 where x or the norm is 0.
Tensor norm_derivative(const Tensor& g, const Tensor& x, const Tensor& y, double p, const Shape& dims) {
  if (p == 0) return zeros_like(x);
  if (p == 1) return g * sign(x);
  if (p == 2) return divide_or_zero(g, y) * x;
  if (std::isinf(p)) {
    const Tensor ties = (abs(x) == y).to(x.dtype());
    return g / sum(ties, dims, keepdim) * ties * sign(x);
  }
  const Tensor inside = x != 0;
  const Tensor ratio = where(inside, abs(x) / where(y != 0, y, 1.0), 1.0);
  return where(inside, g * sign(x) * pow(ratio, p - 1), 0.0);
}

}  // namespace

Tensor norm(const Tensor& x, double p, Dims dims, bool keep) {
  detail::check_floating("norm", x);
  GRADUS_CHECK(!std::isnan(p), ValueError, "norm: p is NaN; want a number or an infinity");
  const ReducedDims plan = plan_reduction("norm", x, dims, keep);
  Tensor y = norm_value(x, p, dims, keep).to(x.dtype());
  return record("norm", y, {&x}, save(x, y), [plan, p](const Tensor& g, const Saved& s) -> Grads {
    return {norm_derivative(g.reshape(plan.kept), s[0], s[1].reshape(plan.kept), p, plan.dims)};
  });
}

// log sum exp(x - m) + m, with the largest m so that nothing overflows.
Tensor logsumexp(const Tensor& x, Dims dims, bool keep) {
  detail::check_floating("logsumexp", x);
  const ReducedDims plan = plan_reduction("logsumexp", x, dims, keep);
  Tensor y;
  if (plan.count == 0) {
    y = full(plan.out, -std::numeric_limits<double>::infinity(), {.dtype = x.dtype(), .device = x.device()});
  } else {
    const NoGrad no_graph;
    const Tensor wide = x.detach().to(accumulator(x.dtype()));
    const Tensor largest = detail::extreme("logsumexp", true, wide, plan).reshape(plan.kept);
    const Tensor m = where(isfinite(largest), largest, 0.0);
    y = (log(sum(exp(wide - m), plan.dims, keepdim)) + m).to(x.dtype()).reshape(plan.out);
  }
  return record("logsumexp", y, {&x}, save(x, y), [plan](const Tensor& g, const Saved& s) -> Grads {
    const Tensor finite = where(s[1] == -std::numeric_limits<double>::infinity(), zeros_like(s[1]), s[1]);
    return {spread(g, plan.kept, s[0].shape()) * exp(s[0] - finite.reshape(plan.kept))};
  });
}

// ---- logic
Tensor any(const Tensor& x, Dims dims, bool keep) {
  return reduced(any_kernel, x, plan_reduction("any", x, dims, keep), boolean);
}

Tensor all(const Tensor& x, Dims dims, bool keep) {
  return reduced(all_kernel, x, plan_reduction("all", x, dims, keep), boolean);
}

}  // namespace gradus
