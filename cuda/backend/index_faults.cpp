// The errors of checks that have been waited for.
#include <gradus/cuda/backend/index_faults.h>

#include <utility>

#include <gradus/core/detail/check.h>
#include <gradus/cuda/backend/runtime.h>

namespace gradus::cuda {

IndexFaults::IndexFaults() {
  void* place = nullptr;
  GRADUS_CUDA(cudaHostAlloc(&place, sizeof nothing, cudaHostAllocPortable));
  place_ = static_cast<unsigned long long*>(place);
  *place_ = nothing;
}

uint64_t IndexFaults::begin(const IndexRange& range) {
  const std::lock_guard lock(mutex_);
  ranges_[next_ % ranges_.size()] = range;
  return next_++;
}

int64_t IndexFaults::take(uint64_t check) {
  const std::lock_guard lock(mutex_);
  const unsigned long long key = *place_;
  if (key == nothing || key >> position_bits != check) return -1;
  *place_ = nothing;
  return static_cast<int64_t>(key & ((1ull << position_bits) - 1));
}

void IndexFaults::raise() {
  const std::lock_guard lock(mutex_);
  const unsigned long long key = std::exchange(*place_, nothing);
  if (key == nothing) return;
  const uint64_t check = key >> position_bits;
  const uint64_t position = key & ((1ull << position_bits) - 1);
  GRADUS_CHECK(next_ - check <= ranges_.size(), IndexError,
               "an index on a CUDA device was out of range, at position {}, some time ago; run with GRADUS_SYNC=1 to "
               "learn where",
               position);
  const IndexRange& range = ranges_[check % ranges_.size()];
  throw IndexError(
      fmt::format("{}: {} has a value outside {} to {} at position {}; the op ran earlier, and its result "
                  "left that index out (GRADUS_SYNC=1 stops at the op)",
                  range.op, range.argument, range.low, range.high - 1, position));
}

}  // namespace gradus::cuda
