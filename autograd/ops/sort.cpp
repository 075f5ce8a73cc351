// What goes along a line: cumsum, sort, topk. Kernels work on rows, so other dims are brought last.
#include <gradus/autograd/detail/indexing.h>

namespace gradus {

Tensor cumsum(const Tensor& x, int64_t dim) {
  detail::check_defined("cumsum", "x", x);
  dim = wrap_dim("cumsum", dim, x.rank());
  Tensor y = empty(x.shape(), {.dtype = is_floating(x.dtype()) ? x.dtype() : int64, .device = x.device()});
  int64_t outer = 1, n = 1, inner = 1;
  for (int64_t d = 0; d < x.rank(); ++d) (d < dim ? outer : d == dim ? n : inner) *= x.shape()[d];
  Tensor out = reshaped(y, {outer, n, inner});
  kernels::cumsum(x.device(), out, reshaped(dense(x), {outer, n, inner}));
  return record("cumsum", std::move(y), {&x}, save(), [dim](const Tensor& g, const Saved&) -> Grads {
    return {g.rank() == 0 ? g : flip(cumsum(flip(g, {dim}), dim), {dim})};
  });
}

namespace {

using ValuesAndIndex = std::pair<Tensor, Tensor>;

// Runs a kernel that makes rows of k values with their positions from rows of n, along any dim. Each value's gradient
// goes back to the position that it came from.
template <class Kernel>
ValuesAndIndex ordered(const char* op, const Tensor& x, int64_t dim, int64_t k, Kernel kernel) {
  if (x.rank() == 0) {
    const auto [values, index] = ordered(op, x.reshape({1}), 0, k, kernel);
    return {values.reshape({}), index.reshape({})};
  }
  const int64_t n = x.shape()[dim], rows = n > 0 ? x.numel() / n : 0;
  Shape shape = x.shape();
  shape[dim] = k;
  std::swap(shape[dim], shape.back());  // as after transpose(dim, -1)
  Tensor values = empty(shape, {.dtype = x.dtype(), .device = x.device()});
  Tensor index = empty(shape, {.dtype = int64, .device = x.device()});
  Tensor value_rows = reshaped(values, {rows, k}), index_rows = reshaped(index, {rows, k});
  kernel(value_rows, index_rows, reshaped(dense(x.detach().transpose(dim, -1)), {rows, n}));
  values = dense(values.transpose(dim, -1));
  index = dense(index.transpose(dim, -1));
  Tensor y = record(op, std::move(values), {&x}, save(index), [dim](const Tensor& g, const Saved& s) -> Grads {
    return {detail::scatter_add_to_zeros(s.shape(0), dim, s[0], g)};
  });
  return {std::move(y), std::move(index)};
}

}  // namespace

ValuesAndIndex sort(const Tensor& x, int64_t dim, bool descending) {
  detail::check_defined("sort", "x", x);
  dim = wrap_dim("sort", dim, x.rank());
  const int64_t n = x.rank() ? x.shape()[dim] : 1;
  return ordered("sort", x, dim, n, [descending, device = x.device()](Tensor& values, Tensor& index, const Tensor& in) {
    kernels::sort(device, values, index, in, descending);
  });
}

ValuesAndIndex topk(const Tensor& x, int64_t k, int64_t dim, bool largest) {
  detail::check_defined("topk", "x", x);
  dim = wrap_dim("topk", dim, x.rank());
  const int64_t n = x.rank() ? x.shape()[dim] : 1;
  GRADUS_CHECK(k >= 0 && k <= n, ValueError, "topk: k is {}; want 0 to {}, the size of dim {} of x {}", k, n, dim,
               x.shape());
  return ordered("topk", x, dim, k, [largest, device = x.device()](Tensor& values, Tensor& index, const Tensor& in) {
    kernels::topk(device, values, index, in, largest);
  });
}

}  // namespace gradus
