// Sorting in shared memory.
#pragma once

#include <gradus/cuda/device/portable.cuh>

namespace gradus::cuda {

/// Sorts each segment of `size` items, a power of two, of the `total` in shared memory by key and then position, which
/// makes the order of equal keys theirs: a bitonic network (Batcher, «Sorting networks and their applications», 1968).
/// All threads of a block along x call it; what they wrote before is seen, and what they read next is sorted.
template <class Key, class Position>
__device__ void block_sort(Key* key, Position* position, int total, int size) {
  for (int width = 2; width <= size; width *= 2)
    for (int distance = width / 2; distance > 0; distance /= 2) {
      __syncthreads();
      for (int pair = static_cast<int>(threadIdx.x); pair < total / 2; pair += static_cast<int>(blockDim.x)) {
        const int low = 2 * pair - (pair & (distance - 1)), high = low + distance;
        const bool ascending = (low & (size - 1) & width) == 0;
        const Key a = key[low], b = key[high];
        const Position p = position[low], q = position[high];
        if ((a != b ? a > b : p > q) != ascending) continue;
        key[low] = b;
        key[high] = a;
        position[low] = q;
        position[high] = p;
      }
    }
  __syncthreads();
}

/// The smallest power of two that is at least n > 0.
inline int power_of_two_from(int64_t n) {
  int size = 1;
  while (size < n) size *= 2;
  return size;
}

}  // namespace gradus::cuda
