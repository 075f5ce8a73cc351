// Reading and adding along one dim by indices: index_select, index_add, gather, scatter_add, embedding, one_hot. The
// brackets of NumPy, which are made of these, are in index.cpp.
#include <gradus/autograd/detail/indexing.h>

namespace gradus {

using detail::check_defined, detail::checked_indices, detail::index_add_to_zeros, detail::scatter_add_to_zeros;

// ---- checks
namespace {

// The coordinates of flat position i.
Shape coordinates(const Shape& shape, int64_t i) {
  Shape at = shape;
  for (int d = shape.rank(); d-- > 0;) {
    at[d] = i % shape[d];
    i /= shape[d];
  }
  return at;
}

int64_t indexed_dim(const char* op, const Tensor& x, int64_t dim) {
  check_defined(op, "x", x);
  GRADUS_CHECK(x.rank() > 0, IndexError, "{}: x of rank 0 has no dim to index; use x.reshape({{1}})", op);
  return wrap_dim(op, dim, x.rank());
}

Tensor checked_along(const char* op, const Tensor& index, const Tensor& x, int64_t dim) {
  check_defined(op, "index", index);
  return checked_indices(op, "index", index, 0, x.shape()[dim], x.device(),
                         fmt::format("the size of dim {} of x {}", dim, x.shape()));
}

void check_addable(const char* op, const Tensor& x, const Tensor& source) {
  check_defined(op, "source", source);
  detail::check_same(op, x, source);
  GRADUS_CHECK(x.dtype() != boolean, DtypeError, "{}: boolean has no sum; convert x with x.to(int64)", op);
}

// x seen as [outer, n, inner] around dim; unrecorded.
Tensor around(const Tensor& x, int64_t dim) {
  int64_t outer = 1, inner = 1;
  for (int64_t d = 0; d < x.rank(); ++d)
    if (d != dim) (d < dim ? outer : inner) *= x.shape()[d];
  return reshaped(dense(x), {outer, x.shape()[dim], inner});
}

Shape with_size(Shape shape, int64_t dim, int64_t size) {
  shape[dim] = size;
  return shape;
}

Tensor fresh_copy(const Tensor& x) {
  const NoGrad no_graph;
  return x.clone();
}

}  // namespace

Tensor detail::checked_indices(const char* op, const char* argument, const Tensor& index, int64_t low, int64_t size,
                               Device device, const std::string& what) {
  check_defined(op, argument, index);
  GRADUS_CHECK(index.dtype() == int64 || index.dtype() == int32, DtypeError,
               "{}: {} is {}; want int64 or int32 (a mask must be boolean: convert with to(boolean))", op, argument,
               index.dtype());
  GRADUS_CHECK(index.device() == device, DeviceError, "{}: {} is on {}, x on {}; move one with to(device)", op,
               argument, index.device(), device);
  Tensor checked = dense(index.to(int64));
  const int64_t bad = kernels::check_indices(device, checked, {op, argument, low, size});
  GRADUS_CHECK(bad < 0, IndexError, "{}: {}{} is {}; want {} to {}, below {}", op, argument,
               coordinates(index.shape(), bad), reshaped(checked, {checked.numel()})[bad].item<int64_t>(), low,
               size - 1, what);
  return checked;
}

// ---- whole slices
Tensor index_select(const Tensor& x, int64_t dim, const Tensor& index) {
  dim = indexed_dim("index_select", x, dim);
  const Tensor at = checked_along("index_select", index, x, dim);
  GRADUS_CHECK(at.rank() <= 1, ShapeError, "index_select: index is {}; want a vector (gather and index take more dims)",
               at.shape());
  const int64_t n = x.shape()[dim];
  Tensor y = empty(with_size(x.shape(), dim, at.numel()), {.dtype = x.dtype(), .device = x.device()});
  Tensor out = around(y, dim);
  kernels::index_select(x.device(), out, around(x, dim), at);
  return record("index_select", std::move(y), {&x}, save(at),
                [dim, n](const Tensor& g, const Saved& s) -> Grads { return {index_add_to_zeros(g, dim, s[0], n)}; });
}

Tensor detail::index_add_to_zeros(const Tensor& source, int64_t dim, const Tensor& index, int64_t n) {
  Tensor y = zeros(with_size(source.shape(), dim, n), {.dtype = source.dtype(), .device = source.device()});
  Tensor out = around(y, dim);
  kernels::index_add(y.device(), out, index, around(source, dim));
  return record("index_add", std::move(y), {&source}, save(index),
                [dim](const Tensor& g, const Saved& s) -> Grads { return {index_select(g, dim, s[0])}; });
}

Tensor index_add(const Tensor& x, int64_t dim, const Tensor& index, const Tensor& source) {
  dim = indexed_dim("index_add", x, dim);
  check_addable("index_add", x, source);
  const Tensor at = checked_along("index_add", index, x, dim);
  GRADUS_CHECK(at.rank() <= 1, ShapeError, "index_add: index is {}; want a vector (scatter_add takes more dims)",
               at.shape());
  const Shape wanted = with_size(x.shape(), dim, at.numel());
  GRADUS_CHECK(source.shape() == wanted, ShapeError,
               "index_add: source is {}; want {} for {} indices along dim {} of {}", source.shape(), wanted, at.numel(),
               dim, x.shape());
  Tensor y = fresh_copy(x), out = around(y, dim);
  kernels::index_add(y.device(), out, at, around(source, dim));
  return record("index_add", std::move(y), {&x, &source}, save(at), [dim](const Tensor& g, const Saved& s) -> Grads {
    return {g, s.needs(1) ? index_select(g, dim, s[0]) : Tensor()};
  });
}

// ---- single elements
namespace {

// x where index can reach: no longer than index in the dims that are not indexed. A view, recorded.
Tensor reachable(const char* op, const char* argument, Tensor x, const Tensor& index, int64_t dim) {
  GRADUS_CHECK(index.rank() == x.rank(), ShapeError, "{}: index is {} and {} is {}; want the same rank", op,
               index.shape(), argument, x.shape());
  for (int64_t d = 0; d < x.rank(); ++d) {
    if (d == dim || index.shape()[d] == x.shape()[d]) continue;
    GRADUS_CHECK(index.shape()[d] < x.shape()[d], ShapeError,
                 "{}: index is {} and {} is {}: index is the longer at dim {}; use expand or narrow", op, index.shape(),
                 argument, x.shape(), d);
    x = x.narrow(d, 0, index.shape()[d]);
  }
  return x;
}

// y += source at index; y may be larger than index in any dim.
void scatter_into(const Tensor& y, int64_t dim, const Tensor& index, const Tensor& source) {
  const NoGrad no_graph;
  const Tensor window = reachable("scatter_add", "x", y, index, dim);
  Tensor target = dense(window);
  kernels::scatter_add(y.device(), target, index, dense(source), dim);
  if (!target.is(window)) window.copy_(target);
}

}  // namespace

Tensor gather(const Tensor& x, int64_t dim, const Tensor& index) {
  dim = indexed_dim("gather", x, dim);
  const Tensor at = checked_along("gather", index, x, dim);
  const Tensor from = reachable("gather", "x", x.detach(), at, dim);
  Tensor y = empty(at.shape(), {.dtype = x.dtype(), .device = x.device()});
  kernels::gather(x.device(), y, dense(from), at, dim);
  return record("gather", std::move(y), {&x}, save(at), [dim](const Tensor& g, const Saved& s) -> Grads {
    return {scatter_add_to_zeros(s.shape(0), dim, s[0], g)};
  });
}

Tensor detail::scatter_add_to_zeros(const Shape& shape, int64_t dim, const Tensor& index, const Tensor& source) {
  Tensor y = zeros(shape, {.dtype = source.dtype(), .device = source.device()});
  scatter_into(y, dim, index, source.detach());
  return record("scatter_add", std::move(y), {&source}, save(index),
                [dim](const Tensor& g, const Saved& s) -> Grads { return {gather(g, dim, s[0])}; });
}

Tensor scatter_add(const Tensor& x, int64_t dim, const Tensor& index, const Tensor& source) {
  dim = indexed_dim("scatter_add", x, dim);
  check_addable("scatter_add", x, source);
  const Tensor at = checked_along("scatter_add", index, x, dim);
  reachable("scatter_add", "x", x.detach(), at, dim);
  const Tensor used = reachable("scatter_add", "source", source, at, -1);
  Tensor y = fresh_copy(x);
  scatter_into(y, dim, at, used.detach());
  return record("scatter_add", std::move(y), {&x, &used}, save(at), [dim](const Tensor& g, const Saved& s) -> Grads {
    return {g, s.needs(1) ? gather(g, dim, s[0]) : Tensor()};
  });
}

// ---- tables
Tensor one_hot(const Tensor& index, int64_t num_classes) {
  check_defined("one_hot", "index", index);
  GRADUS_CHECK(num_classes > 0, ValueError, "one_hot: num_classes is {}; want 1 or more", num_classes);
  const Tensor at = checked_indices("one_hot", "index", index, 0, num_classes, index.device(), "num_classes");
  return (at.unsqueeze(-1) == arange(num_classes, {.device = index.device()})).to(int64);
}

Tensor embedding(const Tensor& index, const Tensor& weight, std::optional<int64_t> padding_idx) {
  check_defined("embedding", "weight", weight);
  GRADUS_CHECK(weight.rank() == 2, ShapeError, "embedding: weight is {}; want [entries, features]", weight.shape());
  const int64_t entries = weight.size(0), features = weight.size(1);
  const int64_t padding = padding_idx && *padding_idx < 0 ? *padding_idx + entries : padding_idx.value_or(-1);
  GRADUS_CHECK(!padding_idx || (padding >= 0 && padding < entries), IndexError,
               "embedding: padding_idx is {}; want {} to {} for weight {}", *padding_idx, -entries, entries - 1,
               weight.shape());
  const Tensor at = checked_indices("embedding", "index", index, 0, entries, weight.device(),
                                    fmt::format("the entries of weight {}", weight.shape()));
  Shape shape = at.shape();
  shape.push_back(features);
  Tensor y = empty(shape, {.dtype = weight.dtype(), .device = weight.device()});
  const Tensor flat = reshaped(at, {at.numel()});
  Tensor out = reshaped(y, {1, at.numel(), features});
  kernels::index_select(y.device(), out, reshaped(dense(weight), {1, entries, features}), flat);
  return record("embedding", std::move(y), {&weight}, save(flat),
                [entries, features, padding](const Tensor& g, const Saved& s) -> Grads {
                  Tensor rows = g.reshape({s[0].numel(), features});
                  if (padding >= 0) rows = masked_fill(rows, (s[0] == padding).unsqueeze(1), 0);
                  return {index_add_to_zeros(rows, 0, s[0], entries)};
                });
}

}  // namespace gradus
