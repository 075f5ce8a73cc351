// The check of indices: finds the first that is out of range, and leaves it where the host will look.
#include <gradus/core/kernels.h>
#include <gradus/cuda/backend/backend.h>
#include <gradus/cuda/device/grid.cuh>
#include <gradus/cuda/launch.cuh>

namespace gradus::cuda {
namespace {

__global__ void find_outside(const int64_t* index, int64_t n, int64_t low, uint64_t range, uint64_t check,
                             unsigned long long* place) {
  for (int64_t i = thread_number(); i < n; i += thread_count())
    if (static_cast<uint64_t>(index[i]) - static_cast<uint64_t>(low) >= range) {
      atomicMin(place, IndexFaults::key_of(check, i));
      return;  // what this thread would see next lies behind
    }
}

int64_t check_indices(const Tensor& index, const IndexRange& range) {
  if (index.numel() == 0) return -1;
  CudaBackend& backend = CudaBackend::get();
  const int device = index.device().index;
  IndexFaults& faults = backend.index_faults(device);
  const uint64_t check = faults.begin(range);
  const uint64_t size =
      range.high > range.low ? static_cast<uint64_t>(range.high) - static_cast<uint64_t>(range.low) : 0;
  launch<find_outside>(blocks_for(index.numel()), threads_per_block, 0, static_cast<const int64_t*>(index.raw_data()),
                       index.numel(), range.low, size, check, faults.place());
  if (!synchronous()) return -1;
  backend.wait(device);
  return faults.take(check);
}

[[maybe_unused]] const bool filled = kernels::check_indices.set(DeviceType::cuda, check_indices);

}  // namespace
}  // namespace gradus::cuda
