// The CPU's caching allocator. Small blocks come from the per-thread lists; larger ones from size classes, eight to an
// octave (12.5 % waste at most), kept when freed. Blocks of 2 MiB and more ask for huge pages.
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstdlib>
#include <fstream>
#include <map>
#include <mutex>
#include <vector>

#include <gradus/core/allocator.h>
#include <gradus/core/detail/check.h>
#include <gradus/core/detail/small_allocator.h>

namespace gradus {
namespace {

constexpr int64_t huge_page = 2 << 20;

// Smallest size class that holds `bytes`: 8 classes between powers of two, pages above 1 MiB.
int64_t size_class(int64_t bytes) {
  const int64_t step =
      std::max<int64_t>(64, static_cast<int64_t>(std::bit_floor(static_cast<uint64_t>(bytes - 1))) / 8);
  return (bytes + step - 1) / step * step;
}

// What this process may use: the machine's memory or its control group's limit.
int64_t machine_limit() {
  int64_t limit = static_cast<int64_t>(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGESIZE);
  for (const char* path : {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"}) {
    std::ifstream file(path);
    int64_t value = 0;
    if (file >> value && value > 0) limit = std::min(limit, value);
  }
  return limit;
}

class CpuAllocator final : public Allocator {
 public:
  void* allocate(int64_t bytes) override {
    if (bytes <= static_cast<int64_t>(small_block_limit)) return small_allocate(static_cast<size_t>(bytes));
    const int64_t size = bytes > limit_.load(std::memory_order_relaxed) ? bytes : size_class(bytes);
    const std::lock_guard lock(mutex_);
    ++stats_.allocations;
    void* p = take_cached(size);
    if (!p) p = take_fresh(bytes, size);
    stats_.live += size;
    stats_.peak = std::max(stats_.peak, stats_.live);
    return p;
  }

  void free(void* p, int64_t bytes) noexcept override {
    if (bytes <= static_cast<int64_t>(small_block_limit)) return small_free(p, static_cast<size_t>(bytes));
    const int64_t size = size_class(bytes);
    const std::lock_guard lock(mutex_);
    stats_.live -= size;
    stats_.cached += size;
    cached_[size].push_back(p);
  }

  MemoryStats stats() const override {
    const std::lock_guard lock(mutex_);
    MemoryStats stats = stats_;
    stats.limit = limit_;
    return stats;
  }
  void release_cache() override {
    const std::lock_guard lock(mutex_);
    release_locked();
  }
  void reset_peak() override {
    const std::lock_guard lock(mutex_);
    stats_.peak = stats_.live;
  }
  void set_limit(int64_t bytes) override { limit_ = bytes > 0 ? bytes : machine_limit(); }

 private:
  void* take_cached(int64_t size) {
    const auto it = cached_.find(size);
    if (it == cached_.end() || it->second.empty()) return nullptr;
    void* p = it->second.back();
    it->second.pop_back();
    stats_.cached -= size;
    return p;
  }

  // A block from the system; the cache is released when it and the live blocks would pass the limit, and once more
  // when the system refuses.
  void* take_fresh(int64_t bytes, int64_t size) {
    const int64_t limit = limit_;
    if (size <= limit && stats_.live + stats_.cached + size > limit) release_locked();
    if (stats_.live + size <= limit) {
      ++stats_.system_calls;
      const size_t alignment = static_cast<size_t>(size >= huge_page ? huge_page : 64);
      void* p = std::aligned_alloc(alignment, (static_cast<size_t>(size) + alignment - 1) / alignment * alignment);
      if (!p) {
        release_locked();
        p = std::aligned_alloc(alignment, (static_cast<size_t>(size) + alignment - 1) / alignment * alignment);
      }
      if (p) {
        if (size >= huge_page) madvise(p, static_cast<size_t>(size), MADV_HUGEPAGE);
        return p;
      }
    }
    throw OutOfMemoryError(
        fmt::format("out of memory on cpu: asked for {} bytes; {} live, {} cached, limit {}; use a smaller "
                    "batch, or release tensors that are still held",
                    bytes, stats_.live, stats_.cached, limit),
        bytes, stats_.live, stats_.cached);
  }

  void release_locked() {
    for (auto& [size, blocks] : cached_)
      for (void* p : blocks) std::free(p);
    cached_.clear();
    stats_.cached = 0;
  }

  mutable std::mutex mutex_;
  std::map<int64_t, std::vector<void*>> cached_;
  MemoryStats stats_;
  std::atomic<int64_t> limit_{machine_limit()};
};

}  // namespace

Allocator& cpu_allocator() {
  static CpuAllocator* instance = new CpuAllocator;  // never destroyed
  return *instance;
}

}  // namespace gradus
