// The bytes behind tensors: a block from a device's allocator, with a version that counts in-place changes.
#pragma once

#include <functional>

#include <gradus/core/device.h>
#include <gradus/core/ref.h>

namespace gradus {

class GRADUS_API Storage final : public RefCounted {
 public:
  /// A fresh block of `bytes` (uninitialised). Throws OutOfMemoryError.
  static Ref<Storage> allocate(int64_t bytes, Device device);
  /// Somebody else's memory; `release` (may be empty) runs when the last tensor is gone.
  static Ref<Storage> borrow(void* data, int64_t bytes, Device device, std::function<void()> release);
  ~Storage() override;

  void* data() const { return data_; }
  int64_t bytes() const { return bytes_; }
  Device device() const { return device_; }
  /// Counts in-place changes: autograd compares it with the version it saw when it saved a tensor.
  uint32_t version() const { return __atomic_load_n(&version_, __ATOMIC_RELAXED); }
  void bump_version() { __atomic_fetch_add(&version_, 1, __ATOMIC_RELAXED); }

  static void* operator new(size_t bytes) { return small_allocate(bytes); }
  static void operator delete(void* p, size_t bytes) { small_free(p, bytes); }

 private:
  Storage(void* data, int64_t bytes, Device device) : data_(data), bytes_(bytes), device_(device) {}

  void* data_;
  int64_t bytes_;
  Device device_;
  bool borrowed_ = false;
  uint32_t version_ = 0;
  std::function<void()>* release_ = nullptr;
};

}  // namespace gradus
