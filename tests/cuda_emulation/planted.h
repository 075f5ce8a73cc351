// Kernels with one mistake each, and the right form of it beside: what the emulation must see, and must not cry at.
#pragma once

#include <cuda_emulation/device.h>

namespace planted {

// Reverses the 256 elements of a block through shared memory.
[[maybe_unused]] static __global__ void reverse(const float* x, float* y, bool bug) {
  GRADUS_SHARED(float, tile, [256]);
  tile[threadIdx.x] = x[blockIdx.x * 256 + threadIdx.x];
  if (!bug) __syncthreads();
  y[blockIdx.x * 256 + threadIdx.x] = tile[255 - threadIdx.x];
}

__device__ inline float block_sum(float value, float* part, bool bug) {
  for (int flip = 16; flip > 0; flip /= 2) value += __shfl_xor_sync(~0u, value, flip);
  if (!bug) __syncthreads();  // the last sum may still be read
  if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = value;
  __syncthreads();
  float sum = 0;
  for (unsigned w = 0; w < blockDim.x / 32; ++w) sum += part[w];
  return sum;
}
// y[i] = (x - mean)^2 summed over the block: two sums through the same shared array.
[[maybe_unused]] static __global__ void two_sums(const float* x, float* y, bool bug) {
  GRADUS_SHARED(float, part, [32]);
  const float value = x[blockIdx.x * blockDim.x + threadIdx.x];
  const float mean = block_sum(value, part, bug) / static_cast<float>(blockDim.x);
  const float square = block_sum((value - mean) * (value - mean), part, bug);
  if (threadIdx.x == 0) y[blockIdx.x] = square;
}

[[maybe_unused]] static __global__ void global_overrun(const float* x, float* y, int n, bool bug) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (bug ? i <= n : i < n) y[i] = x[i];
}

[[maybe_unused]] static __global__ void shared_overrun(float* y, bool bug) {
  GRADUS_SHARED(float, row, [32]);
  row[threadIdx.x + bug] = 1;
  __syncthreads();
  y[threadIdx.x] = row[threadIdx.x];
}

[[maybe_unused]] static __global__ void uninitialised(float* y, bool bug) {
  GRADUS_SHARED(float, row, [64]);
  if (threadIdx.x < 32 || !bug) row[threadIdx.x] = 1;
  __syncthreads();
  y[threadIdx.x] = row[threadIdx.x];
}

[[maybe_unused]] static __global__ void early_return(float* y, int n, bool bug) {
  const bool inside = static_cast<int>(threadIdx.x) < n;
  if (bug && !inside) return;
  __syncthreads();
  if (inside) y[threadIdx.x] = 1;
}

[[maybe_unused]] static __global__ void two_barriers(float* y, bool bug) {
  if (bug && threadIdx.x % 2) {
    __syncthreads();
    y[threadIdx.x] = 1;
  } else {
    __syncthreads();
    y[threadIdx.x] = 2;
  }
}

[[maybe_unused]] static __global__ void absent_lanes(float* y, bool bug) {
  float value = static_cast<float>(threadIdx.x);
  if (threadIdx.x < 16) value = __shfl_xor_sync(bug ? ~0u : 0xffffu, value, 8);
  y[threadIdx.x] = value;
}

[[maybe_unused]] static __global__ void lost_update(float* y, bool bug) {
  if (bug)
    y[0] += 1;
  else
    atomicAdd(y, 1);
}

}  // namespace planted
