// The same random inputs and the same initial weights for Gradus and for its peers, so that their losses can be
// compared number by number: a speed only counts when both sides did the same mathematics.
#pragma once
#include <cmath>
#include <cstdint>
#include <numbers>
#include <span>
#include <string_view>

namespace bench {

// Uniform in [0, 1) from a seed and an index (the finaliser of SplitMix64): no state, any order.
inline float uniform_at(uint64_t seed, uint64_t index) {
  uint64_t z = seed * 0x9e3779b97f4a7c15u + index + 1;
  z *= 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return float((z ^ (z >> 31)) >> 40) * 0x1p-24f;
}

inline void fill_uniform(std::span<float> out, uint64_t seed, float low, float high) {
  for (size_t i = 0; i < out.size(); ++i) out[i] = low + (high - low) * uniform_at(seed, i);
}

// Box-Muller.
inline void fill_normal(std::span<float> out, uint64_t seed) {
  for (size_t i = 0; i < out.size(); ++i) {
    const float radius = std::sqrt(-2 * std::log(1 - uniform_at(seed, 2 * i)));
    out[i] = radius * std::cos(2 * std::numbers::pi_v<float> * uniform_at(seed, 2 * i + 1));
  }
}

// Class or token numbers in [0, count).
inline void fill_classes(std::span<int64_t> out, uint64_t seed, int64_t count) {
  for (size_t i = 0; i < out.size(); ++i) out[i] = int64_t(uniform_at(seed, i) * float(count));
}

// Initial values of a parameter, from its name ("blocks.0.qkv.weight") and shape alone: matrices and filters uniform
// within 1/sqrt(fan-in), norm weights one, biases zero.
inline void fill_parameter(std::string_view name, std::span<const int64_t> shape, std::span<float> out) {
  if (shape.size() < 2) {
    const float constant = name.ends_with("weight") ? 1 : 0;
    for (float& value : out) value = constant;
    return;
  }
  uint64_t seed = 0xcbf29ce484222325u;  // FNV-1a of the name
  for (const char letter : name) seed = (seed ^ uint8_t(letter)) * 0x100000001b3u;
  const float bound = 1 / std::sqrt(float(out.size()) / float(shape[0]));
  fill_uniform(out, seed, -bound, bound);
}

}  // namespace bench
