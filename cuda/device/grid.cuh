// How work is laid over a grid: counts of blocks, grid-stride loops, and from a Dtype to the type that a kernel
// computes.
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include <gradus/core/element.h>
#include <gradus/cuda/device/portable.cuh>

namespace gradus::cuda {

inline constexpr int threads_per_block = 256;
/// Enough to fill any GPU a few times over; loops with the stride of the grid do the rest.
inline constexpr int64_t most_blocks = 4096;

/// Blocks for n items of work, so many to a block; at least one, at most most_blocks.
inline unsigned blocks_for(int64_t n, int64_t per_block = threads_per_block) {
  return static_cast<unsigned>(std::clamp<int64_t>((n + per_block - 1) / per_block, 1, most_blocks));
}

/// This thread's number in a one-dimensional grid, and the number of threads of the grid.
__device__ inline int64_t thread_number() { return static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; }
__device__ inline int64_t thread_count() { return static_cast<int64_t>(gridDim.x) * blockDim.x; }

/// The type in which elements of type S are computed: float for those of 16 bits.
template <class S>
using Compute = std::conditional_t<std::is_same_v<S, f16> || std::is_same_v<S, bf16>, float, S>;

template <class S>
__device__ inline Compute<S> load(const S& x) {
  return static_cast<Compute<S>>(x);
}

/// Calls body.operator()<S>() with the element type of a floating dtype.
template <class Body>
void dispatch_floating(Dtype dtype, Body body) {
  switch (dtype) {
    case Dtype::float32: return body.template operator()<float>();
    case Dtype::float64: return body.template operator()<double>();
    case Dtype::float16: return body.template operator()<f16>();
    default: return body.template operator()<bf16>();
  }
}

/// So many elements of T as one access of a thread: 16 bytes at most.
template <class T, int count>
struct alignas(sizeof(T) * count) Pack {
  T item[count];
};
/// Elements of 16 bytes.
template <class S>
inline constexpr int pack_size = 16 / static_cast<int>(sizeof(S));

}  // namespace gradus::cuda
