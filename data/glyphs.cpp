// Generated digits for machines without a data set: a 5x7 font under random affine maps, with noise.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>

#include <gradus/core/detail/check.h>
#include <gradus/core/factories.h>
#include <gradus/core/parallel.h>
#include <gradus/core/philox.h>
#include <gradus/data/readers.h>
#include <gradus/data/transforms.h>

namespace gradus::data {
namespace {

constexpr int side = 28, columns = 5, rows = 7;

// A row of the font in each number, the leftmost pixel in bit 4.
constexpr uint8_t font[10][rows] = {
    {0b01110, 0b10001, 0b10011, 0b10101, 0b11001, 0b10001, 0b01110},
    {0b00100, 0b01100, 0b00100, 0b00100, 0b00100, 0b00100, 0b01110},
    {0b01110, 0b10001, 0b00001, 0b00010, 0b00100, 0b01000, 0b11111},
    {0b11111, 0b00010, 0b00100, 0b00010, 0b00001, 0b10001, 0b01110},
    {0b00010, 0b00110, 0b01010, 0b10010, 0b11111, 0b00010, 0b00010},
    {0b11111, 0b10000, 0b11110, 0b00001, 0b00001, 0b10001, 0b01110},
    {0b00110, 0b01000, 0b10000, 0b11110, 0b10001, 0b10001, 0b01110},
    {0b11111, 0b00001, 0b00010, 0b00100, 0b01000, 0b01000, 0b01000},
    {0b01110, 0b10001, 0b10001, 0b01110, 0b10001, 0b10001, 0b01110},
    {0b01110, 0b10001, 0b10001, 0b01111, 0b00001, 0b00010, 0b01100},
};

/// Random numbers of one picture: the same whoever asks, and in whatever order.
class Draws {
 public:
  Draws(uint64_t seed, int64_t picture) : seed_(seed), counter_(static_cast<uint64_t>(picture) << 16) {}
  uint32_t word() {
    if (used_ == 4) {
      words_ = philox::philox(seed_, counter_++);
      used_ = 0;
    }
    return words_.w[used_++];
  }
  float between(float low, float high) { return low + (high - low) * philox::uniform(word()); }

 private:
  uint64_t seed_, counter_;
  philox::Words words_{};
  int used_ = 4;
};

/// Ink of a digit at a place of its bitmap, 0 to 1; between pixel centres it is interpolated.
float ink(int digit, float x, float y) {
  const int left = static_cast<int>(std::floor(x)), top = static_cast<int>(std::floor(y));
  const auto pixel = [&](int r, int c) {
    const bool inside = r >= 0 && r < rows && c >= 0 && c < columns;
    return inside ? static_cast<float>(font[digit][r] >> (columns - 1 - c) & 1) : 0.f;
  };
  const float right_share = x - static_cast<float>(left), bottom_share = y - static_cast<float>(top);
  const float above = std::lerp(pixel(top, left), pixel(top, left + 1), right_share);
  const float below = std::lerp(pixel(top + 1, left), pixel(top + 1, left + 1), right_share);
  return std::lerp(above, below, bottom_share);
}

/// Draws one picture (28, 28) and returns its digit.
int64_t draw(Draws draws, uint8_t* pixels) {
  const int digit = static_cast<int>(draws.word() % 10);
  const float angle = draws.between(-0.3f, 0.3f), shear = draws.between(-0.25f, 0.25f);
  const float width = draws.between(2.2f, 3.6f), height = draws.between(2.4f, 3.4f);  // of a font pixel
  const float centre_x = 13.5f + draws.between(-3, 3), centre_y = 13.5f + draws.between(-2.5f, 2.5f);
  const float strength = draws.between(150, 255), noise = draws.between(10, 50);
  const float cosine = std::cos(angle), sine = std::sin(angle);
  for (int r = 0; r < side; ++r) {
    for (int c = 0; c < side; ++c) {
      const float dx = static_cast<float>(c) - centre_x, dy = static_cast<float>(r) - centre_y;
      const float y = cosine * dy - sine * dx, x = cosine * dx + sine * dy + shear * y;
      const float value = strength * ink(digit, x / width + 2, y / height + 3) + draws.between(-noise, noise);
      *pixels++ = static_cast<uint8_t>(std::clamp(value, 0.f, 255.f));
    }
  }
  return digit;
}

}  // namespace

TensorDataset synthetic_glyphs(int64_t count, uint64_t seed) {
  GRADUS_CHECK(count >= 0, ValueError, "synthetic_glyphs: count is {}; want 0 or more", count);
  const Tensor images = empty({count, 1, side, side}, {.dtype = uint8}), targets = empty({count}, {.dtype = int64});
  uint8_t* pixels = images.mutable_data<uint8_t>();
  int64_t* digits = targets.mutable_data<int64_t>();
  parallel_for(0, count, 64, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) digits[i] = draw(Draws(seed, i), pixels + i * side * side);
  });
  return {images, targets, standardize({0.143}, {0.214}), {"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"}};
}

}  // namespace gradus::data
