// Where the elements of strided operands lie: a walk (core/detail/strided_space.h) in the form that a kernel takes.
#pragma once

#include <array>

#include <gradus/core/detail/strided_space.h>
#include <gradus/cuda/device/portable.cuh>

namespace gradus::cuda {

/// Division by a number that is known before the kernel starts, for dividends below 2^31: a multiplication and a shift
/// (Granlund and Montgomery, «Division by invariant integers using multiplication», PLDI 1994).
struct Divider {
  uint32_t divisor = 1, factor = 1, shift = 0;

  Divider() = default;
  explicit Divider(uint32_t d) : divisor(d) {
    while ((uint64_t{1} << shift) < d) ++shift;
    factor = static_cast<uint32_t>((uint64_t{1} << 32) * ((uint64_t{1} << shift) - d) / d + 1);
  }
  __device__ uint32_t quotient(uint32_t n) const { return (__umulhi(n, factor) + n) >> shift; }
};

/// Fewer than 2^31 elements.
template <int operands>
struct Walk {
  int rank;
  Divider size[max_rank];
  int64_t stride[operands][max_rank];  // in bytes

  explicit Walk(const gradus::detail::StridedSpace& space) : rank(space.rank) {
    for (int d = 0; d < rank; ++d) {
      size[d] = Divider(static_cast<uint32_t>(space.size[d]));
      for (int k = 0; k < operands; ++k) stride[k][d] = space.stride[k][d];
    }
  }

  /// Bytes from each operand's first element to element `position`.
  struct Offsets {
    int64_t at[operands];
  };
  __device__ Offsets offsets(uint32_t position) const {
    Offsets offsets{};
    for (int d = rank - 1; d > 0; --d) {
      const uint32_t rest = size[d].quotient(position);
      const int64_t index = position - rest * size[d].divisor;
      for (int k = 0; k < operands; ++k) offsets.at[k] += index * stride[k][d];
      position = rest;
    }
    for (int k = 0; k < operands; ++k) offsets.at[k] += position * stride[k][0];
    return offsets;
  }
};

/// Calls body(space, data) for parts of a walk that have fewer than 2^31 elements each.
template <size_t operands, class Body>
void each_part(gradus::detail::StridedSpace space, std::array<char*, operands> data, const Body& body) {
  constexpr int64_t limit = int64_t{1} << 31;
  if (space.total < limit) return body(space, data);
  int d = 0;
  for (int other = 1; other < space.rank; ++other)
    if (space.size[other] > space.size[d]) d = other;
  const int64_t whole = space.size[d], half = whole / 2, others = space.total / whole;
  for (const int64_t size : {half, whole - half}) {
    space.size[d] = size;
    space.total = others * size;
    each_part(space, data, body);
    for (size_t k = 0; k < operands; ++k) data[k] += half * space.stride[k][d];
  }
}

}  // namespace gradus::cuda
