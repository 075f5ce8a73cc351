// Digits of keys, counted and ranked by warps.
#pragma once

#include <gradus/cuda/device/portable.cuh>

namespace gradus::cuda {

inline constexpr int digit_bits = 8, digit_values = 1 << digit_bits;
/// Stands for the digit of a lane that has no key.
inline constexpr unsigned no_digit = digit_values;

template <class Key>
__device__ inline unsigned digit_of(Key key, int shift) {
  return static_cast<unsigned>(key >> shift) % digit_values;
}

/// This lane's rank among the lanes of the warp with the same digit, how many those are, and whether it is the last.
struct LaneRank {
  unsigned rank, count;
  bool last;
};
/// Every lane of the warp calls this.
__device__ inline LaneRank rank_in_warp(unsigned digit) {
  const unsigned lane = threadIdx.x % 32, same = __match_any_sync(~0u, digit);
  const unsigned rank = static_cast<unsigned>(__popc(same & ((1u << lane) - 1)));
  const unsigned count = static_cast<unsigned>(__popc(same));
  return {rank, count, rank + 1 == count};
}

/// Counts the digits of a warp, one atomic for each that occurs: keys tend to share their upper digits. Every lane
/// calls this.
__device__ inline void count_digit(unsigned* count, unsigned digit) {
  const LaneRank lane = rank_in_warp(digit);
  if (lane.last && digit != no_digit) atomicAdd(&count[digit], lane.count);
}

}  // namespace gradus::cuda
