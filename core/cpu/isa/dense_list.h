// Per-ISA functions for matrix products and pooling; see functions.h.
#pragma once

#include <cstdint>

namespace gradus::cpu {

/// c [m, n] = a [m, k] b^T, b [n, k], on top of bias [n] (null: of zeros), or of c itself where `accumulate`; all sizes
/// are positive. Element (i, j) of a is a[i * a_row + j * a_column], one of the strides being 1.
template <class T>
struct GemmTile {
  int64_t m, n, k;
  const T *a, *b, *bias;
  int64_t a_row, a_column, b_row;
  bool accumulate;
  T* c;
  int64_t c_row;
  T* scratch;  ///< gemm_scratch(n, k) elements, 64-byte aligned
};
/// What is packed at a time: gemm_depth x gemm_columns of b, for the second level of the cache, and a panel of a few
/// rows of a, for the first.
inline constexpr int64_t gemm_columns = 512, gemm_depth = 384, gemm_panel_a = 6400;
constexpr int64_t gemm_scratch(int64_t n, int64_t k) {
  const int64_t depth = k < gemm_depth ? k : gemm_depth, columns = n < gemm_columns ? n : gemm_columns;
  return gemm_panel_a + (columns + 31) / 32 * 32 * depth;
}

}  // namespace gradus::cpu

// max_pool_2x2: one row of n outputs of the 2 x 2 maximum with stride 2, from 2 n elements each of two rows. A NaN
// wins. `index`, null when not wanted, counts from above[0], which is number `first`; below[0] is `width` later.
// clang-format off
#define GRADUS_ISA_DENSE(F) \
  F(gemm_f32, void, const GemmTile<float>& tile) \
  F(gemm_f64, void, const GemmTile<double>& tile) \
  F(max_pool_2x2_f32, void, float* y, int64_t* index, const float* above, const float* below, int64_t first, int64_t width, int64_t n) \
  F(max_pool_2x2_f64, void, double* y, int64_t* index, const double* above, const double* below, int64_t first, int64_t width, int64_t n)
// clang-format on
