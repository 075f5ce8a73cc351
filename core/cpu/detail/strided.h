// Walking strided tensors: the iteration space that a few operands share, with dims merged where all of them allow it,
// and moves of runs of it into and out of dense buffers.
#pragma once

#include <cstring>

#include <gradus/core/tensor.h>

namespace gradus::cpu {

/// Operand 0 is the output; the others broadcast to its shape. Dims are ordered by the output's strides (the inner one
/// last), so that a permuted output is still walked through memory in order. Strides are in bytes. rank >= 1.
struct StridedSpace {
  static constexpr int max_operands = 4;
  int rank = 0, operands = 0;
  int64_t total = 1;
  int64_t size[max_rank];
  int64_t stride[max_operands][max_rank];

  int64_t inner() const { return size[rank - 1]; }
  int64_t inner_stride(int k) const { return stride[k][rank - 1]; }
  /// Whether operand k's elements lie one after another in the order of the walk.
  bool is_dense(int k, int64_t itemsize) const;
  /// Whether operand k has the same value everywhere.
  bool is_constant(int k) const;
  /// Bytes from operand k's first element to the one at `position` of the walk.
  int64_t offset(int k, int64_t position) const;
};

StridedSpace strided_space(std::span<const Tensor* const> operands);

/// Copies elements [position, position + n) of operand k of a walk to a dense buffer, or the other way round. A word is
/// an element of `itemsize` bytes.
void gather(void* to, const void* from, int64_t itemsize, const StridedSpace& space, int k, int64_t position,
            int64_t n);
void scatter(void* to, const void* from, int64_t itemsize, const StridedSpace& space, int k, int64_t position,
             int64_t n);

/// Whether two tensors share bytes without being the same window: writing one while reading the other would go wrong.
bool overlaps_partly(const Tensor& a, const Tensor& b);

}  // namespace gradus::cpu
