// Pinned memory of the host, kept when freed: getting it from the driver takes far longer than a copy.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <unordered_map>
#include <vector>

#include <gradus/cuda/backend/runtime.h>

namespace gradus::cuda {

class PinnedMemory {
 public:
  /// Sizes are rounded up to powers of two. Throws OutOfMemoryError.
  void* allocate(int64_t bytes);
  void free(void* p) noexcept;
  bool owns(const void* p) const;
  /// The block at p is used there: freed, it is not given out again before that is over.
  void record_stream(void* p, StreamOf where);

 private:
  struct Block {
    int64_t size;
    std::vector<StreamOf> used_on;
  };
  struct Pending {
    void* data;
    int64_t size;
    std::vector<PooledEvent> events;
  };
  void collect_pending();

  mutable std::mutex mutex_;
  std::map<const void*, Block> live_;
  std::unordered_map<int64_t, std::vector<void*>> free_;  // by size
  std::vector<Pending> pending_;
};

}  // namespace gradus::cuda
