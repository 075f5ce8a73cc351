// The iteration space that a few strided operands share, with dims merged where all of them allow it. Each device walks
// it in its own way.
#pragma once

#include <span>

#include <gradus/core/tensor.h>

namespace gradus::detail {

/// Operand 0 is the output; the others broadcast to its shape. Dims are ordered by the output's strides (the inner one
/// last), so that a permuted output is still walked through memory in order. Strides are in bytes. rank >= 1.
struct GRADUS_API StridedSpace {
  static constexpr int max_operands = 4;
  int rank = 0, operands = 0;
  int64_t total = 1;
  int64_t size[max_rank];
  int64_t stride[max_operands][max_rank];

  int64_t inner() const { return size[rank - 1]; }
  int64_t inner_stride(int k) const { return stride[k][rank - 1]; }
  /// Whether operand k's elements lie one after another in the order of the walk.
  bool is_dense(int k, int64_t itemsize) const;
  /// Whether every row (run of the inner dim) of operand k is the same memory.
  bool rows_repeat(int k) const;
};

GRADUS_API StridedSpace strided_space(std::span<const Tensor* const> operands);

/// Whether two tensors share bytes without being the same window: writing one while reading the other would go wrong.
GRADUS_API bool overlaps_partly(const Tensor& a, const Tensor& b);

}  // namespace gradus::detail
