// Which channel an element of [N, C, S] belongs to.
#pragma once

#include <algorithm>

#include <gradus/cuda/device/walk.cuh>

namespace gradus::cuda {

/// Division of what is below `limit` by a number that is known before the kernel starts.
struct Quotient {
  int64_t divisor;
  Divider fast;
  bool is_small;

  Quotient(int64_t by, int64_t limit) : divisor(std::max<int64_t>(by, 1)), is_small(limit < int64_t{1} << 31) {
    if (is_small) fast = Divider(static_cast<uint32_t>(divisor));
  }
  __device__ int64_t operator()(int64_t n) const {
    return is_small ? static_cast<int64_t>(fast.quotient(static_cast<uint32_t>(n))) : n / divisor;
  }
};

struct ChannelOf {
  Quotient by_length, by_channels;

  ChannelOf(int64_t channels, int64_t length, int64_t numel) : by_length(length, numel), by_channels(channels, numel) {}
  __device__ int64_t operator()(int64_t element) const {
    const int64_t stretch = by_length(element);
    return stretch - by_channels(stretch) * by_channels.divisor;
  }
};

}  // namespace gradus::cuda
