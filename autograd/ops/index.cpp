// The brackets of NumPy: numbers, slices and new dims are views; integer and boolean tensors are brought to one
// index_select. And what masks select. All are made of recorded ops, which have the derivatives.
#include <gradus/autograd/detail/indexing.h>

namespace gradus {

using detail::check_defined;

namespace {

// One tensor among the indices, and the dim of the view that it reads: int64 positions, already made non-negative.
struct Picked {
  int64_t dim;
  Tensor positions;
};

// Positions along a dim, where negative ones count from the end.
Tensor wrapped_positions(const Tensor& index, const Tensor& view, int64_t dim) {
  const int64_t n = view.shape()[dim];
  const Tensor at = detail::checked_indices("index", "index", index, -n, n, view.device(),
                                            fmt::format("the size of dim {} of {}", dim, view.shape()));
  return remainder(at, std::max<int64_t>(n, 1));
}

// A mask of rank r over dims [dim, dim + r) merges them into one; its positions are those of its true elements.
Tensor masked_positions(const Tensor& mask, Tensor& view, int64_t dim) {
  GRADUS_CHECK(mask.rank() > 0, IndexError, "index: a boolean of rank 0 selects nothing; use a mask of x's shape");
  Shape covered, merged;
  for (int64_t d = 0; d < view.rank(); ++d) {
    const bool inside = d >= dim && d < dim + mask.rank();
    if (inside) covered.push_back(view.shape()[d]);
    if (d == dim) merged.push_back(1);
    if (inside)
      merged[dim] *= view.shape()[d];
    else
      merged.push_back(view.shape()[d]);
  }
  GRADUS_CHECK(mask.shape() == covered, IndexError, "index: the mask is {}, the dims it covers are {}", mask.shape(),
               covered);
  GRADUS_CHECK(mask.device() == view.device(), DeviceError,
               "index: the mask is on {}, x on {}; move one with to(device)", mask.device(), view.device());
  view = view.reshape(merged);
  return kernels::nonzero(mask.device(), dense(mask));
}

// Dims of x that an index uses up.
int64_t dims_used(const Index& index) {
  if (std::holds_alternative<NewDim>(index)) return 0;
  const Tensor* tensor = std::get_if<Tensor>(&index);
  if (!tensor) return 1;
  check_defined("index", "index", *tensor);
  return tensor->dtype() == boolean ? tensor->rank() : 1;
}

// The elements of view at positions along some dims. Where these dims are neighbours, the dims of the positions take
// their place; else they come first.
Tensor pick(Tensor view, std::vector<Picked>& picked) {
  Shape broadcast;
  for (const Picked& p : picked) broadcast = broadcast_shapes("index", broadcast, p.positions.shape());
  const int count = static_cast<int>(picked.size());
  int64_t first = picked.front().dim;
  if (picked.back().dim - first != count - 1) {
    Shape order;
    for (const Picked& p : picked) order.push_back(p.dim);
    for (int64_t d = 0; d < view.rank(); ++d)
      if (std::find(order.begin(), order.begin() + count, d) == order.begin() + count) order.push_back(d);
    view = view.permute(order);
    first = 0;
  }
  Tensor flat = zeros({}, {.dtype = int64, .device = view.device()});  // position in the picked dims merged
  Shape merged, result;
  for (int64_t d = 0; d < first; ++d) merged.push_back(view.shape()[d]);
  merged.push_back(1);
  for (int i = 0; i < count; ++i) {
    const int64_t n = view.shape()[first + i];
    flat = flat * n + picked[static_cast<size_t>(i)].positions;
    merged.back() *= n;
  }
  result = merged;
  result.erase(first);
  for (const int64_t size : broadcast) result.push_back(size);
  for (int64_t d = first + count; d < view.rank(); ++d) {
    merged.push_back(view.shape()[d]);
    result.push_back(view.shape()[d]);
  }
  flat = flat.expand(broadcast).reshape({broadcast.numel()});
  return index_select(view.reshape(merged), first, flat).reshape(result);
}

}  // namespace

Tensor index(const Tensor& x, const std::vector<Index>& indices) {
  check_defined("index", "x", x);
  int64_t used = 0;
  for (const Index& i : indices) used += dims_used(i);
  GRADUS_CHECK(used <= x.rank(), IndexError, "index: {} indices for x {} of rank {}", used, x.shape(), x.rank());
  Tensor view = x;
  std::vector<Picked> picked;
  int64_t dim = 0;
  for (const Index& i : indices) {
    if (const int64_t* number = std::get_if<int64_t>(&i)) {
      view = view.select(dim, *number);
    } else if (const Slice* slice = std::get_if<Slice>(&i)) {
      view = view.slice(dim++, slice->start, slice->end, slice->step);
    } else if (const Tensor* tensor = std::get_if<Tensor>(&i)) {
      picked.push_back({dim, tensor->dtype() == boolean ? masked_positions(*tensor, view, dim)
                                                        : wrapped_positions(*tensor, view, dim)});
      ++dim;
    } else {
      view = view.unsqueeze(dim++);
    }
  }
  if (picked.empty()) return view.is(x) ? alias(x) : view;
  return pick(view, picked);
}

Tensor Tensor::operator[](const Tensor& mask_or_indices) const { return index(*this, {mask_or_indices}); }

// ---- masks
Tensor masked_select(const Tensor& x, const Tensor& mask) {
  check_defined("masked_select", "x", x);
  check_defined("masked_select", "mask", mask);
  GRADUS_CHECK(mask.dtype() == boolean, DtypeError, "masked_select: mask is {}; want boolean, as comparisons give it",
               mask.dtype());
  GRADUS_CHECK(mask.device() == x.device(), DeviceError,
               "masked_select: mask is on {}, x on {}; move one with to(device)", mask.device(), x.device());
  const Shape shape = broadcast_shapes("masked_select", x.shape(), mask.shape());
  const Tensor positions = kernels::nonzero(x.device(), dense(mask.expand(shape)));
  return index_select(x.expand(shape).reshape({shape.numel()}), 0, positions);
}

// The flat positions taken apart dim by dim. float64 divides them exactly: they are below 2^53.
Tensor nonzero(const Tensor& x) {
  check_defined("nonzero", "x", x);
  const NoGrad no_graph;
  const Tensor flat = kernels::nonzero(x.device(), dense(x.dtype() == boolean ? x : x != 0));
  const Shape strides = contiguous_strides(x.shape());
  Tensor rest = flat.to(float64), y = empty({flat.numel(), x.rank()}, {.dtype = int64, .device = x.device()});
  for (int64_t d = 0; d < x.rank(); ++d) {
    const double stride = static_cast<double>(strides[d]);
    const Tensor coordinate = floor(rest / stride);
    y.select(1, d).copy_(coordinate);
    rest = rest - coordinate * stride;
  }
  return y;
}

}  // namespace gradus
