// Walking strided tensors (core/detail/strided_space.h) on the CPU: row by row, and moves of runs into and out of dense
// buffers.
#pragma once

#include <cstring>

#include <gradus/core/detail/strided_space.h>

namespace gradus::cpu {

using detail::StridedSpace;

/// The rows of a space one after another, for all operands at once.
class RowCursor {
 public:
  RowCursor(const StridedSpace& space, int64_t row) : space_(space) {
    for (int d = space.rank - 1; d-- > 0; row /= space.size[d]) {
      index_[d] = row % space.size[d];
      for (int k = 0; k < space.operands; ++k) offset_[k] += index_[d] * space.stride[k][d];
    }
  }
  /// Bytes from operand k's first element to its first one in this row.
  int64_t offset(int k) const { return offset_[k]; }
  void next() {
    for (int d = space_.rank - 1; d-- > 0;) {
      for (int k = 0; k < space_.operands; ++k) offset_[k] += space_.stride[k][d];
      if (++index_[d] < space_.size[d]) return;
      for (int k = 0; k < space_.operands; ++k) offset_[k] -= index_[d] * space_.stride[k][d];
      index_[d] = 0;
    }
  }

 private:
  const StridedSpace& space_;
  int64_t index_[max_rank];
  int64_t offset_[StridedSpace::max_operands] = {};
};

/// Moves n words with the given strides in bytes. A word is an element of `itemsize` bytes.
void move_words(void* to, int64_t to_stride, const void* from, int64_t from_stride, int64_t itemsize, int64_t n);
/// Copies elements [position, position + n) of operand k of a walk to a dense buffer, or the other way
/// round.
void gather(void* to, const void* from, int64_t itemsize, const StridedSpace& space, int k, int64_t position,
            int64_t n);
void scatter(void* to, const void* from, int64_t itemsize, const StridedSpace& space, int k, int64_t position,
             int64_t n);

}  // namespace gradus::cpu
