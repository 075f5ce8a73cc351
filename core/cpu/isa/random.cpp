// For this instruction set: blocks of Philox words, and what becomes of them in float32. Compiled without fused
// multiplication and addition, so that every instruction set gives the same bits.
#include <gradus/core/cpu/isa/functions.h>
#include <gradus/core/cpu/isa/vector.h>
#include <gradus/core/philox.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace gradus::cpu::GRADUS_ISA {
namespace {

constexpr int64_t width = vector_bytes / 8;

// Several counters side by side, each 32-bit word of the generator in the lower half of a 64-bit lane.
using Lanes [[gnu::vector_size(width * 8)]] = uint64_t;

// The product of the lower halves; the upper ones may hold anything. Compilers do not find this instruction. (The form
// without a mask starts from a vector that is undefined, which GCC 12 warns of.)
GRADUS_FN Lanes product(Lanes a, Lanes b) {
#if defined(__AVX512F__)
  return Lanes(_mm512_maskz_mul_epu32(0xff, __m512i(a), __m512i(b)));
#elif defined(__AVX2__)
  return Lanes(_mm256_mul_epu32(__m256i(a), __m256i(b)));
#elif defined(__x86_64__)
  return Lanes(_mm_mul_epu32(__m128i(a), __m128i(b)));
#else
  return (a & 0xffffffffu) * (b & 0xffffffffu);
#endif
}

}  // namespace

// As philox::philox for counters first, first + 1, ...; `counters` is a multiple of 8.
void philox_words(uint32_t* words, int64_t counters, uint64_t seed, uint64_t first) {
  Lanes position, m0, m1;
  for (int64_t j = 0; j < width; ++j) {
    position[j] = first + static_cast<uint64_t>(j);
    m0[j] = philox::multiplier0;
    m1[j] = philox::multiplier1;
  }
  for (int64_t i = 0; i < counters; i += width, position += width) {
    Lanes c0 = position, c1 = position >> 32, c2 = {}, c3 = {};
    uint32_t k0 = static_cast<uint32_t>(seed), k1 = static_cast<uint32_t>(seed >> 32);
#pragma GCC unroll 10
    for (int round = 0; round < philox::rounds; ++round) {
      const Lanes p0 = product(c0, m0), p1 = product(c2, m1);
      c0 = (p1 >> 32) ^ c1 ^ k0;
      c2 = (p0 >> 32) ^ c3 ^ k1;
      c1 = p1;
      c3 = p0;
      k0 += philox::key_step0;
      k1 += philox::key_step1;
    }
    const Lanes pairs[2] = {(c0 & 0xffffffffu) | c1 << 32, (c2 & 0xffffffffu) | c3 << 32};
    for (int64_t j = 0; j < width; ++j)
      for (int64_t k = 0; k < 4; ++k) words[(i + j) * 4 + k] = static_cast<uint32_t>(pairs[k / 2][j] >> k % 2 * 32);
  }
}

void uniform_floats(float* y, const uint32_t* words, int64_t n, float low, float range, float top) {
  for (int64_t i = 0; i < n; ++i) y[i] = philox::uniform_between(words[i], low, range, top);
}

// n is even.
void normal_floats(float* y, const uint32_t* words, int64_t n, float mean, float std) {
  for (int64_t i = 0; i < n; i += 2) {
    const philox::NormalPair z = philox::normal_pair(words[i], words[i + 1]);
    y[i] = mean + std * z.first;
    y[i + 1] = mean + std * z.second;
  }
}

void dropout_floats(float* y, const float* x, const uint32_t* words, int64_t n, uint32_t threshold, float scale) {
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) {
    const float kept = x[i] * scale;
    y[i] = philox::keeps(words[i], threshold) ? kept : 0.f;
  }
}

}  // namespace gradus::cpu::GRADUS_ISA
