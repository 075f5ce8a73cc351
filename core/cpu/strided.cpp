// The iteration space of strided operands.
#include <gradus/core/cpu/detail/strided.h>

#include <algorithm>
#include <cstdlib>

namespace gradus::cpu {
namespace {

// The strides of x along the dims of `shape`, 0 where it is broadcast.
void broadcast_strides(const Tensor& x, const Shape& shape, int64_t* strides) {
  const int lead = shape.rank() - x.rank();
  const int64_t item = itemsize(x.dtype());
  for (int d = 0; d < shape.rank(); ++d)
    strides[d] = d < lead || x.shape()[d - lead] == 1 ? 0 : x.strides()[d - lead] * item;
}

// The place of a walk in all dims but the last, and the distance from the operand's first element.
struct Cursor {
  const StridedSpace& space;
  const int64_t* stride;
  int64_t index[max_rank];
  int64_t offset = 0;

  Cursor(const StridedSpace& s, int k, int64_t position) : space(s), stride(s.stride[k]) {
    for (int d = s.rank; d-- > 0; position /= s.size[d]) {
      index[d] = position % s.size[d];
      offset += index[d] * stride[d];
    }
  }
  int64_t run() const { return space.inner() - index[space.rank - 1]; }
  // Moves by n elements, at most to the end of the inner dim.
  void advance(int64_t n) {
    int d = space.rank - 1;
    index[d] += n;
    offset += n * stride[d];
    while (d > 0 && index[d] == space.size[d]) {
      offset -= index[d] * stride[d];
      index[d] = 0;
      --d;
      ++index[d];
      offset += stride[d];
    }
  }
};

template <int item>
void move_run(char* to, int64_t to_stride, const char* from, int64_t from_stride, int64_t n) {
  if (to_stride == item && from_stride == item) {
    std::memcpy(to, from, static_cast<size_t>(n * item));
    return;
  }
  for (int64_t i = 0; i < n; ++i) std::memcpy(to + i * to_stride, from + i * from_stride, item);
}

using MoveRun = void (*)(char*, int64_t, const char*, int64_t, int64_t);
MoveRun move_run_of(int64_t itemsize) {
  switch (itemsize) {
    case 1: return move_run<1>;
    case 2: return move_run<2>;
    case 4: return move_run<4>;
    default: return move_run<8>;
  }
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

void move_words(void* to, int64_t to_stride, const void* from, int64_t from_stride, int64_t itemsize, int64_t n) {
  move_run_of(itemsize)(static_cast<char*>(to), to_stride, static_cast<const char*>(from), from_stride, n);
}

void gather(void* to, const void* from, int64_t itemsize, const StridedSpace& space, int k, int64_t position,
            int64_t n) {
  const MoveRun move = move_run_of(itemsize);
  char* out = static_cast<char*>(to);
  for (Cursor cursor(space, k, position); n > 0;) {
    const int64_t run = std::min(n, cursor.run());
    move(out, itemsize, static_cast<const char*>(from) + cursor.offset, space.inner_stride(k), run);
    out += run * itemsize;
    n -= run;
    cursor.advance(run);
  }
}

void scatter(void* to, const void* from, int64_t itemsize, const StridedSpace& space, int k, int64_t position,
             int64_t n) {
  const MoveRun move = move_run_of(itemsize);
  const char* in = static_cast<const char*>(from);
  for (Cursor cursor(space, k, position); n > 0;) {
    const int64_t run = std::min(n, cursor.run());
    move(static_cast<char*>(to) + cursor.offset, space.inner_stride(k), in, itemsize, run);
    in += run * itemsize;
    n -= run;
    cursor.advance(run);
  }
}

bool overlaps_partly(const Tensor& a, const Tensor& b) {
  if (a.impl().storage != b.impl().storage || a.numel() == 0 || b.numel() == 0) return false;
  if (a.raw_data() == b.raw_data() && a.shape() == b.shape() && a.strides() == b.strides()) return false;
  const auto [a_low, a_high] = extent(a);
  const auto [b_low, b_high] = extent(b);
  return a_low < b_high && b_low < a_high;
}

}  // namespace gradus::cpu
