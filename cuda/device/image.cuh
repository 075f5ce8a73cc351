// Images [N, C, H, W] as kernels walk over them: a thread's number becomes plane, row and column by three
// multiplications. Sizes within a plane are ints here; who is larger is refused.
#pragma once

#include <string>

#include <gradus/core/error.h>
#include <gradus/core/kernel.h>
#include <gradus/cuda/device/walk.cuh>

namespace gradus::cuda {

/// Pixels of a plane, and of a window over it with its padding, that an int and a sum of two can count.
inline constexpr int64_t most_pixels = (int64_t{1} << 30) - 1;

inline int checked_pixels(int64_t count) {
  if (count > most_pixels)
    throw ShapeError(std::string(gradus::detail::running().op) + ": an image of " + std::to_string(count) +
                     " pixels with its padding, or that many outputs of one; a CUDA device takes up to " +
                     std::to_string(most_pixels) + ", cut it into parts");
  return static_cast<int>(count);
}

/// A part of a batch of planes, fewer than 2^31 elements.
class Planes {
 public:
  Planes(int64_t height, int64_t width)
      : size_(checked_pixels(height * width)),
        height_(static_cast<uint32_t>(height)),
        width_(static_cast<uint32_t>(width)) {}

  struct Place {
    uint32_t plane;
    int row, column;
  };
  __device__ Place at(uint32_t position) const {
    const uint32_t line = width_.quotient(position), plane = height_.quotient(line);
    return {plane, static_cast<int>(line - plane * height_.divisor),
            static_cast<int>(position - line * width_.divisor)};
  }

  /// Calls body(first, elements) for parts of `count` planes.
  template <class Body>
  void each_part(int64_t count, const Body& body) const {
    const int64_t whole = ((int64_t{1} << 31) - 1) / size_;
    for (int64_t first = 0; first < count; first += whole)
      body(first, static_cast<uint32_t>(std::min(whole, count - first) * size_));
  }

 private:
  int64_t size_;
  Divider height_, width_;
};

}  // namespace gradus::cuda
