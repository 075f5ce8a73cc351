// Per-ISA functions for reduce kernels; see functions.h.
#pragma once

#include <cstdint>

#include <gradus/core/element.h>

namespace gradus::cpu {

enum class Reduce : uint8_t { sum, prod, max, min, any, all };
/// The widest block, in columns, that the functions below take.
inline constexpr int64_t reduce_columns = 512;

}  // namespace gradus::cpu

// reduce: y [outer, width] of the accumulator's type from x [outer, n, width], whose rows are `stride` elements apart.
// Accumulators: float for 16-bit floats; uint64_t for sums and products of integers; a byte for any and all; else x's
// own type. first_extreme: the position along n of the first largest (or smallest) element, where a NaN beats all.
// clang-format off
#define GRADUS_ISA_REDUCE(F) \
  F(reduce, void, Reduce op, Dtype dtype, void* y, const void* x, int64_t outer, int64_t n, int64_t width, int64_t stride) \
  F(first_extreme, void, bool largest, Dtype dtype, int64_t* index, const void* x, int64_t outer, int64_t n, int64_t width, int64_t stride)
// clang-format on
