// Putting tensors together, taking them apart, and moving their elements about: cat, stack, split, chunk, unbind, pad,
// flip, roll, tril, triu.
#include <algorithm>

#include <gradus/autograd/detail/elementwise.h>

namespace gradus {

using detail::check_defined;

namespace {

// Unrecorded: y[..., start : start + part.size(dim), ...] = part.
void put(const Tensor& y, const Tensor& part, int64_t dim, int64_t start) {
  Tensor window = as_strided(y, part.shape(), y.strides(), y.impl().offset + start * y.strides()[dim]);
  kernels::copy(y.device(), window, part);
}

Tensor checked_part(const char* op, std::span<const Tensor> tensors, size_t i) {
  GRADUS_CHECK(tensors[i].defined(), Error, "{}: tensors[{}] is an undefined tensor", op, i);
  if (i > 0) detail::check_same(op, tensors[0], tensors[i]);
  return tensors[i];
}

}  // namespace

// ---- together
Tensor cat(std::span<const Tensor> tensors, int64_t dim) {
  GRADUS_CHECK(!tensors.empty(), ValueError, "cat: tensors is empty; want at least one");
  Shape shape = checked_part("cat", tensors, 0).shape();
  GRADUS_CHECK(shape.rank() > 0, ShapeError, "cat: tensors of rank 0 have no dim to join; use stack");
  dim = wrap_dim("cat", dim, shape.rank());
  std::vector<int64_t> starts;
  std::vector<const Tensor*> inputs;
  int64_t total = 0;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const Shape& have = checked_part("cat", tensors, i).shape();
    shape[dim] = have.rank() == shape.rank() ? have[dim] : -1;
    GRADUS_CHECK(have == shape, ShapeError, "cat: tensors[0] is {}, tensors[{}] is {}; they may differ at dim {} only",
                 tensors[0].shape(), i, have, dim);
    starts.push_back(total);
    inputs.push_back(&tensors[i]);
    total += have[dim];
  }
  starts.push_back(total);
  shape[dim] = total;
  Tensor y = empty(shape, {.dtype = tensors[0].dtype(), .device = tensors[0].device()});
  for (size_t i = 0; i < tensors.size(); ++i) put(y, tensors[i], dim, starts[i]);
  if (!grad_enabled() || !detail::any_requires_grad(inputs)) return y;
  const Tensor bounds = tensor(std::span<const int64_t>(starts));  // as many as there are tensors, so not a capture
  return record("cat", std::move(y), inputs, save(bounds), [dim](const Tensor& g, const Saved& s) -> Grads {
    const Tensor ends = s[0];
    const int64_t* at = ends.data<int64_t>();
    std::vector<Tensor> parts(static_cast<size_t>(ends.numel() - 1));
    for (size_t i = 0; i < parts.size(); ++i)
      if (s.needs(i)) parts[i] = g.narrow(dim, at[i], at[i + 1] - at[i]);
    return parts;
  });
}

Tensor cat(std::initializer_list<Tensor> tensors, int64_t dim) {
  return cat(std::span(tensors.begin(), tensors.size()), dim);
}

Tensor stack(std::span<const Tensor> tensors, int64_t dim) {
  GRADUS_CHECK(!tensors.empty(), ValueError, "stack: tensors is empty; want at least one");
  dim = wrap_dim("stack", dim, checked_part("stack", tensors, 0).rank() + 1);
  std::vector<Tensor> parts;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const Tensor part = checked_part("stack", tensors, i);
    GRADUS_CHECK(part.shape() == tensors[0].shape(), ShapeError,
                 "stack: tensors[0] is {}, tensors[{}] is {}; want equal shapes", tensors[0].shape(), i, part.shape());
    parts.push_back(part.unsqueeze(dim));
  }
  return cat(parts, dim);
}

Tensor stack(std::initializer_list<Tensor> tensors, int64_t dim) {
  return stack(std::span(tensors.begin(), tensors.size()), dim);
}

// ---- apart
namespace {

int64_t parted_dim(const char* op, const Tensor& x, int64_t dim) {
  check_defined(op, "x", x);
  GRADUS_CHECK(x.rank() > 0, ShapeError, "{}: x of rank 0 has no dim to part", op);
  return wrap_dim(op, dim, x.rank());
}

// Pieces of `size`, the last one what is left; one piece when x is empty there.
std::vector<Tensor> pieces(const Tensor& x, int64_t size, int64_t dim) {
  std::vector<Tensor> parts;
  const int64_t n = x.shape()[dim];
  for (int64_t start = 0; start < n || parts.empty(); start += size)
    parts.push_back(x.narrow(dim, start, std::min(size, n - start)));
  return parts;
}

}  // namespace

std::vector<Tensor> split(const Tensor& x, int64_t size, int64_t dim) {
  dim = parted_dim("split", x, dim);
  GRADUS_CHECK(size > 0, ValueError, "split: size is {}; want 1 or more", size);
  return pieces(x, size, dim);
}

std::vector<Tensor> split(const Tensor& x, const Shape& sizes, int64_t dim) {
  dim = parted_dim("split", x, dim);
  int64_t total = 0;
  for (const int64_t size : sizes) {
    GRADUS_CHECK(size >= 0 && !__builtin_add_overflow(total, size, &total), ValueError,
                 "split: size {} in sizes {}; want sizes of 0 or more", size, sizes);
  }
  GRADUS_CHECK(total == x.shape()[dim], ShapeError, "split: sizes {} add up to {}; dim {} of x {} has {}", sizes, total,
               dim, x.shape(), x.shape()[dim]);
  std::vector<Tensor> parts;
  int64_t start = 0;
  for (const int64_t size : sizes) {
    parts.push_back(x.narrow(dim, start, size));
    start += size;
  }
  return parts;
}

std::vector<Tensor> chunk(const Tensor& x, int64_t chunks, int64_t dim) {
  dim = parted_dim("chunk", x, dim);
  GRADUS_CHECK(chunks > 0, ValueError, "chunk: chunks is {}; want 1 or more", chunks);
  const int64_t n = x.shape()[dim];
  return pieces(x, std::max<int64_t>(1, n / chunks + (n % chunks != 0)), dim);
}

std::vector<Tensor> unbind(const Tensor& x, int64_t dim) {
  dim = parted_dim("unbind", x, dim);
  std::vector<Tensor> parts;
  for (int64_t i = 0; i < x.shape()[dim]; ++i) parts.push_back(x.select(dim, i));
  return parts;
}

// ---- borders
Tensor pad(const Tensor& x, const std::vector<int64_t>& padding, Scalar value) {
  check_defined("pad", "x", x);
  if (x.dtype() != boolean) detail::check_scalar("pad", x, value);
  const auto pairs = static_cast<int>(padding.size() / 2);
  GRADUS_CHECK(padding.size() % 2 == 0 && pairs <= x.rank(), ValueError,
               "pad: padding has {} numbers; want before and after for at most {} dims of x {}, from the last",
               padding.size(), x.rank(), x.shape());
  Tensor kept = x;  // cropped where a padding is negative
  Shape shape = x.shape(), start = x.shape();
  std::fill(start.begin(), start.end(), 0);
  for (int i = 0; i < pairs; ++i) {
    const int64_t d = x.rank() - 1 - i, before = padding[static_cast<size_t>(2 * i)],
                  after = padding[static_cast<size_t>(2 * i + 1)], n = x.shape()[d];
    int64_t size;
    const bool fits = !__builtin_add_overflow(n, before, &size) && !__builtin_add_overflow(size, after, &size) &&
                      before >= -n && after >= -n && size >= 0;
    GRADUS_CHECK(fits, ShapeError, "pad: {} before and {} after do not fit dim {} of x {}", before, after, d,
                 x.shape());
    const int64_t from = std::max<int64_t>(0, -before), to = n - std::max<int64_t>(0, -after);
    kept = from > 0 || to < n ? kept.slice(d, from, to) : kept;
    start[d] = std::max<int64_t>(0, before);
    shape[d] = size;
  }
  if (shape == kept.shape()) return kept.is(x) ? alias(x) : kept;
  Tensor y = full(shape, value, {.dtype = x.dtype(), .device = x.device()});
  Tensor window = y;
  {
    const NoGrad no_graph;
    for (int64_t d = 0; d < x.rank(); ++d) window = window.narrow(d, start[d], kept.shape()[d]);
    window.copy_(kept);
  }
  return record("pad", std::move(y), {&kept}, save(),
                [start, inside = kept.shape()](const Tensor& g, const Saved&) -> Grads {
                  Tensor part = g;
                  for (int64_t d = 0; d < g.rank(); ++d) part = part.narrow(d, start[d], inside[d]);
                  return {part};
                });
}

// ---- turned and shifted
// Read through a window that runs backwards.
Tensor flip(const Tensor& x, const Shape& dims) {
  check_defined("flip", "x", x);
  Shape strides = x.strides();
  int64_t offset = x.impl().offset;
  for (const int64_t dim : dims) {
    const int64_t d = wrap_dim("flip", dim, x.rank());
    GRADUS_CHECK(x.rank() > 0, IndexError, "flip: dim {} of x of rank 0", dim);
    GRADUS_CHECK(strides[d] == x.strides()[d], ValueError, "flip: dim {} comes twice in dims {}", dim, dims);
    if (x.shape()[d] > 1) {
      offset += (x.shape()[d] - 1) * strides[d];
      strides[d] = -strides[d];
    }
  }
  Tensor y = empty(x.shape(), {.dtype = x.dtype(), .device = x.device()});
  if (x.numel() > 0) kernels::copy(x.device(), y, as_strided(x, x.shape(), strides, offset));
  return record("flip", std::move(y), {&x}, save(),
                [dims](const Tensor& g, const Saved&) -> Grads { return {flip(g, dims)}; });
}

Tensor roll(const Tensor& x, int64_t shift, int64_t dim) {
  dim = parted_dim("roll", x, dim);
  const int64_t n = x.shape()[dim];
  if (n == 0) return alias(x);
  const int64_t first = ((shift % n) + n) % n;  // how many elements come round to the front
  return cat({x.narrow(dim, n - first, first), x.narrow(dim, 0, n - first)}, dim);
}

// ---- triangles
namespace {

// x with 0 where column - row is above the diagonal (or below it).
Tensor triangle(const char* op, const Tensor& x, int64_t diagonal, bool lower) {
  check_defined(op, "x", x);
  GRADUS_CHECK(x.rank() >= 2, ShapeError, "{}: x is {}; want a matrix or a batch of them", op, x.shape());
  const int64_t rows = x.size(-2), columns = x.size(-1);
  const Tensor row = arange(rows, {.device = x.device()}).unsqueeze(1),
               column = arange(columns, {.device = x.device()});
  const Tensor bound = row + std::clamp(diagonal, -rows - 1, columns + 1);  // beyond these nothing changes
  return masked_fill(x, lower ? column > bound : column < bound, 0);
}

}  // namespace

Tensor tril(const Tensor& x, int64_t diagonal) { return triangle("tril", x, diagonal, true); }
Tensor triu(const Tensor& x, int64_t diagonal) { return triangle("triu", x, diagonal, false); }

}  // namespace gradus
