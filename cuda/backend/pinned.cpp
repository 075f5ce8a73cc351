// Blocks of pinned memory by size.
#include <gradus/cuda/backend/pinned.h>

#include <algorithm>
#include <bit>

#include <gradus/core/detail/check.h>

namespace gradus::cuda {

void* PinnedMemory::allocate(int64_t bytes) {
  const int64_t size = static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(std::max<int64_t>(bytes, 4096))));
  const std::lock_guard lock(mutex_);
  collect_pending();
  void* data = nullptr;
  if (auto& blocks = free_[size]; !blocks.empty()) {
    data = blocks.back();
    blocks.pop_back();
  } else if (const cudaError_t code = cudaHostAlloc(&data, static_cast<size_t>(size), cudaHostAllocDefault);
             code == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    throw OutOfMemoryError(fmt::format("out of pinned memory: the system did not grant {} bytes", size), bytes, 0, 0);
  } else {
    check(code, "cudaHostAlloc");
  }
  live_[data] = {size, {}};
  return data;
}

void PinnedMemory::free(void* p) noexcept {
  const std::lock_guard lock(mutex_);
  auto node = live_.extract(p);
  Block& block = node.mapped();
  try {
    Pending pending{p, block.size, {}};
    for (const StreamOf& where : block.used_on) pending.events.emplace_back(where);
    pending_.push_back(std::move(pending));
  } catch (const std::exception&) {  // the device has failed: what it may still touch is given to nobody
  }
}

bool PinnedMemory::owns(const void* p) const {
  const std::lock_guard lock(mutex_);
  auto after = live_.upper_bound(p);
  if (after == live_.begin()) return false;
  const auto& [first, block] = *--after;
  return static_cast<const char*>(p) < static_cast<const char*>(first) + block.size;
}

void PinnedMemory::record_stream(void* p, StreamOf where) {
  const std::lock_guard lock(mutex_);
  const auto found = live_.find(p);
  if (found == live_.end()) return;
  std::vector<StreamOf>& used_on = found->second.used_on;
  if (std::find(used_on.begin(), used_on.end(), where) == used_on.end()) used_on.push_back(where);
}

void PinnedMemory::collect_pending() {
  std::erase_if(pending_, [this](const Pending& pending) {
    for (const PooledEvent& event : pending.events)
      if (!event.is_reached()) return false;
    free_[pending.size].push_back(pending.data);
    return true;
  });
}

}  // namespace gradus::cuda
