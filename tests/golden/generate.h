// Numbers that C++ and Python make alike, so that recordings need no inputs: generate.py beside it is the same.
#pragma once

#include <cmath>
#include <cstdint>
#include <string_view>

namespace golden {

/// splitmix64 (Steele, Lea and Flood, OOPSLA 2014): element i of input `index`, in [0, 1).
inline double uniform_at(uint64_t index, int64_t i) {
  uint64_t z = (index + 1) * 0x9E3779B97F4A7C15u + static_cast<uint64_t>(i) * 0xD1B54A32D192ED03u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  z ^= z >> 31;
  return static_cast<double>(z >> 11) * 0x1p-53;
}

/// Weights in [0.5, 1.5) of a sum that tells elements apart.
inline double weight_at(int64_t i) { return 0.5 + std::fmod(0.6180339887498949 * static_cast<double>(i + 1), 1.0); }

/// A number for uniform_at from a name: FNV-1a (Fowler, Noll and Vo).
inline uint64_t index_of(std::string_view name) {
  uint64_t hash = 0xCBF29CE484222325u;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3u;
  return hash;
}

}  // namespace golden
