// Prefix sums: of chunks by a block each, then of the chunks' sums in the same way, which are added to the chunks.
#include <gradus/core/factories.h>
#include <gradus/cuda/device/block_scan.cuh>
#include <gradus/cuda/device/grid.cuh>
#include <gradus/cuda/kernels/prefix_sums.cuh>
#include <gradus/cuda/launch.cuh>

namespace gradus::cuda {
namespace {

constexpr int per_thread = 8;
constexpr int64_t chunk = threads_per_block * per_thread;

__global__ void sum_chunks(int64_t* data, int64_t n, int64_t chunks, int64_t* sums) {
  for (int64_t c = blockIdx.x; c < chunks; c += gridDim.x) {
    const int64_t first = c * chunk + static_cast<int64_t>(threadIdx.x) * per_thread;
    int64_t value[per_thread], mine = 0, all;
#pragma unroll
    for (int i = 0; i < per_thread; ++i) {
      value[i] = first + i < n ? data[first + i] : 0;
      mine += value[i];
    }
    int64_t before = block_exclusive_sum<threads_per_block>(mine, all);
#pragma unroll
    for (int i = 0; i < per_thread; ++i) {
      if (first + i < n) data[first + i] = before;
      before += value[i];
    }
    if (sums && threadIdx.x == 0) sums[c] = all;
  }
}

__global__ void add_to_chunks(int64_t* data, int64_t n, const int64_t* before) {
  for (int64_t i = thread_number(); i < n; i += thread_count()) data[i] += before[i / chunk];
}

}  // namespace

void exclusive_sums(int64_t* data, int64_t n, int64_t* total) {
  const int64_t chunks = (n + chunk - 1) / chunk;
  if (chunks == 1) return launch<sum_chunks>(1, threads_per_block, 0, data, n, chunks, total);
  const Tensor sums = empty({chunks}, {.dtype = int64, .device = gradus::detail::running().device});
  int64_t* const sum = written<int64_t>(sums);
  launch<sum_chunks>(blocks_for(chunks, 1), threads_per_block, 0, data, n, chunks, sum);
  exclusive_sums(sum, chunks, total);
  launch<add_to_chunks>(blocks_for(n), threads_per_block, 0, data, n, static_cast<const int64_t*>(sum));
}

}  // namespace gradus::cuda
