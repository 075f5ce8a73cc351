// Largest and smallest elements: their values, their positions, and where their gradients go.
#include <gradus/autograd/detail/reduction.h>
#include <gradus/core/detail/check.h>
#include <gradus/core/kernels.h>

namespace gradus {

using detail::plan_reduction, detail::ReducedDims, detail::spread;

Tensor detail::extreme(const char* op, bool largest, const Tensor& x, const ReducedDims& plan) {
  GRADUS_CHECK(plan.count > 0 || plan.out.numel() == 0, ShapeError,
               "{}: x {} has no elements along dims {}, and so no {} one", op, x.shape(), plan.dims,
               largest ? "largest" : "smallest");
  const auto max_kernel = [](Device device, Tensor& y, const Tensor& in) {
    Tensor no_index;
    kernels::reduce_max(device, y, no_index, in);
  };
  const auto min_kernel = [](Device device, Tensor& y, const Tensor& in) {
    Tensor no_index;
    kernels::reduce_min(device, y, no_index, in);
  };
  return largest ? reduced(max_kernel, x, plan, x.dtype()) : reduced(min_kernel, x, plan, x.dtype());
}

namespace {

// Over all elements. Equal extremes share the gradient evenly, as in PyTorch.
Tensor extreme_of_all(const char* op, bool largest, const Tensor& x) {
  const ReducedDims plan = plan_reduction(op, x, {}, false);
  Tensor y = detail::extreme(op, largest, x, plan);
  return record(op, y, {&x}, save(x, y), [](const Tensor& g, const Saved& s) -> Grads {
    const Tensor in = s[0].detach(), best = s[1].detach();
    const Tensor ties = logical_or(in == best, logical_and(isnan(in), isnan(best))).to(g.dtype());
    return {ties * (g / sum(ties))};
  });
}

struct Extremes {
  Tensor values, index;
};

// Values and first positions along a dim, unrecorded; of the shape without the dim, or with size 1.
Extremes first_extremes(const char* op, bool largest, const Tensor& x, int64_t dim, bool keep) {
  const ReducedDims plan = plan_reduction(op, x, dim, keep);
  GRADUS_CHECK(plan.count > 0 || plan.out.numel() == 0, ShapeError, "{}: x {} has no elements along dim {}", op,
               x.shape(), dim);
  int64_t outer = 1, inner = 1;
  for (int64_t d = 0; d < x.rank(); ++d)
    if (d != dim) (d < dim ? outer : inner) *= x.shape()[d];
  Tensor values = empty(plan.out, {.dtype = x.dtype(), .device = x.device()});
  Tensor index = empty(plan.out, {.dtype = int64, .device = x.device()});
  const auto& kernel = largest ? kernels::reduce_max : kernels::reduce_min;
  kernel(x.device(), values, index, reshaped(dense(x), {outer, plan.count, inner}));
  return {std::move(values), std::move(index)};
}

std::pair<Tensor, Tensor> extreme_along(const char* op, bool largest, const Tensor& x, int64_t dim, bool keep) {
  detail::check_defined(op, "x", x);
  dim = wrap_dim(op, dim, x.rank());
  if (x.rank() == 0) {
    const auto [value, index] = extreme_along(op, largest, x.reshape({1}), 0, false);
    return {value, index};
  }
  const auto [values, index] = first_extremes(op, largest, x, dim, keep);
  Tensor y = record(op, values, {&x}, save(index), [dim, keep](const Tensor& g, const Saved& s) -> Grads {
    const Tensor zero = zeros(s.shape(0), {.dtype = g.dtype(), .device = g.device()});
    return {keep ? scatter_add(zero, dim, s[0], g) : scatter_add(zero, dim, s[0].unsqueeze(dim), g.unsqueeze(dim))};
  });
  return {std::move(y), index};
}

Tensor position(const char* op, bool largest, const Tensor& x, std::optional<int64_t> dim, bool keep) {
  detail::check_defined(op, "x", x);
  if (dim && x.rank() > 0) return first_extremes(op, largest, x, wrap_dim(op, *dim, x.rank()), keep).index;
  if (dim) wrap_dim(op, *dim, 0);
  const ReducedDims all = plan_reduction(op, x, {}, keep);
  return reshaped(first_extremes(op, largest, reshaped(dense(x), {x.numel()}), 0, false).index, all.out);
}

}  // namespace

Tensor max(const Tensor& x) { return extreme_of_all("max", true, x); }
Tensor min(const Tensor& x) { return extreme_of_all("min", false, x); }
std::pair<Tensor, Tensor> max(const Tensor& x, int64_t dim, bool keep) {
  return extreme_along("max", true, x, dim, keep);
}
std::pair<Tensor, Tensor> min(const Tensor& x, int64_t dim, bool keep) {
  return extreme_along("min", false, x, dim, keep);
}
Tensor argmax(const Tensor& x, std::optional<int64_t> dim, bool keep) { return position("argmax", true, x, dim, keep); }
Tensor argmin(const Tensor& x, std::optional<int64_t> dim, bool keep) {
  return position("argmin", false, x, dim, keep);
}

}  // namespace gradus
