// What the lanes of a warp and the threads of a block find out together. The order of combination is fixed by the sizes
// alone, so that the bits are the same every time.
#pragma once

#include <type_traits>

#include <gradus/cuda/device/grid.cuh>

namespace gradus::cuda {

inline constexpr int warp_lanes = 32;
inline constexpr unsigned all_lanes = 0xffffffffu;

/// Two values that are combined at once. A struct of several parts says with map() what is done to each.
template <class A>
struct Two {
  A first, second;

  template <class F>
  __device__ Two map(F f) const {
    return {f(first), f(second)};
  }
};

struct Add {
  template <class A>
  __device__ A operator()(A a, A b) const {
    return a + b;
  }
  template <class A>
  __device__ Two<A> operator()(Two<A> a, Two<A> b) const {
    return {a.first + b.first, a.second + b.second};
  }
};

/// The value of the lane whose number differs in the bits of `flip`.
template <class A>
__device__ A from_lane(A value, int flip) {
  if constexpr (std::is_arithmetic_v<A>)
    return __shfl_xor_sync(all_lanes, value, flip);
  else
    return value.map([flip](auto part) { return from_lane(part, flip); });
}

/// The combination of the values of all lanes, for all of them. `combine` must give the same for (a, b) and (b, a).
template <class A, class Combine>
__device__ A warp_combine(A value, Combine combine) {
  for (int flip = warp_lanes / 2; flip > 0; flip /= 2) value = combine(value, from_lane(value, flip));
  return value;
}

/// The same for all threads of a one-dimensional block of whole warps.
template <class A, class Combine>
__device__ A block_combine(A value, Combine combine) {
  GRADUS_SHARED(A, parts, [warp_lanes]);
  value = warp_combine(value, combine);
  __syncthreads();  // the parts of an earlier call have been read
  if (threadIdx.x % warp_lanes == 0) parts[threadIdx.x / warp_lanes] = value;
  __syncthreads();
  value = parts[0];
  for (unsigned warp = 1; warp < blockDim.x / warp_lanes; ++warp) value = combine(value, parts[warp]);
  return value;
}

/// The threads that treat a row together: a warp, or the whole block. Teams are numbered through the grid.
struct Team {
  bool whole_block;
  int size, rank;         ///< threads, and which of them this is
  int number, per_block;  ///< which team of the block, and how many there are

  __device__ explicit Team(bool block)
      : whole_block(block),
        size(block ? static_cast<int>(blockDim.x) : warp_lanes),
        rank(static_cast<int>(threadIdx.x) % size),
        number(static_cast<int>(threadIdx.x) / size),
        per_block(static_cast<int>(blockDim.x) / size) {}

  __device__ int64_t first() const { return static_cast<int64_t>(blockIdx.x) * per_block + number; }
  __device__ int64_t count() const { return static_cast<int64_t>(gridDim.x) * per_block; }

  template <class A, class Combine>
  __device__ A combine(A value, Combine combine) const {
    return whole_block ? block_combine(value, combine) : warp_combine(value, combine);
  }
};

}  // namespace gradus::cuda
