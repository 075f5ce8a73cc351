// The caching allocator's search, cutting and joining of blocks.
#include <gradus/cuda/backend/caching_allocator.h>

#include <algorithm>
#include <cstdlib>
#include <string_view>

#include <gradus/core/detail/check.h>

namespace gradus::cuda {
namespace {

constexpr int64_t granule = 512, mebibyte = 1 << 20;
// Requests up to 1 MiB share segments of 2 MiB; those up to 10 MiB, segments of 20 MiB; larger ones get their own.
constexpr int64_t small_request = mebibyte, small_segment = 2 * mebibyte, middle_request = 10 * mebibyte,
                  middle_segment = 20 * mebibyte;

int64_t round_up(int64_t bytes, int64_t unit) { return (bytes + unit - 1) / unit * unit; }

bool asked_for_direct() {
  const char* text = std::getenv("GRADUS_CUDA_ALLOCATOR");
  return text && std::string_view(text) == "direct";
}

}  // namespace

CachingAllocator::CachingAllocator(int device) : device_(device), direct_(asked_for_direct()) { set_limit(0); }

void* CachingAllocator::allocate(int64_t bytes) {
  const cudaStream_t stream = stream_of(device_);
  const int64_t size = direct_ ? std::max<int64_t>(bytes, 1) : std::max(round_up(bytes, granule), granule);
  const std::lock_guard lock(mutex_);
  const DeviceScope scope(device_);
  collect_pending();
  streams_.insert(stream);
  Block* block = direct_ || bytes > limit_ ? nullptr : take_cached(size, stream);
  if (!block) block = take_fresh(bytes, size, stream);
  block->live = true;
  block->op = "outside of ops";
  unattributed_.push_back(block);
  has_unattributed_ = true;
  ++stats_.allocations;
  stats_.live += block->size;
  stats_.peak = std::max(stats_.peak, stats_.live);
  return block->data;
}

void CachingAllocator::free(void* p, int64_t) noexcept {
  const std::lock_guard lock(mutex_);
  Block& block = blocks_.find(p)->second;
  std::erase(unattributed_, &block);
  block.live = false;
  stats_.live -= block.size;
  try {
    const DeviceScope scope(device_);
    if (direct_) {
      cudaFree(p);
      blocks_.erase(p);
      return;
    }
    if (block.used_on.empty()) return make_free(block);
    Pending pending{&block, {}};
    for (const StreamOf& where : block.used_on) pending.events.emplace_back(where);
    block.used_on.clear();
    pending_.push_back(std::move(pending));
  } catch (const std::exception&) {
    // The device has failed, and with it all its memory: the block is nobody's any more.
  }
}

// ---- finding a block
CachingAllocator::Block* CachingAllocator::take_cached(int64_t size, cudaStream_t stream) {
  const bool small = size <= small_request;
  // The smallest that is large enough, but small requests stay among themselves.
  const auto best_in = [&](Pool& pool) -> Block* {
    Block key;
    key.size = size;
    for (auto it = pool.lower_bound(&key); it != pool.end(); ++it) {
      if ((*it)->small != small) continue;
      if ((*it)->stream != stream && !((*it)->freed && (*it)->freed->is_reached())) continue;
      return *it;
    }
    return nullptr;
  };
  Block* block = best_in(pools_[stream]);
  for (auto pool = pools_.begin(); !block && pool != pools_.end(); ++pool)
    if (pool->first != stream) block = best_in(pool->second);
  if (!block) return nullptr;
  pool_of(*block).erase(block);
  stats_.cached -= block->size;
  block->stream = stream;
  split(*block, size);
  return block;
}

CachingAllocator::Block* CachingAllocator::take_fresh(int64_t bytes, int64_t size, cudaStream_t stream) {
  const int64_t segment = direct_                  ? size
                          : size <= small_request  ? small_segment
                          : size <= middle_request ? middle_segment
                                                   : round_up(size, small_segment);
  const auto fits = [&](int64_t n) { return n <= limit_ - stats_.live - stats_.cached; };
  char* data = fits(segment) ? from_driver(segment) : nullptr;
  if (!data) {
    release_locked();
    data = fits(segment) ? from_driver(segment) : nullptr;
  }
  // Just what is needed, when a whole segment is too much.
  const int64_t taken = data ? segment : size;
  if (!data && fits(size)) data = from_driver(size);
  if (!data) out_of_memory(bytes);
  Block& block = blocks_[data];
  block.data = data;
  block.size = taken;
  block.stream = stream;
  block.small = size <= small_request;
  split(block, size);
  return &block;
}

char* CachingAllocator::from_driver(int64_t size) {
  void* data = nullptr;
  const cudaError_t code = cudaMalloc(&data, static_cast<size_t>(size));
  if (code == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    return nullptr;
  }
  check(code, "cudaMalloc");
  ++stats_.system_calls;
  return static_cast<char*>(data);
}

// Leaves the first `size` bytes to the block, and makes a free one of the rest, if that is worth while.
void CachingAllocator::split(Block& block, int64_t size) {
  const int64_t rest = block.size - size;
  if (direct_ || rest < (block.small ? granule : small_request)) return;
  Block& tail = blocks_[block.data + size];
  tail.data = block.data + size;
  tail.size = rest;
  tail.stream = block.stream;
  tail.small = block.small;
  tail.before = &block;
  tail.after = block.after;
  if (tail.after) tail.after->before = &tail;
  block.after = &tail;
  block.size = size;
  pool_of(tail).insert(&tail);
  stats_.cached += rest;
}

// ---- giving back
void CachingAllocator::make_free(Block& block) {
  stats_.cached += block.size;
  if (block.after && pools_[block.stream].erase(block.after)) absorb_next(block);
  Block* whole = &block;
  if (block.before && pools_[block.stream].erase(block.before)) {
    whole = block.before;
    absorb_next(*whole);
  }
  // Where there is one stream only, nobody asks whether it is past the block.
  if (streams_.size() > 1) {
    whole->freed = std::make_unique<PooledEvent>(StreamOf{device_, whole->stream});
  }
  pool_of(*whole).insert(whole);
}

void CachingAllocator::absorb_next(Block& block) {
  Block* next = block.after;
  block.size += next->size;
  block.after = next->after;
  if (block.after) block.after->before = &block;
  blocks_.erase(next->data);
}

void CachingAllocator::collect_pending() {
  for (size_t i = 0; i < pending_.size();) {
    if (!std::all_of(pending_[i].events.begin(), pending_[i].events.end(),
                     [](const PooledEvent& event) { return event.is_reached(); })) {
      ++i;
      continue;
    }
    Block& block = *pending_[i].block;
    std::swap(pending_[i], pending_.back());
    pending_.pop_back();
    make_free(block);
  }
}

// Whole segments that nobody uses go back to the driver. The device is past everything here, so blocks are joined
// whatever streams they were of.
void CachingAllocator::release_locked() {
  GRADUS_CUDA(cudaDeviceSynchronize());
  collect_pending();
  std::vector<Block*> firsts;
  for (auto& [data, block] : blocks_)
    if (!block.before) firsts.push_back(&block);
  for (Block* const first : firsts) {
    for (Block* block = first; block; block = block->after) {
      if (!is_cached(*block)) continue;
      while (block->after && is_cached(*block->after)) {
        pool_of(*block->after).erase(block->after);
        pool_of(*block).erase(block);
        absorb_next(*block);
        pool_of(*block).insert(block);
      }
    }
    if (first->after || !is_cached(*first)) continue;
    pool_of(*first).erase(first);
    stats_.cached -= first->size;
    cudaFree(first->data);
    blocks_.erase(first->data);
  }
}

void CachingAllocator::release_cache() {
  const std::lock_guard lock(mutex_);
  const DeviceScope scope(device_);
  release_locked();
}

// ---- other streams, reports
void CachingAllocator::record_stream(void* p, StreamOf where) {
  const std::lock_guard lock(mutex_);
  const auto found = blocks_.find(p);
  if (found == blocks_.end() || where == StreamOf{device_, found->second.stream}) return;
  std::vector<StreamOf>& used_on = found->second.used_on;
  if (std::find(used_on.begin(), used_on.end(), where) == used_on.end()) used_on.push_back(where);
}

void CachingAllocator::attribute_to(const char* op) {
  if (!has_unattributed_.exchange(false, std::memory_order_relaxed)) return;
  const std::lock_guard lock(mutex_);
  for (Block* block : unattributed_) block->op = op;
  unattributed_.clear();
}

void CachingAllocator::out_of_memory(int64_t bytes) const {
  struct Holder {
    std::string_view op;
    int64_t bytes = 0, blocks = 0;
  };
  std::map<std::string_view, Holder> by_op;
  for (const auto& [data, block] : blocks_) {
    if (!block.live) continue;
    Holder& holder = by_op[block.op];
    holder.op = block.op;
    holder.bytes += block.size;
    ++holder.blocks;
  }
  std::vector<Holder> holders;
  for (const auto& [op, holder] : by_op) holders.push_back(holder);
  std::sort(holders.begin(), holders.end(), [](const Holder& a, const Holder& b) { return a.bytes > b.bytes; });
  if (holders.size() > 5) holders.resize(5);
  size_t free_bytes = 0, total = 0;
  cudaMemGetInfo(&free_bytes, &total);
  std::string text = fmt::format(
      "out of memory on cuda:{}: asked for {} bytes; {} live, {} cached in pieces, {} free on the device of {}, limit "
      "{}",
      device_, bytes, stats_.live, stats_.cached, free_bytes, total, limit_);
  if (!holders.empty()) text += "; the most is held by";
  for (const Holder& holder : holders)
    text += fmt::format("{} {} ({} bytes in {} block{})", &holder == holders.data() ? "" : ",", holder.op, holder.bytes,
                        holder.blocks, holder.blocks == 1 ? "" : "s");
  text += "; use a smaller batch, checkpoint(), or release tensors that are still held";
  throw OutOfMemoryError(text, bytes, stats_.live, stats_.cached);
}

std::string CachingAllocator::snapshot() const {
  const std::lock_guard lock(mutex_);
  std::vector<const Block*> firsts;
  for (const auto& [data, block] : blocks_)
    if (!block.before) firsts.push_back(&block);
  std::sort(firsts.begin(), firsts.end(), [](const Block* a, const Block* b) { return a->data < b->data; });
  std::string text;
  for (const Block* block : firsts) {
    text += fmt::format("segment {}\n", static_cast<const void*>(block->data));
    for (; block; block = block->after)
      text += fmt::format("  {:>12} bytes  {}\n", block->size, block->live ? block->op : "free");
  }
  return text;
}

MemoryStats CachingAllocator::stats() const {
  const std::lock_guard lock(mutex_);
  MemoryStats stats = stats_;
  stats.limit = limit_;
  return stats;
}
void CachingAllocator::reset_peak() {
  const std::lock_guard lock(mutex_);
  stats_.peak = stats_.live;
}
void CachingAllocator::set_limit(int64_t bytes) {
  const DeviceScope scope(device_);
  size_t free_bytes = 0, total = 0;
  GRADUS_CUDA(cudaMemGetInfo(&free_bytes, &total));
  const std::lock_guard lock(mutex_);
  limit_ = bytes > 0 ? bytes : static_cast<int64_t>(total);
}

}  // namespace gradus::cuda
