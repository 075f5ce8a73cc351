// Device memory: segments from the driver, cut into blocks that are kept when freed. cudaMalloc waits for the whole
// device, so a training step must not call it.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <unordered_map>
#include <vector>

#include <gradus/core/allocator.h>
#include <gradus/cuda/backend/runtime.h>

namespace gradus::cuda {

/// Blocks belong to the stream that was current when they were made. Freed, a block serves that stream again at once:
/// the work is in order. Another stream gets it when an event says that the first is past it, and a block that
/// record_stream() named other streams for is nobody's until they are past it too.
///
/// GRADUS_CUDA_ALLOCATOR=direct passes every request to the driver, for tools that watch its blocks.
class CachingAllocator final : public Allocator {
 public:
  explicit CachingAllocator(int device);

  void* allocate(int64_t bytes) override;
  void free(void* p, int64_t bytes) noexcept override;
  MemoryStats stats() const override;
  void release_cache() override;
  void reset_peak() override;
  void set_limit(int64_t bytes) override;

  void record_stream(void* p, StreamOf where);
  /// Blocks made since the last call are this op's, in reports: their output is what the op computes.
  void attribute_to(const char* op);
  /// A line for each segment with its blocks, for people.
  std::string snapshot() const;

 private:
  struct Block {
    char* data = nullptr;
    int64_t size = 0;
    cudaStream_t stream = nullptr;
    bool live = false, small = false;  // small: of a segment for small blocks
    const char* op = "outside of ops";
    Block *before = nullptr, *after = nullptr;  // neighbours in the segment
    std::vector<StreamOf> used_on;              // besides its own
    std::unique_ptr<PooledEvent> freed;         // reached when its stream is past the last use
  };
  struct BySize {
    bool operator()(const Block* a, const Block* b) const {
      return a->size != b->size ? a->size < b->size : a->data < b->data;
    }
  };
  using Pool = std::set<Block*, BySize>;
  struct Pending {
    Block* block;
    std::vector<PooledEvent> events;
  };

  Block* take_cached(int64_t size, cudaStream_t stream);
  Block* take_from_other_streams(int64_t size, cudaStream_t stream);
  Block* take_fresh(int64_t bytes, int64_t size, cudaStream_t stream);
  char* from_driver(int64_t size);
  void split(Block& block, int64_t size);
  void make_free(Block& block);
  void absorb_next(Block& block);
  void collect_pending();
  void release_locked();
  Pool& pool_of(const Block& block) { return pools_[block.stream]; }
  bool is_cached(Block& block) { return pool_of(block).count(&block) > 0; }
  [[noreturn]] void out_of_memory(int64_t bytes) const;

  const int device_;
  const bool direct_;
  mutable std::mutex mutex_;
  std::map<cudaStream_t, Pool> pools_;       // free blocks
  std::unordered_map<void*, Block> blocks_;  // all of them, by address
  std::vector<Pending> pending_;
  std::vector<Block*> unattributed_;
  std::atomic<bool> has_unattributed_ = false;
  std::set<cudaStream_t> streams_;
  MemoryStats stats_;
  int64_t limit_ = 0;
};

}  // namespace gradus::cuda
