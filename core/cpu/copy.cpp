// Copies between any layouts and dtypes, and transfers, which on the CPU are plain copies.
#include <algorithm>
#include <cstring>

#include <gradus/core/cpu/detail/strided.h>
#include <gradus/core/cpu/isa/functions.h>
#include <gradus/core/factories.h>
#include <gradus/core/kernels.h>
#include <gradus/core/parallel.h>

namespace gradus::cpu {
namespace {

constexpr int64_t block = 512, grain = 32768;

void copy_flat(char* to, Dtype to_dtype, const char* from, Dtype from_dtype, int64_t numel) {
  const int64_t out = itemsize(to_dtype), in = itemsize(from_dtype);
  const ConvertLoop convert = to_dtype == from_dtype ? nullptr : isa().convert_loop(from_dtype, to_dtype);
  parallel_for(0, numel, grain, [&](int64_t first, int64_t last) {
    if (convert)
      convert(to + first * out, from + first * in, last - first);
    else
      std::memcpy(to + first * out, from + first * in, static_cast<size_t>((last - first) * in));
  });
}

// A transposition: the input's unit stride is along another dim than the output's. Squares whose side is a cache line
// go through a buffer, so that each line of both tensors is touched once.
template <int item>
void transpose_square(char* to, int64_t to_stride, const char* from, int64_t from_stride, int64_t rows,
                      int64_t columns) {
  constexpr int64_t side = 64 / item;
  alignas(64) char tile[side][64];
  for (int64_t c = 0; c < columns; ++c) std::memcpy(tile[c], from + c * from_stride, static_cast<size_t>(rows * item));
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < columns; ++c) std::memcpy(to + r * to_stride + c * item, tile[c] + r * item, item);
}

using TransposeSquare = void (*)(char*, int64_t, const char*, int64_t, int64_t, int64_t);
TransposeSquare transpose_square_of(int64_t item) {
  switch (item) {
    case 1: return transpose_square<1>;
    case 2: return transpose_square<2>;
    case 4: return transpose_square<4>;
    default: return transpose_square<8>;
  }
}

// The dim along which the input is contiguous while the output is not, or -1.
int transposed_dim(const StridedSpace& space, int64_t item) {
  if (space.inner_stride(0) != item || space.inner_stride(1) == item) return -1;
  for (int d = 0; d + 1 < space.rank; ++d)
    if (space.stride[1][d] == item && space.size[d] >= 4 && space.inner() >= 4) return d;
  return -1;
}

void copy_transposed(char* to, const char* from, int64_t item, const StridedSpace& space, int dim) {
  const int64_t side = 64 / item;
  const TransposeSquare square = transpose_square_of(item);
  const int last = space.rank - 1;
  // The rest of the dims, as rows of a space of their own: one row is one matrix of size[dim] x inner.
  StridedSpace outer = space;
  outer.rank = 1;
  for (int d = 0; d < last; ++d) {
    if (d == dim) continue;
    outer.size[outer.rank - 1] = space.size[d];
    for (int k = 0; k < 2; ++k) outer.stride[k][outer.rank - 1] = space.stride[k][d];
    ++outer.rank;
  }
  const int64_t rows = space.size[dim], columns = space.inner(), bands = (rows + side - 1) / side;
  const int64_t matrices = space.total / (rows * columns), per_task = std::max<int64_t>(1, grain / (side * columns));
  parallel_for(0, matrices * bands, per_task, [&](int64_t first, int64_t end) {
    RowCursor matrix(outer, first / bands);
    for (int64_t i = first; i < end; ++i) {
      if (i > first && i % bands == 0) matrix.next();
      const int64_t r = i % bands * side, height = std::min(side, rows - r);
      char* y = to + matrix.offset(0) + r * space.stride[0][dim];
      const char* x = from + matrix.offset(1) + r * item;
      for (int64_t c = 0; c < columns; c += side)
        square(y + c * item, space.stride[0][dim], x + c * space.stride[1][last], space.stride[1][last], height,
               std::min(side, columns - c));
    }
  });
}

// Rows that are contiguous on both sides.
void copy_rows(char* to, const char* from, int64_t item, const StridedSpace& space) {
  const size_t bytes = static_cast<size_t>(space.inner() * item);
  parallel_for(0, space.total / space.inner(), std::max<int64_t>(1, grain / space.inner()),
               [&](int64_t first, int64_t last) {
                 RowCursor row(space, first);
                 for (int64_t i = first; i < last; ++i, row.next())
                   std::memcpy(to + row.offset(0), from + row.offset(1), bytes);
               });
}

// Any other layout, through a dense block.
void copy_blocks(char* to, Dtype to_dtype, const char* from, Dtype from_dtype, const StridedSpace& space) {
  const int64_t out = itemsize(to_dtype), in = itemsize(from_dtype);
  const bool dense_out = space.is_dense(0, out);
  const ConvertLoop convert = to_dtype == from_dtype ? nullptr : isa().convert_loop(from_dtype, to_dtype);
  parallel_for(0, space.total, grain, [&](int64_t first, int64_t last) {
    alignas(64) char gathered[block * 8], converted[block * 8];
    for (int64_t position = first; position < last; position += block) {
      const int64_t n = std::min(block, last - position);
      char* direct = dense_out ? to + position * out : nullptr;
      char* buffer = direct && !convert ? direct : gathered;
      gather(buffer, from, in, space, 1, position, n);
      if (convert) {
        buffer = direct ? direct : converted;
        convert(buffer, gathered, n);
      }
      if (!direct) scatter(to, buffer, out, space, 0, position, n);
    }
  });
}

void copy(Tensor& y, const Tensor& x) {
  if (y.numel() == 0) return;
  if (detail::overlaps_partly(y, x)) {
    Tensor fresh = empty(x.shape(), {.dtype = x.dtype()});
    copy(fresh, x);
    return copy(y, fresh);
  }
  char* to = static_cast<char*>(const_cast<void*>(y.raw_data()));
  const char* from = static_cast<const char*>(x.raw_data());
  if (to == from && y.strides() == x.strides() && y.dtype() == x.dtype()) return;
  if (y.is_contiguous() && x.is_contiguous()) return copy_flat(to, y.dtype(), from, x.dtype(), y.numel());

  const Tensor* operands[] = {&y, &x};
  const StridedSpace space = detail::strided_space(operands);
  const int64_t item = itemsize(y.dtype());
  if (space.is_dense(0, item) && space.is_dense(1, itemsize(x.dtype())))
    return copy_flat(to, y.dtype(), from, x.dtype(), space.total);
  if (y.dtype() == x.dtype() && space.inner_stride(0) == item && space.inner_stride(1) == item)
    return copy_rows(to, from, item, space);
  const int dim = y.dtype() == x.dtype() ? transposed_dim(space, item) : -1;
  if (dim >= 0) return copy_transposed(to, from, item, space, dim);
  copy_blocks(to, y.dtype(), from, x.dtype(), space);
}

[[maybe_unused]] const bool registered =
    kernels::copy.set(DeviceType::cpu, copy) && kernels::transfer.set(DeviceType::cpu, copy);

}  // namespace
}  // namespace gradus::cpu
