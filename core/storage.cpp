// Storage and the table of allocators behind it.
#include <gradus/core/storage.h>

#include <gradus/core/allocator.h>
#include <gradus/core/backend.h>
#include <gradus/core/detail/check.h>

namespace gradus {

Allocator& cpu_allocator();  // core/cpu/allocator.cpp

Allocator& allocator(Device device) {
  return device.is_cpu() ? cpu_allocator() : cuda_backend().allocator(device.index);
}

MemoryStats memory_stats(Device device) { return allocator(device).stats(); }
void release_memory_cache(Device device) { allocator(device).release_cache(); }
void reset_peak_memory(Device device) { allocator(device).reset_peak(); }
void set_memory_limit(int64_t bytes, Device device) {
  GRADUS_CHECK(bytes >= 0, ValueError, "set_memory_limit: bytes is {}; want a positive count, or 0 for the default",
               bytes);
  allocator(device).set_limit(bytes);
}
std::string memory_summary(Device device) {
  const MemoryStats s = memory_stats(device);
  const auto row = [](std::string_view what, int64_t bytes) {
    return fmt::format("  {:<8} {:>12.2f} MiB\n", what, static_cast<double>(bytes) / (1 << 20));
  };
  return fmt::format("memory on {}\n{}{}{}{}  {:<8} {:>12} ({} from the system)\n", device, row("live", s.live),
                     row("peak", s.peak), row("cached", s.cached), row("limit", s.limit), "blocks", s.allocations,
                     s.system_calls);
}

Ref<Storage> Storage::allocate(int64_t bytes, Device device) {
  void* data = allocator(device).allocate(bytes);
  return Ref<Storage>::adopt(new Storage(data, bytes, device));
}

Ref<Storage> Storage::borrow(void* data, int64_t bytes, Device device, std::function<void()> release) {
  Ref<Storage> storage = Ref<Storage>::adopt(new Storage(data, bytes, device));
  storage->borrowed_ = true;
  if (release) storage->release_ = new std::function<void()>(std::move(release));
  return storage;
}

Storage::~Storage() {
  if (!borrowed_) {
    allocator(device_).free(data_, bytes_);
  } else if (release_) {
    (*release_)();
    delete release_;
  }
}

}  // namespace gradus
