// Philox4x32-10 (Salmon et al., «Parallel random numbers: as easy as 1, 2, 3», SC 2011): four random words from a key
// and a counter, with no state, so element i is the same on every device and for any number of threads. Plain data
// only.
#pragma once

#include <gradus/core/math.h>

namespace gradus::philox {

struct Words {
  uint32_t w[4];
};

inline constexpr uint32_t multiplier0 = 0xD2511F53u, multiplier1 = 0xCD9E8D57u, key_step0 = 0x9E3779B9u,
                          key_step1 = 0xBB67AE85u;
inline constexpr int rounds = 10;

GRADUS_FN Words philox(uint64_t seed, uint64_t counter) {
  uint32_t c0 = static_cast<uint32_t>(counter), c1 = static_cast<uint32_t>(counter >> 32), c2 = 0, c3 = 0;
  uint32_t k0 = static_cast<uint32_t>(seed), k1 = static_cast<uint32_t>(seed >> 32);
  for (int round = 0; round < rounds; ++round) {
    const uint64_t p0 = uint64_t{multiplier0} * c0, p1 = uint64_t{multiplier1} * c2;
    const uint32_t n0 = static_cast<uint32_t>(p1 >> 32) ^ c1 ^ k0, n2 = static_cast<uint32_t>(p0 >> 32) ^ c3 ^ k1;
    c1 = static_cast<uint32_t>(p1);
    c3 = static_cast<uint32_t>(p0);
    c0 = n0;
    c2 = n2;
    k0 += key_step0;
    k1 += key_step1;
  }
  return {{c0, c1, c2, c3}};
}

/// Uniform in [0, 1): 24 bits, so that every value is exact in float32.
GRADUS_FN float uniform(uint32_t word) { return static_cast<float>(static_cast<int32_t>(word >> 8)) * 0x1p-24f; }
/// Uniform in (0, 1]: safe under a logarithm.
GRADUS_FN float uniform_open(uint32_t word) {
  return (static_cast<float>(static_cast<int32_t>(word >> 8)) + 1.f) * 0x1p-24f;
}

/// Two normal numbers of mean 0 and standard deviation 1 from two words (Box and Muller, 1958).
struct NormalPair {
  float first, second;
};
GRADUS_FN NormalPair normal_pair(uint32_t word0, uint32_t word1) {
  const float radius = math::sqrt(-2.f * math::log(uniform_open(word0)));
  // The upper 24 bits of the other word are the angle; the nearest quarter turn leaves exact digits.
  const int32_t angle = static_cast<int32_t>(word1 >> 8), quadrant = (angle + (1 << 21)) >> 22;
  const float r = static_cast<float>(angle - (quadrant << 22)) * 0x1.921fb6p-22f;  // pi / 2^23
  return {radius * math::polynomial::sin_of(r, static_cast<uint32_t>(quadrant) + 1u),
          radius * math::polynomial::sin_of(r, static_cast<uint32_t>(quadrant))};
}

/// The same in double.
struct NormalPairDouble {
  double first, second;
};
GRADUS_FN NormalPairDouble normal_pair_double(uint32_t word0, uint32_t word1) {
  const double radius = math::sqrt(-2 * math::log(static_cast<double>(uniform_open(word0))));
  const double angle = 2 * 3.14159265358979323846 * static_cast<double>(uniform(word1));
  return {radius * math::cos(angle), radius * math::sin(angle)};
}

/// Uniform in [low, low + range], at most `top`: what lies below the upper end in the dtype of the result, which
/// rounding must not reach.
template <class T>
GRADUS_FN T uniform_between(uint32_t word, T low, T range, T top) {
  const T value = low + range * static_cast<T>(uniform(word));
  return value > top ? top : value;
}

/// One of `range` <= 2^32 integers from `first` on: the high half of word * range.
GRADUS_FN int64_t integer_from(uint32_t word, int64_t first, uint64_t range) {
  return first + static_cast<int64_t>((uint64_t{word} * range) >> 32);
}

/// Dropout with probability p keeps an element where the uniform number is at least p: k / 2^24 >= p, with k the word's
/// upper 24 bits.
GRADUS_FN uint32_t dropout_threshold(double p) { return static_cast<uint32_t>(math::ceil(p * 0x1p24)); }
GRADUS_FN bool keeps(uint32_t word, uint32_t threshold) {
  return static_cast<int32_t>(word >> 8) >= static_cast<int32_t>(threshold);
}

}  // namespace gradus::philox
