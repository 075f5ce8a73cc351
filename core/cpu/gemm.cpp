// The gemm kernel: batches and a fixed grid of tiles shared out to threads, each tile one call of our own loops
// (isa/gemm.cpp), oneDNN or Eigen.
#include <gradus/core/cpu/detail/gemm.h>

#include <algorithm>

#include <Eigen/Core>

#include <gradus/core/cpu/detail/onednn.h>
#include <gradus/core/cpu/detail/rows.h>
#include <gradus/core/cpu/detail/scratch.h>
#include <gradus/core/cpu/detail/widened.h>
#include <gradus/core/detail/matrix.h>

namespace gradus::cpu {
namespace {

constexpr int64_t wide = 512;                     // a tile's largest side: packing costs 10 % of the arithmetic at 256
constexpr int64_t piece_flop = int64_t{4} << 20;  // a piece's least work, ~40 us on one core

// How one product is cut. It depends on the sizes alone, never on the number of threads: so do the results.
struct Grid {
  int64_t rows, columns;  // tiles
  int64_t tile_rows, tile_columns;

  Grid(int64_t batch, int64_t m, int64_t n, int64_t k) : rows((m + wide - 1) / wide), columns((n + wide - 1) / wide) {
    while (batch * rows * columns < 4 && 2 * m * n * k / (rows * columns) > 2 * piece_flop) {
      int64_t& longer = m / rows > n / columns ? rows : columns;
      longer *= 2;
    }
    const auto side = [](int64_t size, int64_t tiles) { return ((size + tiles - 1) / tiles + 15) / 16 * 16; };
    tile_rows = side(m, rows);
    tile_columns = side(n, columns);
    rows = (m + tile_rows - 1) / tile_rows;
    columns = (n + tile_columns - 1) / tile_columns;
  }
};

template <class T>
using RowMajor = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

template <class T>
auto map(const T* data, int64_t rows, int64_t columns, int64_t leading) {
  return Eigen::Map<const RowMajor<T>, 0, Eigen::OuterStride<>>(data, rows, columns, Eigen::OuterStride<>(leading));
}

template <class T>
void eigen_gemm(int64_t m, int64_t n, int64_t k, Operand<T> a, Operand<T> b, bool accumulate, T* c, int64_t ldc) {
  Eigen::Map<RowMajor<T>, 0, Eigen::OuterStride<>> y(c, m, n, Eigen::OuterStride<>(ldc));
  if (!accumulate) y.setZero();
  const auto add = [&](const auto& left) {
    if (b.transposed)
      y.noalias() += left * map(b.data, n, k, b.leading).transpose();
    else
      y.noalias() += left * map(b.data, k, n, b.leading);
  };
  if (a.transposed)
    add(map(a.data, k, m, a.leading).transpose());
  else
    add(map(a.data, m, k, a.leading));
}

// Our own loops turn b round while they pack it, where oneDNN is at its slowest, and start from the bias. With fewer
// rows than these the packing is not worth its while.
constexpr int64_t own_rows = 16;

template <class T>
void own_gemm(int64_t m, int64_t n, int64_t k, Operand<T> a, Operand<T> b, const T* bias, bool accumulate, T* c,
              int64_t ldc) {
  const Scratch scratch(gemm_scratch(n, k) * static_cast<int64_t>(sizeof(T)));
  loops_of<T>(isa().gemm_f32, isa().gemm_f64)({.m = m,
                                               .n = n,
                                               .k = k,
                                               .a = a.data,
                                               .b = b.data,
                                               .bias = bias,
                                               .a_row = a.transposed ? 1 : a.leading,
                                               .a_column = a.transposed ? a.leading : 1,
                                               .b_row = b.leading,
                                               .accumulate = accumulate,
                                               .c = c,
                                               .c_row = ldc,
                                               .scratch = scratch.as<T>()});
}

void library_gemm(int64_t m, int64_t n, int64_t k, Operand<float> a, Operand<float> b, bool accumulate, float* c,
                  int64_t ldc) {
  if (onednn::enabled() && k > 0)
    onednn::gemm(a.transposed, b.transposed, m, n, k, a.data, a.leading, b.data, b.leading, accumulate ? 1.0f : 0.0f, c,
                 ldc);
  else
    eigen_gemm(m, n, k, a, b, accumulate, c, ldc);
}
void library_gemm(int64_t m, int64_t n, int64_t k, Operand<double> a, Operand<double> b, bool accumulate, double* c,
                  int64_t ldc) {
  eigen_gemm(m, n, k, a, b, accumulate, c, ldc);
}

template <class T>
void spread(Tensor& c, const Tensor& a, const Tensor& b, const Tensor& bias, bool accumulate) {
  const int64_t batch = c.size(0), m = c.size(1), n = c.size(2), k = a.size(2);
  const detail::MatrixLayout la = *detail::matrix_layout(a), lb = *detail::matrix_layout(b);
  const T* const pa = a.data<T>();
  const T* const pb = b.data<T>();
  const T* const pbias = bias.defined() ? bias.data<T>() : nullptr;
  T* const pc = c.mutable_data<T>();
  const int64_t step_a = a.stride(0), step_b = b.stride(0);
  const Grid grid(batch, m, n, k);
  const auto tile = [&](int64_t index) {
    const int64_t column = index % grid.columns * grid.tile_columns;
    const int64_t row = index / grid.columns % grid.rows * grid.tile_rows;
    const int64_t i = index / (grid.columns * grid.rows);
    const int64_t width = std::min(grid.tile_columns, n - column), height = std::min(grid.tile_rows, m - row);
    gemm<T>(height, width, k, {pa + i * step_a + (la.transposed ? row : row * la.leading), la.transposed, la.leading},
            {pb + i * step_b + (lb.transposed ? column * lb.leading : column), lb.transposed, lb.leading}, accumulate,
            pc + (i * m + row) * n + column, n, pbias ? pbias + column : nullptr);
  };
  const int64_t tiles = batch * grid.rows * grid.columns;
  const int64_t tile_flop = std::max<int64_t>(2 * grid.tile_rows * grid.tile_columns * k, 1);
  parallel_for(0, tiles, std::max<int64_t>(1, piece_flop / tile_flop), [&](int64_t begin, int64_t end) {
    for (int64_t index = begin; index < end; ++index) tile(index);
  });
}

// A batch of 16-bit matrices as float32, a batch stride of 0 kept.
Tensor widened_batch(const Tensor& x) {
  if (x.stride(0) != 0) return widened(x);
  const Tensor one = widened(as_strided(x, {1, x.size(1), x.size(2)}, x.strides(), x.impl().offset));
  return as_strided(one, x.shape(), {0, x.size(2), 1}, 0);
}

void gemm_kernel(Tensor& c, const Tensor& a, const Tensor& b, const Tensor& bias, bool accumulate) {
  if (c.numel() == 0) return;
  switch (c.dtype()) {
    case Dtype::float32: return spread<float>(c, a, b, bias, accumulate);
    case Dtype::float64: return spread<double>(c, a, b, bias, accumulate);
    default: {
      Tensor wide_c = accumulate ? widened(c) : empty(c.shape(), {.dtype = float32});
      spread<float>(wide_c, widened_batch(a), widened_batch(b), widened(bias), accumulate);
      kernels::copy(Device::cpu(), c, wide_c);
    }
  }
}

[[maybe_unused]] const bool filled = kernels::gemm.set(DeviceType::cpu, gemm_kernel);

}  // namespace

template <class T>
void gemm(int64_t m, int64_t n, int64_t k, Operand<T> a, Operand<T> b, bool accumulate, T* c, int64_t ldc,
          const T* bias) {
  if (b.transposed && m >= own_rows && k > 0) return own_gemm(m, n, k, a, b, bias, accumulate, c, ldc);
  if (bias)  // now, while c is near: a pass of its own would go to memory
    for (int64_t r = 0; r < m; ++r) std::copy_n(bias, n, c + r * ldc);
  library_gemm(m, n, k, a, b, accumulate || bias, c, ldc);
}
template void gemm(int64_t, int64_t, int64_t, Operand<float>, Operand<float>, bool, float*, int64_t, const float*);
template void gemm(int64_t, int64_t, int64_t, Operand<double>, Operand<double>, bool, double*, int64_t, const double*);

}  // namespace gradus::cpu
