// Images [N, C, H, W] as kernels walk over them: a thread's number becomes plane, row and column by three
// multiplications. Sizes within a plane are ints here; larger ones are refused.
#pragma once

#include <string>

#include <gradus/core/error.h>
#include <gradus/core/kernels.h>
#include <gradus/cuda/device/walk.cuh>

namespace gradus::cuda {

/// Ints can count so far, and the sum of two such counts.
inline constexpr int64_t most_pixels = (int64_t{1} << 30) - 1;

inline int checked_count(int64_t count, const char* what) {
  if (count > most_pixels)
    throw ShapeError(std::string(gradus::detail::running().op) + ": " + what + " is " + std::to_string(count) +
                     "; CUDA devices take up to " + std::to_string(most_pixels) + ", cut the image into parts");
  return static_cast<int>(count);
}
/// The size of a plane of x [N, C, H, W].
inline int64_t plane_size(const Tensor& x) {
  return checked_count(x.size(2) * x.size(3), "the number of pixels of an image or its output");
}
/// Size d of a plane of x with the padding that a window puts around it.
inline int64_t padded_size(const Tensor& x, const Window2d& window, int d) {
  return checked_count(x.size(2 + d) + 2 * window.padding[d], "an image's side with its padding");
}

/// A part of a batch of planes, fewer than 2^31 elements.
class Planes {
 public:
  explicit Planes(const Tensor& x)
      : size_(plane_size(x)), height_(static_cast<uint32_t>(x.size(2))), width_(static_cast<uint32_t>(x.size(3))) {}

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
