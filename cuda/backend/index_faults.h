// Indices out of range are found by a kernel, and nobody waits for it: the error is thrown where the host next waits
// for the device. Until then kernels leave such indices out. With GRADUS_SYNC=1 it is thrown at once.
#pragma once

#include <array>
#include <cstdint>
#include <mutex>

#include <gradus/core/kernels.h>

namespace gradus::cuda {

class IndexFaults {
 public:
  explicit IndexFaults(int device);

  /// The place where kernels leave what they find, by atomicMin: key_of() of the first check, and its first position.
  unsigned long long* place() const { return place_; }
  /// A number for a check, later ones being larger (of 24 bits: it begins again).
  uint64_t begin(const IndexRange& range);
  static constexpr unsigned long long key_of(uint64_t check, int64_t position) {
    return static_cast<unsigned long long>(check) << position_bits | static_cast<unsigned long long>(position);
  }
  /// The position that a check has found, or -1, when the device has been waited for.
  int64_t take(uint64_t check);
  /// Throws IndexError if any check has found something. For when the device has been waited for.
  void raise();

 private:
  static constexpr int position_bits = 40;
  static constexpr uint64_t check_mask = (uint64_t{1} << (64 - position_bits)) - 1;
  static constexpr unsigned long long nothing = ~0ull;
  static int64_t position_of(unsigned long long key) {
    return static_cast<int64_t>(key & ((1ull << position_bits) - 1));
  }
  unsigned long long collect();

  const int device_;
  std::mutex mutex_;
  unsigned long long* place_;  // pinned, so that both sides see it
  uint64_t next_ = 0;
  std::array<IndexRange, 4096> ranges_{};  // of the last checks
};

}  // namespace gradus::cuda
