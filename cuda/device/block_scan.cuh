// Prefix sums over the threads of a block.
#pragma once

#include <gradus/cuda/device/portable.cuh>

namespace gradus::cuda {

/// The sum of x over this lane and those before it.
template <class T>
__device__ T warp_inclusive_sum(T x) {
  const int lane = static_cast<int>(threadIdx.x % 32);
#pragma unroll
  for (int distance = 1; distance < 32; distance *= 2) {
    const T before = __shfl_up_sync(~0u, x, static_cast<unsigned>(distance));
    if (lane >= distance) x += before;
  }
  return x;
}

/// The sum of x over the threads before this one; `total` becomes the sum over all. Every thread of a block of
/// `threads`, whole warps along x, calls this.
template <int threads, class T>
__device__ T block_exclusive_sum(T x, T& total) {
  constexpr int warps = threads / 32;
  GRADUS_SHARED(T, warp_sum, [warps]);
  const int warp = static_cast<int>(threadIdx.x / 32);
  const T inclusive = warp_inclusive_sum(x);
  __syncthreads();  // the sums of the last call have been read
  if (threadIdx.x % 32 == 31) warp_sum[warp] = inclusive;
  __syncthreads();
  T before = inclusive - x;
  total = 0;
#pragma unroll
  for (int w = 0; w < warps; ++w) {
    if (w < warp) before += warp_sum[w];
    total += warp_sum[w];
  }
  return before;
}

}  // namespace gradus::cuda
