// Any dims of any layout brought to the [outer, n, inner] of the reduction kernels. The ops are in reduction.cpp and
// extreme.cpp.
#include <algorithm>

#include <gradus/autograd/detail/reduction.h>
#include <gradus/core/detail/check.h>

namespace gradus {

using detail::ReducedDims;

ReducedDims detail::plan_reduction(const char* op, const Tensor& x, const Dims& dims, bool keep) {
  check_defined(op, "x", x);
  ReducedDims plan;
  if (dims.all) std::fill_n(plan.reduced.begin(), x.rank(), true);
  for (const int64_t dim : dims.dims) {
    const int64_t d = wrap_dim(op, dim, x.rank());
    if (x.rank() == 0) continue;
    bool& flag = plan.reduced[static_cast<size_t>(d)];
    GRADUS_CHECK(!flag, ValueError, "{}: dim {} comes twice in dims {}; name each dim once", op, d, dims.dims);
    flag = true;
  }
  for (int d = 0; d < x.rank(); ++d) {
    const bool gone = plan.reduced[static_cast<size_t>(d)];
    if (gone) plan.count *= x.shape()[d];
    plan.kept.push_back(gone ? 1 : x.shape()[d]);
    if (keep || !gone) plan.out.push_back(plan.kept.back());
  }
  return plan;
}

namespace {

struct Run {
  int64_t size;
  bool reduced;
};

// x's elements in an order without gaps, as alternating runs of kept and reduced dims. A permuted tensor is taken as it
// lies in memory where the kept dims keep their order; any other layout is copied.
Tensor arranged(const Tensor& x, const ReducedDims& plan, std::vector<Run>& runs) {
  std::array<int, max_rank> order = {};
  for (int d = 0; d < x.rank(); ++d) order[static_cast<size_t>(d)] = d;
  Tensor dense_x = x;
  if (!x.is_contiguous()) {
    const auto by_stride = [&](int a, int b) { return x.strides()[a] > x.strides()[b]; };
    std::array<int, max_rank> permuted = order;
    std::stable_sort(permuted.begin(), permuted.begin() + x.rank(), by_stride);
    Shape shape, strides;
    int last_kept = -1;
    bool keeps_order = true;
    for (int i = 0; i < x.rank(); ++i) {
      const int d = permuted[static_cast<size_t>(i)];
      shape.push_back(x.shape()[d]);
      strides.push_back(x.strides()[d]);
      if (plan.reduced[static_cast<size_t>(d)]) continue;
      keeps_order = keeps_order && d > last_kept;
      last_kept = d;
    }
    if (keeps_order) dense_x = as_strided(x, shape, strides, x.impl().offset);
    if (dense_x.is_contiguous())
      order = permuted;
    else
      dense_x = dense(x);
  }
  for (int i = 0; i < x.rank(); ++i) {
    const int d = order[static_cast<size_t>(i)];
    const bool flag = plan.reduced[static_cast<size_t>(d)];
    if (x.shape()[d] == 1) continue;
    if (!runs.empty() && runs.back().reduced == flag)
      runs.back().size *= x.shape()[d];
    else
      runs.push_back({x.shape()[d], flag});
  }
  return dense_x;
}

}  // namespace

// Run by run from the last, so that the first pass, over the most elements, reads memory in order.
Tensor detail::reduced(ReduceKernel kernel, const Tensor& x, const ReducedDims& plan, Dtype dtype) {
  std::vector<Run> runs;
  Tensor rest = arranged(x, plan, runs);
  int64_t outer = x.numel(), inner = 1;
  if (outer == 0) {  // sizes of 0 do not divide: [kept, 0, 1] when a reduced dim is empty
    outer = plan.out.numel();
    runs = {{0, true}};
    rest = reshaped(rest, {outer, 0, 1});
  }
  auto left = std::count_if(runs.begin(), runs.end(), [](const Run& run) { return run.reduced; });
  if (left == 0) {
    Tensor y = empty(plan.out, {.dtype = dtype, .device = x.device()});
    Tensor flat = reshaped(y, {1, x.numel()});
    kernel(x.device(), flat, reshaped(rest, {1, 1, x.numel()}));
    return y;
  }
  for (; left > 0; runs.pop_back()) {
    const Run run = runs.back();
    if (!run.reduced) {
      inner *= run.size;
      outer /= run.size;
      continue;
    }
    if (run.size > 0) outer /= run.size;
    Tensor y = empty({outer, inner}, {.dtype = --left > 0 ? accumulator(dtype) : dtype, .device = x.device()});
    kernel(x.device(), y, reshaped(rest, {outer, run.size, inner}));
    rest = y;
  }
  return reshaped(rest, plan.out);
}

}  // namespace gradus
