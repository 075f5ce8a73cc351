// Caching allocators, one per device, and their statistics. Freed blocks are kept for the next request of their size
// class, because a fresh page costs far more than the arithmetic on it.
#pragma once

#include <cstdint>
#include <string>

#include <gradus/core/device.h>

namespace gradus {

/// What an allocator holds, in bytes and counts.
struct MemoryStats {
  int64_t live = 0;          ///< in blocks that tensors use
  int64_t cached = 0;        ///< in freed blocks kept for reuse
  int64_t peak = 0;          ///< largest `live` since the start or reset_peak_memory()
  int64_t allocations = 0;   ///< blocks handed out
  int64_t system_calls = 0;  ///< blocks that had to come from the operating system or the driver
  int64_t limit = 0;         ///< most that may be live
};

GRADUS_API MemoryStats memory_stats(Device device = Device::cpu());
/// A table of memory_stats() for people.
GRADUS_API std::string memory_summary(Device device = Device::cpu());
/// Gives all cached blocks back to the operating system or the driver.
GRADUS_API void release_memory_cache(Device device = Device::cpu());
GRADUS_API void reset_peak_memory(Device device = Device::cpu());
/// Most bytes that may be live; 0 restores the default (the machine's or the control group's memory).
GRADUS_API void set_memory_limit(int64_t bytes, Device device = Device::cpu());

/// The interface a backend implements. Allocators are immortal: tensors may outlive main().
class GRADUS_API Allocator {
 public:
  virtual ~Allocator() = default;
  /// Uninitialised, 64-byte aligned. Throws OutOfMemoryError.
  virtual void* allocate(int64_t bytes) = 0;
  virtual void free(void* p, int64_t bytes) noexcept = 0;
  virtual MemoryStats stats() const = 0;
  virtual void release_cache() = 0;
  virtual void reset_peak() = 0;
  virtual void set_limit(int64_t bytes) = 0;
};
GRADUS_API Allocator& allocator(Device device);

}  // namespace gradus
