// Per-ISA functions for pooling; see functions.h.
#pragma once

#include <cstdint>

// max_pool_2x2: one row of n outputs of the 2 x 2 maximum with stride 2, from 2 n elements each of two rows. A NaN
// wins. `index`, null when not wanted, counts from above[0], which is number `first`; below[0] is `width` later.
// clang-format off
#define GRADUS_ISA_DENSE(F) \
  F(max_pool_2x2_f32, void, float* y, int64_t* index, const float* above, const float* below, int64_t first, int64_t width, int64_t n) \
  F(max_pool_2x2_f64, void, double* y, int64_t* index, const double* above, const double* below, int64_t first, int64_t width, int64_t n)
// clang-format on
