// Blocks of up to 4 KiB from per-thread lists of 64-byte size classes: tensor handles, graph nodes, small data. A list
// that grows too long gives half of itself to a shared list, so memory freed on another thread comes back.
#include <array>
#include <cstdlib>
#include <mutex>
#include <new>

#include <gradus/core/detail/small_allocator.h>
#include <gradus/core/ref.h>

namespace gradus {
namespace {

constexpr size_t granule = 64, num_classes = small_block_limit / granule, chunk_bytes = 64 * 1024;
constexpr uint32_t max_list_bytes = 1 << 20;

struct FreeBlock {
  FreeBlock* next;
};

struct List {
  FreeBlock* head = nullptr;
  uint32_t count = 0;

  void push(void* p) {
    head = new (p) FreeBlock{head};
    ++count;
  }
  void* pop() {
    FreeBlock* block = head;
    head = block->next;
    --count;
    return block;
  }
  /// Moves up to n blocks to `other`.
  void move_to(List& other, uint32_t n) {
    while (head && n--) other.push(pop());
  }
};

struct Shared {
  std::mutex mutex;
  std::array<List, num_classes> lists;
};
// Never destroyed: tensors may outlive main().
Shared& shared() {
  static Shared* instance = new Shared;
  return *instance;
}

size_t class_of(size_t bytes) { return bytes == 0 ? 0 : (bytes - 1) / granule; }
size_t class_bytes(size_t c) { return (c + 1) * granule; }

struct ThreadCache {
  std::array<List, num_classes> lists;
  ~ThreadCache();
};
// Plain pointer with trivial destruction, so that objects freed after the thread's cache is gone still find a way.
thread_local ThreadCache* cache = nullptr;
thread_local bool cache_gone = false;

struct CacheOwner {
  ThreadCache value;
  CacheOwner() { cache = &value; }
  ~CacheOwner() {
    cache = nullptr;
    cache_gone = true;
  }
};

ThreadCache::~ThreadCache() {
  const std::lock_guard lock(shared().mutex);
  for (size_t c = 0; c < num_classes; ++c) lists[c].move_to(shared().lists[c], lists[c].count);
}

ThreadCache* make_cache() {
  if (cache_gone) return nullptr;
  thread_local CacheOwner owner;
  return &owner.value;
}

// Refills an empty list: from the shared one, else by cutting a fresh chunk.
void* refill(List& list, size_t c) {
  {
    const std::lock_guard lock(shared().mutex);
    List& reserve = shared().lists[c];
    if (reserve.head) {
      reserve.move_to(list, 64);
      return list.pop();
    }
  }
  const size_t bytes = class_bytes(c);
  char* chunk = static_cast<char*>(std::aligned_alloc(granule, chunk_bytes));
  if (!chunk) throw std::bad_alloc();
  for (size_t at = chunk_bytes / bytes * bytes; at >= bytes; at -= bytes) list.push(chunk + at - bytes);
  return list.pop();
}

}  // namespace

void* small_allocate(size_t bytes) {
  if (bytes > small_block_limit) {
    void* p = std::aligned_alloc(granule, (bytes + granule - 1) / granule * granule);
    if (!p) throw std::bad_alloc();
    return p;
  }
  const size_t c = class_of(bytes);
  ThreadCache* mine = cache ? cache : make_cache();
  if (!mine) [[unlikely]] {  // this thread is ending
    List list;
    void* p = refill(list, c);
    const std::lock_guard lock(shared().mutex);
    list.move_to(shared().lists[c], list.count);
    return p;
  }
  List& list = mine->lists[c];
  return list.head ? list.pop() : refill(list, c);
}

void small_free(void* p, size_t bytes) noexcept {
  if (bytes > small_block_limit) return std::free(p);
  const size_t c = class_of(bytes);
  if (!cache) [[unlikely]] {
    if (cache_gone || !make_cache()) {
      const std::lock_guard lock(shared().mutex);
      return shared().lists[c].push(p);
    }
  }
  List& list = cache->lists[c];
  list.push(p);
  if (list.count * class_bytes(c) > max_list_bytes && list.count > 128) [[unlikely]] {
    const std::lock_guard lock(shared().mutex);
    list.move_to(shared().lists[c], list.count / 2);
  }
}

}  // namespace gradus
