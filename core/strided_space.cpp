// The iteration space of strided operands.
#include <gradus/core/detail/strided_space.h>

#include <algorithm>
#include <cstdlib>
#include <utility>

namespace gradus::detail {
namespace {

// The strides of x along the dims of `shape`, 0 where it is broadcast.
void broadcast_strides(const Tensor& x, const Shape& shape, int64_t* strides) {
  const int lead = shape.rank() - x.rank();
  const int64_t item = itemsize(x.dtype());
  for (int d = 0; d < shape.rank(); ++d)
    strides[d] = d < lead || x.shape()[d - lead] == 1 ? 0 : x.strides()[d - lead] * item;
}

// The bytes that a tensor's elements reach: [first, second).
std::pair<const char*, const char*> extent(const Tensor& x) {
  const char* p = static_cast<const char*>(x.raw_data());
  int64_t low = 0, high = itemsize(x.dtype());
  for (int d = 0; d < x.rank(); ++d) {
    const int64_t reach = (x.shape()[d] - 1) * x.strides()[d] * itemsize(x.dtype());
    (reach < 0 ? low : high) += reach;
  }
  return {p + low, p + high};
}

}  // namespace

bool StridedSpace::is_dense(int k, int64_t itemsize) const {
  int64_t expected = itemsize;
  for (int d = rank; d-- > 0; expected *= size[d])
    if (stride[k][d] != expected && size[d] != 1) return false;
  return true;
}

bool StridedSpace::rows_repeat(int k) const {
  return std::all_of(stride[k], stride[k] + rank - 1, [](int64_t s) { return s == 0; });
}

StridedSpace strided_space(std::span<const Tensor* const> operands) {
  const Tensor& y = *operands[0];
  const Shape& shape = y.shape();
  const int n = static_cast<int>(operands.size());
  int64_t strides[StridedSpace::max_operands][max_rank];
  for (int k = 0; k < n; ++k) broadcast_strides(*operands[static_cast<size_t>(k)], shape, strides[k]);

  int order[max_rank], dims = 0;
  for (int d = 0; d < shape.rank(); ++d)
    if (shape[d] != 1) order[dims++] = d;
  std::stable_sort(order, order + dims,
                   [&](int a, int b) { return std::abs(strides[0][a]) > std::abs(strides[0][b]); });

  StridedSpace space;
  space.operands = n;
  space.total = y.numel();
  for (int i = 0; i < dims; ++i) {
    const int d = order[i], last = space.rank - 1;
    bool merges = space.rank > 0;
    for (int k = 0; merges && k < n; ++k) merges = space.stride[k][last] == strides[k][d] * shape[d];
    const int at = merges ? last : space.rank++;
    space.size[at] = merges ? space.size[at] * shape[d] : shape[d];
    for (int k = 0; k < n; ++k) space.stride[k][at] = strides[k][d];
  }
  if (space.rank == 0) {
    space.rank = 1;
    space.size[0] = 1;
    for (int k = 0; k < n; ++k) space.stride[k][0] = 0;
  }
  return space;
}

bool overlaps_partly(const Tensor& a, const Tensor& b) {
  if (a.impl().storage != b.impl().storage || a.numel() == 0 || b.numel() == 0) return false;
  if (a.raw_data() == b.raw_data() && a.shape() == b.shape() && a.strides() == b.strides()) return false;
  const auto [a_low, a_high] = extent(a);
  const auto [b_low, b_high] = extent(b);
  return a_low < b_high && b_low < a_high;
}

}  // namespace gradus::detail
