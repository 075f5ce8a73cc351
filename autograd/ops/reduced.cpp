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
    if (gone) {
      plan.dims.push_back(d);
      plan.count *= x.shape()[d];
    }
    plan.kept.push_back(gone ? 1 : x.shape()[d]);
    if (keep || !gone) plan.out.push_back(plan.kept.back());
  }
  return plan;
}

namespace {

// The dims from the outermost in memory to the innermost, as alternating runs of kept and reduced ones.
struct Runs {
  struct Run {
    int64_t size;
    bool reduced;
  };
  std::array<Run, max_rank> list;
  size_t count = 0;

  void add(int64_t size, bool reduced) {
    if (size == 1) return;
    if (count > 0 && list[count - 1].reduced == reduced)
      list[count - 1].size *= size;
    else
      list[count++] = {size, reduced};
  }
};

// x as it lies in memory, its dims sorted by stride, when that has no gaps and leaves the kept dims in their order;
// else an undefined tensor. `order` is filled with the dims.
Tensor in_memory_order(const Tensor& x, const ReducedDims& plan, std::array<int, max_rank>& order) {
  std::stable_sort(order.begin(), order.begin() + x.rank(),
                   [&](int a, int b) { return x.strides()[a] > x.strides()[b]; });
  Shape shape, strides;
  int last_kept = -1;
  for (int i = 0; i < x.rank(); ++i) {
    const int d = order[static_cast<size_t>(i)];
    shape.push_back(x.shape()[d]);
    strides.push_back(x.strides()[d]);
    if (plan.reduced[static_cast<size_t>(d)]) continue;
    if (d < last_kept) return {};
    last_kept = d;
  }
  Tensor sorted = as_strided(x, shape, strides, x.impl().offset);
  return sorted.is_contiguous() ? sorted : Tensor();
}

// x's elements without gaps, copied only where they do not lie so already, and their dims.
Tensor arranged(const Tensor& x, const ReducedDims& plan, Runs& runs) {
  std::array<int, max_rank> order = {0, 1, 2, 3, 4, 5, 6, 7};
  static_assert(max_rank == 8);
  Tensor y = x;
  if (!x.is_contiguous()) {
    std::array<int, max_rank> sorted = order;
    if (y = in_memory_order(x, plan, sorted); y.defined())
      order = sorted;
    else
      y = dense(x);
  }
  for (size_t i = 0; i < x.shape().size(); ++i)
    runs.add(x.shape()[order[i]], plan.reduced[static_cast<size_t>(order[i])]);
  return y;
}

}  // namespace

// Run by run from the last, so that the first pass, over the most elements, reads memory in order.
Tensor detail::reduced(ReduceKernel kernel, const Tensor& x, const ReducedDims& plan, Dtype dtype) {
  const auto pass = [&](const Tensor& in, int64_t outer, int64_t n, int64_t inner, bool last) {
    Tensor y = last ? empty(plan.out, {.dtype = dtype, .device = x.device()})
                    : empty({outer, inner}, {.dtype = accumulator(dtype), .device = x.device()});
    kernel(x.device(), y, reshaped(in, {outer, n, inner}));
    return y;
  };
  if (x.numel() == 0) return pass(x, plan.out.numel(), 0, 1, true);
  if (plan.count == 1) return pass(dense(x), 1, 1, x.numel(), true);
  Runs runs;
  Tensor rest = arranged(x, plan, runs);
  int64_t outer = x.numel(), inner = 1;
  for (size_t i = runs.count; i-- > 0;) {
    const auto [size, gone] = runs.list[i];
    outer /= size;
    if (gone)
      rest = pass(rest, outer, size, inner, i < 2);  // runs alternate, so the last one to go is 0 or 1
    else
      inner *= size;
  }
  return rest;
}

}  // namespace gradus
