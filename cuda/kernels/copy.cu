// Copies between any layouts and dtypes on one device. What crosses between devices is in cuda/backend/transfer.cpp.
#include <gradus/core/convert.h>
#include <gradus/core/detail/dispatch.h>
#include <gradus/core/factories.h>
#include <gradus/core/kernels.h>
#include <gradus/cuda/device/grid.cuh>
#include <gradus/cuda/device/walk.cuh>
#include <gradus/cuda/device/words.cuh>
#include <gradus/cuda/launch.cuh>

namespace gradus::cuda {
namespace {

using gradus::detail::StridedSpace;

// ---- conversions
template <class To, class From>
__global__ void convert_flat(To* y, const From* x, int64_t n) {
  constexpr int size = 16 / static_cast<int>(std::max(sizeof(To), sizeof(From)));
  const int64_t packs = n / size;
  for (int64_t i = thread_number(); i < packs; i += thread_count()) {
    const auto in = reinterpret_cast<const Pack<From, size>*>(x)[i];
    Pack<To, size> out;
#pragma unroll
    for (int j = 0; j < size; ++j) out.item[j] = convert<To>(in.item[j]);
    reinterpret_cast<Pack<To, size>*>(y)[i] = out;
  }
  for (int64_t i = packs * size + thread_number(); i < n; i += thread_count()) y[i] = convert<To>(x[i]);
}

template <class To, class From>
__global__ void convert_strided(char* y, const char* x, Walk<2> walk, uint32_t n) {
  for (int64_t i = thread_number(); i < n; i += thread_count()) {
    const auto offsets = walk.offsets(static_cast<uint32_t>(i));
    *reinterpret_cast<To*>(y + offsets.at[0]) = convert<To>(*reinterpret_cast<const From*>(x + offsets.at[1]));
  }
}

// ---- moves
template <class Word>
__global__ void move_strided(char* y, const char* x, Walk<2> walk, uint32_t n) {
  for (int64_t i = thread_number(); i < n; i += thread_count()) {
    const auto offsets = walk.offsets(static_cast<uint32_t>(i));
    *reinterpret_cast<Word*>(y + offsets.at[0]) = *reinterpret_cast<const Word*>(x + offsets.at[1]);
  }
}

// Matrices [rows, columns] of which the output is contiguous along columns and the input along rows: squares go through
// shared memory, so that both are accessed along their lines. The column behind a square keeps its banks apart.
constexpr int square = 32, square_rows = 8;

struct Transposition {
  int64_t rows, columns, matrices, row_blocks, column_blocks;
  int64_t y_row, x_column;  // strides in elements
};

template <class Word>
__global__ void transpose(char* y, const char* x, Transposition shape, Walk<2> matrices) {
  GRADUS_SHARED(Word, tile, [square][square + 1]);
  const int64_t per_matrix = shape.row_blocks * shape.column_blocks;
  for (int64_t block = blockIdx.x; block < shape.matrices * per_matrix; block += gridDim.x) {
    const auto offsets = matrices.offsets(static_cast<uint32_t>(block / per_matrix));
    const int64_t row = block % per_matrix / shape.column_blocks * square;
    const int64_t column = block % per_matrix % shape.column_blocks * square;
    const Word* from = reinterpret_cast<const Word*>(x + offsets.at[1]);
    Word* to = reinterpret_cast<Word*>(y + offsets.at[0]);
    const int across = static_cast<int>(threadIdx.x), down = static_cast<int>(threadIdx.y);
    for (int j = down; j < square; j += square_rows)
      if (column + j < shape.columns && row + across < shape.rows)
        tile[j][across] = from[(column + j) * shape.x_column + row + across];
    __syncthreads();
    for (int j = down; j < square; j += square_rows)
      if (row + j < shape.rows && column + across < shape.columns)
        to[(row + j) * shape.y_row + column + across] = tile[across][j];
    __syncthreads();  // the tile is filled again
  }
}

// The dim along which the input is contiguous while the output is not, or -1.
int transposed_dim(const StridedSpace& space, int64_t item) {
  if (space.inner_stride(0) != item || space.inner_stride(1) == item || space.inner() < square / 2) return -1;
  for (int d = 0; d + 1 < space.rank; ++d)
    if (space.stride[1][d] == item && space.size[d] >= square / 2) return d;
  return -1;
}

void move_transposed(char* y, const char* x, int64_t item, const StridedSpace& space, int dim) {
  const int last = space.rank - 1;
  const auto blocks = [](int64_t n) { return (n + square - 1) / square; };
  Transposition shape{};
  shape.rows = space.size[dim];
  shape.columns = space.inner();
  shape.matrices = space.total / (shape.rows * shape.columns);
  shape.row_blocks = blocks(shape.rows);
  shape.column_blocks = blocks(shape.columns);
  shape.y_row = space.stride[0][dim] / item;
  shape.x_column = space.stride[1][last] / item;
  StridedSpace matrices = space;  // all dims but those two
  matrices.rank = 0;
  matrices.total = shape.matrices;
  for (int d = 0; d < last; ++d) {
    if (d == dim) continue;
    matrices.size[matrices.rank] = space.size[d];
    for (int k = 0; k < 2; ++k) matrices.stride[k][matrices.rank] = space.stride[k][d];
    ++matrices.rank;
  }
  if (matrices.rank == 0) {
    matrices.rank = 1;
    matrices.size[0] = 1;
    matrices.stride[0][0] = matrices.stride[1][0] = 0;
  }
  for_size(item, [&]<class Word>() {
    launch<transpose<Word>>(blocks_for(shape.matrices * shape.row_blocks * shape.column_blocks, 1),
                            dim3(square, square_rows), 0, y, x, shape, Walk<2>(matrices));
  });
}

void move(char* y, const char* x, int64_t item, const StridedSpace& space) {
  if (const int dim = transposed_dim(space, item); dim >= 0) return move_transposed(y, x, item, space, dim);
  for_size(item, [&]<class Word>() {
    launch<move_strided<Word>>(blocks_for(space.total), threads_per_block, 0, y, x, Walk<2>(space),
                               static_cast<uint32_t>(space.total));
  });
}

void copy_contiguous(void* y, const void* x, int64_t bytes) {
  const int code = cudaMemcpyAsync(y, x, static_cast<size_t>(bytes), cudaMemcpyDeviceToDevice, current_stream());
  cuda_backend().launched("cudaMemcpyAsync", code);
}

void copy(Tensor& y, const Tensor& x) {
  if (y.numel() == 0) return;
  const bool same_dtype = y.dtype() == x.dtype(), dense = y.is_contiguous() && x.is_contiguous();
  char* const to = static_cast<char*>(const_cast<void*>(y.raw_data()));
  char* const from = static_cast<char*>(const_cast<void*>(x.raw_data()));
  if (gradus::detail::overlaps_partly(y, x)) {
    Tensor fresh = empty(x.shape(), {.dtype = x.dtype(), .device = x.device()});
    copy(fresh, x);
    return copy(y, fresh);
  }
  if (same_dtype && dense) return copy_contiguous(to, from, y.nbytes());
  const bool aligned = reinterpret_cast<uintptr_t>(to) % 16 == 0 && reinterpret_cast<uintptr_t>(from) % 16 == 0;
  if (!same_dtype && dense && aligned)
    return gradus::detail::dispatch(y.dtype(), [&]<class To>() {
      gradus::detail::dispatch(x.dtype(), [&]<class From>() {
        launch<convert_flat<To, From>>(blocks_for(y.numel() / 4), threads_per_block, 0, reinterpret_cast<To*>(to),
                                       reinterpret_cast<const From*>(from), y.numel());
      });
    });
  const Tensor* operands[] = {&y, &x};
  const auto each = [&](const StridedSpace& part, const std::array<char*, 2>& data) {
    if (same_dtype) return move(data[0], data[1], itemsize(y.dtype()), part);
    gradus::detail::dispatch(y.dtype(), [&]<class To>() {
      gradus::detail::dispatch(x.dtype(), [&]<class From>() {
        launch<convert_strided<To, From>>(blocks_for(part.total), threads_per_block, 0, data[0], data[1], Walk<2>(part),
                                          static_cast<uint32_t>(part.total));
      });
    });
  };
  each_part<2>(gradus::detail::strided_space(operands), {to, from}, each);
}

// ---- constant and counting values
template <class Word>
__global__ void fill_strided(char* y, Word value, Walk<1> walk, uint32_t n) {
  for (int64_t i = thread_number(); i < n; i += thread_count())
    *reinterpret_cast<Word*>(y + walk.offsets(static_cast<uint32_t>(i)).at[0]) = value;
}

void fill(Tensor& y, Scalar value) {
  if (y.numel() == 0) return;
  char* const to = static_cast<char*>(const_cast<void*>(y.raw_data()));
  gradus::detail::dispatch(y.dtype(), [&]<class T>() {
    using Word = typename WordOf<sizeof(T)>::type;
    const Word word = std::bit_cast<Word>(value.to<T>());
    if (word == 0 && y.is_contiguous()) {
      const int code = cudaMemsetAsync(to, 0, static_cast<size_t>(y.nbytes()), current_stream());
      return cuda_backend().launched("cudaMemsetAsync", code);
    }
    const Tensor* operands[] = {&y};
    each_part<1>(gradus::detail::strided_space(operands), {to},
                 [&](const StridedSpace& part, const std::array<char*, 1>& data) {
                   launch<fill_strided<Word>>(blocks_for(part.total), threads_per_block, 0, data[0], word,
                                              Walk<1>(part), static_cast<uint32_t>(part.total));
                 });
  });
}

// Integers count in int64, floats in float64: y_i = start + i step without accumulated rounding.
template <class T, class Count>
__global__ void count_up(T* y, Count start, Count step, int64_t n) {
  for (int64_t i = thread_number(); i < n; i += thread_count()) {
    const Count value = start + static_cast<Count>(i) * step;
    if constexpr (is_half<T>)
      y[i] = T(static_cast<float>(value));
    else
      y[i] = static_cast<T>(value);
  }
}

void arange(Tensor& y, Scalar start, Scalar step) {
  if (y.numel() == 0) return;
  gradus::detail::dispatch(y.dtype(), [&]<class T>() {
    using Count = std::conditional_t<std::is_integral_v<T>, int64_t, double>;
    launch<count_up<T, Count>>(blocks_for(y.numel()), threads_per_block, 0,
                               static_cast<T*>(const_cast<void*>(y.raw_data())), start.to<Count>(), step.to<Count>(),
                               y.numel());
  });
}

[[maybe_unused]] const bool filled = kernels::copy.set(DeviceType::cuda, copy) &&
                                     kernels::fill.set(DeviceType::cuda, fill) &&
                                     kernels::arange.set(DeviceType::cuda, arange);

}  // namespace
}  // namespace gradus::cuda
