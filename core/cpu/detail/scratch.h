// Temporary memory of a kernel, from the CPU's caching allocator, 64-byte aligned.
#pragma once

#include <gradus/core/allocator.h>

namespace gradus::cpu {

class Scratch {
 public:
  explicit Scratch(int64_t bytes) : data_(allocator(Device::cpu()).allocate(bytes > 0 ? bytes : 1)), bytes_(bytes) {}
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  ~Scratch() { allocator(Device::cpu()).free(data_, bytes_ > 0 ? bytes_ : 1); }

  char* data() const { return static_cast<char*>(data_); }
  template <class T>
  T* as() const {
    return static_cast<T*>(data_);
  }

 private:
  void* data_;
  int64_t bytes_;
};

/// `bytes` rounded up so that what lies behind is aligned too.
constexpr int64_t aligned(int64_t bytes) { return (bytes + 63) / 64 * 64; }

}  // namespace gradus::cpu
