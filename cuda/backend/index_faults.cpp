// The errors of checks that have been waited for.
#include <gradus/cuda/backend/index_faults.h>

#include <gradus/core/detail/check.h>
#include <gradus/cuda/backend/runtime.h>

namespace gradus::cuda {

IndexFaults::IndexFaults(int device) : device_(device) {
  void* place = nullptr;
  GRADUS_CUDA(cudaHostAlloc(&place, sizeof nothing, cudaHostAllocPortable));
  place_ = static_cast<unsigned long long*>(place);
  *place_ = nothing;
}

uint64_t IndexFaults::begin(const IndexRange& range) {
  const std::lock_guard lock(mutex_);
  ranges_[next_ % ranges_.size()] = range;
  return next_++ & check_mask;
}

// What was found, and forgotten with that. Kernels of other streams may still be finding: they are waited for first.
unsigned long long IndexFaults::collect() {
  if (__atomic_load_n(place_, __ATOMIC_ACQUIRE) == nothing) return nothing;
  const DeviceScope scope(device_);
  GRADUS_CUDA(cudaDeviceSynchronize());
  return __atomic_exchange_n(place_, nothing, __ATOMIC_ACQ_REL);
}

int64_t IndexFaults::take(uint64_t check) {
  const std::lock_guard lock(mutex_);
  const unsigned long long key = collect();
  return key != nothing && key >> position_bits == check ? position_of(key) : -1;
}

void IndexFaults::raise() {
  const std::lock_guard lock(mutex_);
  const unsigned long long key = collect();
  if (key == nothing) return;
  const uint64_t check = key >> position_bits;
  GRADUS_CHECK(((next_ - check) & check_mask) <= ranges_.size(), IndexError,
               "an index on cuda:{} was out of range, at position {}, some time ago; run with GRADUS_SYNC=1 to learn "
               "where",
               device_, position_of(key));
  const IndexRange& range = ranges_[check % ranges_.size()];
  throw IndexError(
      fmt::format("{}: {} has a value outside {} to {} at position {}; the op ran earlier, and its result "
                  "left that index out (GRADUS_SYNC=1 stops at the op)",
                  range.op, range.argument, range.low, range.high - 1, position_of(key)));
}

}  // namespace gradus::cuda
