// Elements that are only moved: unsigned words of their size, or wider ones where rows allow it.
#pragma once

#include <cstdint>
#include <initializer_list>

#include <gradus/cuda/device/grid.cuh>

namespace gradus::cuda {

template <int bytes>
struct WordOf;
template <>
struct WordOf<1> {
  using type = uint8_t;
};
template <>
struct WordOf<2> {
  using type = uint16_t;
};
template <>
struct WordOf<4> {
  using type = uint32_t;
};
template <>
struct WordOf<8> {
  using type = uint64_t;
};

/// Calls body.operator()<Word>() with the unsigned type of an element's size.
template <class Body>
void for_size(int64_t item, Body body) {
  switch (item) {
    case 1: return body.template operator()<uint8_t>();
    case 2: return body.template operator()<uint16_t>();
    case 4: return body.template operator()<uint32_t>();
    default: return body.template operator()<uint64_t>();
  }
}

/// Calls body.operator()<Word>() with the widest word, up to 16 bytes, of which rows of so many bytes consist, where
/// the first rows lie at these addresses.
template <class Body>
void for_widest_word(int64_t row_bytes, std::initializer_list<const void*> rows, Body body) {
  uint64_t all = 16 | static_cast<uint64_t>(row_bytes);
  for (const void* row : rows) all |= reinterpret_cast<uintptr_t>(row);
  const uint64_t word = all & (~all + 1);
  if (word == 16) return body.template operator()<Pack<uint64_t, 2>>();
  for_size(static_cast<int64_t>(word), body);
}

}  // namespace gradus::cuda
