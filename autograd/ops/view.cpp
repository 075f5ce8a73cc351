// Views: other windows on the same storage, each with the view that undoes it as derivative. And the copies that follow
// when no view can do it: reshape, contiguous, clone, casts.
#include <algorithm>

#include <gradus/autograd/ops.h>
#include <gradus/core/detail/check.h>
#include <gradus/core/kernels.h>

namespace gradus {
namespace {

Tensor window(const Tensor& x, const Shape& shape, const Shape& strides, int64_t shift = 0) {
  return Tensor(make_ref<TensorImpl>(x.impl().storage, x.impl().offset + shift, shape, strides, x.dtype()));
}

// Replaces one -1 by what is left, and checks that the element count stays.
Shape complete_shape(const char* op, const Tensor& x, const Shape& wanted) {
  Shape shape = wanted;
  int64_t known = 1, hole = -1;
  for (int d = 0; d < shape.rank(); ++d) {
    GRADUS_CHECK(shape[d] >= -1, ShapeError, "{}: size {} at dim {} of {}", op, shape[d], d, wanted);
    GRADUS_CHECK(shape[d] != -1 || hole < 0, ShapeError, "{}: more than one -1 in {}", op, wanted);
    if (shape[d] == -1)
      hole = d;
    else
      GRADUS_CHECK(!__builtin_mul_overflow(known, shape[d], &known), ShapeError, "{}: {} has too many elements", op,
                   wanted);
  }
  if (hole >= 0) {
    GRADUS_CHECK(known > 0 && x.numel() % known == 0, ShapeError, "{}: {} ({} elements) does not fit {}", op, x.shape(),
                 x.numel(), wanted);
    shape[hole] = x.numel() / known;
    known *= shape[hole];
  }
  GRADUS_CHECK(known == x.numel(), ShapeError, "{}: {} has {} elements, {} has {}", op, x.shape(), x.numel(), wanted,
               known);
  return shape;
}

// Strides for `shape` on x's storage, when the dims that merge or split lie densely; empty optional otherwise.
std::optional<Shape> view_strides(const Tensor& x, const Shape& shape) {
  if (x.is_contiguous()) return contiguous_strides(shape);
  if (x.numel() == 0) return contiguous_strides(shape);
  Shape strides = shape;
  int d = shape.rank() - 1;
  int64_t run = 1, base = x.rank() ? x.strides().back() : 1;  // elements in the dense run of x's dims, and its stride
  for (int s = x.rank(); s-- > 0;) {
    run *= x.shape()[s];
    const bool ends = s == 0 || (x.shape()[s - 1] != 1 && x.strides()[s - 1] != run * base);
    if (!ends) continue;
    int64_t filled = 1;
    while (d >= 0 && (filled < run || shape[d] == 1)) {
      strides[d] = filled * base;
      filled *= shape[d--];
    }
    if (filled != run) return {};
    if (s > 0) {
      base = x.strides()[s - 1];
      run = 1;
    }
  }
  if (d >= 0) return {};
  return strides;
}

// A contiguous copy, and its gradient as it is.
Tensor copied(const char* op, const Tensor& x) {
  Tensor y = empty(x.shape(), {.dtype = x.dtype(), .device = x.device()});
  kernels::copy(x.device(), y, x);
  return record(op, std::move(y), {&x}, save(), [](const Tensor& g, const Saved&) -> Grads { return {g}; });
}

}  // namespace

Tensor alias(const Tensor& x) {
  return record("alias", window(x, x.shape(), x.strides()), {&x}, save(),
                [](const Tensor& g, const Saved&) -> Grads { return {g}; });
}

Tensor Tensor::view(const Shape& wanted) const {
  const Shape shape = complete_shape("view", *this, wanted);
  Tensor y;
  if (is_contiguous()) {
    y = reshaped(*this, shape);
  } else {
    const std::optional<Shape> strides = view_strides(*this, shape);
    GRADUS_CHECK(strides, ShapeError, "view: {} with strides {} cannot be seen as {}; use reshape, which copies",
                 this->shape(), this->strides(), shape);
    y = window(*this, shape, *strides);
  }
  return record("view", std::move(y), {this}, save(),
                [](const Tensor& g, const Saved& s) -> Grads { return {g.reshape(s.shape(0))}; });
}

Tensor Tensor::reshape(const Shape& wanted) const {
  const Shape shape = complete_shape("reshape", *this, wanted);
  return view_strides(*this, shape) ? view(shape) : copied("reshape", *this).view(shape);
}

Tensor Tensor::contiguous() const { return is_contiguous() ? *this : copied("contiguous", *this); }
Tensor Tensor::clone() const { return copied("clone", *this); }

Tensor Tensor::flatten(int64_t start_dim, int64_t end_dim) const {
  const int64_t first = wrap_dim("flatten", start_dim, rank()), last = wrap_dim("flatten", end_dim, rank());
  GRADUS_CHECK(first <= last, IndexError, "flatten: start_dim {} is after end_dim {}", start_dim, end_dim);
  if (rank() == 0) return reshape({1});
  Shape merged;
  int64_t product = 1;
  for (int64_t d = 0; d < rank(); ++d) {
    if (d < first || d > last) {
      merged.push_back(size(d));
      continue;
    }
    product *= size(d);
    if (d == last) merged.push_back(product);
  }
  return reshape(merged);
}

Tensor Tensor::transpose(int64_t dim0, int64_t dim1) const {
  const int64_t a = wrap_dim("transpose", dim0, rank()), b = wrap_dim("transpose", dim1, rank());
  Shape shape = this->shape(), strides = this->strides();
  if (rank() > 0) {
    std::swap(shape[a], shape[b]);
    std::swap(strides[a], strides[b]);
  }
  return record("transpose", window(*this, shape, strides), {this}, save(),
                [a, b](const Tensor& g, const Saved&) -> Grads { return {g.transpose(a, b)}; });
}

Tensor Tensor::t() const {
  GRADUS_CHECK(rank() <= 2, ShapeError, "t: want a matrix, got {}; use transpose(dim0, dim1)", shape());
  return rank() < 2 ? *this : transpose(0, 1);
}

Tensor Tensor::permute(const Shape& dims) const {
  GRADUS_CHECK(dims.rank() == rank(), ShapeError, "permute: dims {} for a tensor of rank {}", dims, rank());
  Shape shape = dims, strides = dims, inverse = dims;
  bool seen[max_rank] = {};
  for (int i = 0; i < dims.rank(); ++i) {
    const int64_t d = wrap_dim("permute", dims[i], rank());
    GRADUS_CHECK(!seen[d], IndexError, "permute: dim {} appears twice in {}", d, dims);
    seen[d] = true;
    shape[i] = this->shape()[d];
    strides[i] = this->strides()[d];
    inverse[d] = i;
  }
  return record("permute", window(*this, shape, strides), {this}, save(),
                [inverse](const Tensor& g, const Saved&) -> Grads { return {g.permute(inverse)}; });
}

Tensor Tensor::squeeze() const {
  Tensor y = *this;
  for (int64_t d = rank(); d-- > 0;)
    if (size(d) == 1) y = y.squeeze(d);
  return y;
}

Tensor Tensor::squeeze(int64_t dim) const {
  dim = wrap_dim("squeeze", dim, rank());
  if (rank() == 0 || size(dim) != 1) return *this;
  Shape shape = this->shape(), strides = this->strides();
  shape.erase(dim);
  strides.erase(dim);
  return record("squeeze", window(*this, shape, strides), {this}, save(),
                [dim](const Tensor& g, const Saved&) -> Grads { return {g.unsqueeze(dim)}; });
}

Tensor Tensor::unsqueeze(int64_t dim) const {
  dim = wrap_dim("unsqueeze", dim, rank() + 1);
  Shape shape = this->shape(), strides = this->strides();
  const int64_t stride = dim < rank() ? strides[dim] * shape[dim] : 1;
  shape.insert(dim, 1);
  strides.insert(dim, stride);
  return record("unsqueeze", window(*this, shape, strides), {this}, save(),
                [dim](const Tensor& g, const Saved&) -> Grads { return {g.squeeze(dim)}; });
}

Tensor Tensor::expand(const Shape& wanted) const {
  GRADUS_CHECK(wanted.rank() >= rank(), ShapeError, "expand: {} to {}: the rank cannot shrink", shape(), wanted);
  Shape shape = wanted, strides = wanted;
  const int lead = wanted.rank() - rank();
  for (int d = 0; d < wanted.rank(); ++d) {
    if (d < lead) {
      GRADUS_CHECK(shape[d] >= 0, ShapeError, "expand: -1 at dim {} of {} has no size to keep", d, wanted);
      strides[d] = 0;
      continue;
    }
    const int64_t have = this->shape()[d - lead];
    if (shape[d] == -1) shape[d] = have;
    GRADUS_CHECK(shape[d] == have || (have == 1 && shape[d] >= 0), ShapeError,
                 "expand: {} to {}: size {} at dim {} is not 1", this->shape(), wanted, have, d);
    strides[d] = shape[d] == have ? this->strides()[d - lead] : 0;
  }
  // The engine sums a gradient that is broader than its input, so the derivative is g itself.
  return record("expand", window(*this, shape, strides), {this}, save(),
                [](const Tensor& g, const Saved&) -> Grads { return {g}; });
}

Tensor Tensor::slice(int64_t dim, std::optional<int64_t> start, std::optional<int64_t> end, int64_t step) const {
  GRADUS_CHECK(rank() > 0, IndexError, "slice: a tensor of rank 0 has no dim to slice");
  GRADUS_CHECK(step > 0, ValueError, "slice: step is {}; want 1 or more (flip() turns a dim round)", step);
  dim = wrap_dim("slice", dim, rank());
  const int64_t n = size(dim);
  const auto bound = [n](int64_t i) { return std::clamp<int64_t>(i < 0 ? i + n : i, 0, n); };
  const int64_t from = bound(start.value_or(0)), to = std::max(from, bound(end.value_or(n)));
  Shape shape = this->shape(), strides = this->strides();
  shape[dim] = (to - from + step - 1) / step;
  const int64_t shift = shape[dim] > 0 ? from * strides[dim] : 0;
  strides[dim] *= step;
  return record("slice", window(*this, shape, strides, shift), {this}, save(),
                [dim, from, to, step](const Tensor& g, const Saved& s) -> Grads {
                  return {slice_backward(g, s.shape(0), dim, from, to, step)};
                });
}

// Zeros with g in the slice; itself differentiable, so that slices have every order.
Tensor slice_backward(const Tensor& g, const Shape& shape, int64_t dim, int64_t start, int64_t end, int64_t step) {
  Tensor dx = zeros(shape, {.dtype = g.dtype(), .device = g.device()});
  {
    const NoGrad no_graph;
    dx.slice(dim, start, end, step).copy_(g.detach());
  }
  return record(
      "slice_backward", std::move(dx), {&g}, save(),
      [dim, start, end, step](const Tensor& gg, const Saved&) -> Grads { return {gg.slice(dim, start, end, step)}; });
}

Tensor Tensor::narrow(int64_t dim, int64_t start, int64_t length) const {
  dim = wrap_dim("narrow", dim, rank());
  GRADUS_CHECK(rank() > 0 && start >= 0 && length >= 0 && start <= size(dim) && length <= size(dim) - start, IndexError,
               "narrow: start {} and length {} leave dim {} of {}", start, length, dim, shape());
  return slice(dim, start, start + length);
}

Tensor Tensor::select(int64_t dim, int64_t index) const {
  GRADUS_CHECK(rank() > 0, IndexError, "select: a tensor of rank 0 has no dim to select from");
  dim = wrap_dim("select", dim, rank());
  const int64_t n = size(dim);
  GRADUS_CHECK(index >= -n && index < n, IndexError, "select: index {} is out of range for dim {} of {}", index, dim,
               shape());
  const int64_t i = index < 0 ? index + n : index;
  Shape shape = this->shape(), strides = this->strides();
  const int64_t shift = i * strides[dim];
  shape.erase(dim);
  strides.erase(dim);
  return record("select", window(*this, shape, strides, shift), {this}, save(),
                [dim, i](const Tensor& g, const Saved& s) -> Grads {
                  return {slice_backward(g.unsqueeze(dim), s.shape(0), dim, i, i + 1, 1)};
                });
}

// ---- casts and moves
Tensor Tensor::to(Dtype dtype) const {
  if (dtype == this->dtype()) return *this;
  Tensor y = empty(shape(), {.dtype = dtype, .device = device()});
  kernels::copy(device(), y, *this);
  if (!is_floating(dtype)) return y;  // an integer or boolean has no derivative
  return record("to", std::move(y), {this}, save(),
                [before = this->dtype()](const Tensor& g, const Saved&) -> Grads { return {g.to(before)}; });
}

Tensor Tensor::to(Device device) const {
  if (device == this->device()) return *this;
  const Tensor source = dense(*this);
  Tensor y = empty(shape(), {.dtype = dtype(), .device = device});
  kernels::transfer(device.is_cpu() ? this->device() : device, y, source);
  if (!is_floating(dtype())) return y;
  return record("to", std::move(y), {this}, save(),
                [before = this->device()](const Tensor& g, const Saved&) -> Grads { return {g.to(before)}; });
}

Tensor Tensor::to(Device device, Dtype dtype) const { return to(dtype).to(device); }

// ---- the free forms
Tensor reshape(const Tensor& x, const Shape& shape) { return x.reshape(shape); }
Tensor transpose(const Tensor& x, int64_t dim0, int64_t dim1) { return x.transpose(dim0, dim1); }
Tensor permute(const Tensor& x, const Shape& dims) { return x.permute(dims); }
Tensor unsqueeze(const Tensor& x, int64_t dim) { return x.unsqueeze(dim); }
Tensor squeeze(const Tensor& x, int64_t dim) { return x.squeeze(dim); }
Tensor flatten(const Tensor& x, int64_t start_dim, int64_t end_dim) { return x.flatten(start_dim, end_dim); }
Tensor broadcast_to(const Tensor& x, const Shape& shape) { return x.expand(shape); }

}  // namespace gradus
