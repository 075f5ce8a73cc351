// Reading by index, and the positions of what is true. Adding by index is in index_add.cu.
#include <gradus/core/factories.h>
#include <gradus/core/kernels.h>
#include <gradus/cuda/device/block_scan.cuh>
#include <gradus/cuda/device/elements.cuh>
#include <gradus/cuda/device/words.cuh>
#include <gradus/cuda/kernels/prefix_sums.cuh>
#include <gradus/cuda/launch.cuh>

namespace gradus::cuda {
namespace {

// ---- reading
// y[o, i, j] = x[o, index[o, i, j], j], where o, i and j count to outer, k and inner
template <class Word>
__global__ void gather_elements(Word* y, const Word* x, const int64_t* index, int64_t total, int64_t k, int64_t inner,
                                int64_t n) {
  for (int64_t i = thread_number(); i < total; i += thread_count()) {
    const int64_t line = i / inner, column = i - line * inner, outer = line / k, at = index[i];
    y[i] = inside(at, n) ? x[(outer * n + at) * inner + column] : Word{};
  }
}

void gather(Tensor& y, const Tensor& x, const Tensor& index, int64_t dim) {
  if (y.numel() == 0) return;
  int64_t inner = 1;
  for (int64_t d = dim + 1; d < y.rank(); ++d) inner *= y.shape()[d];
  for_size(itemsize(x.dtype()), [&]<class Word>() {
    launch<gather_elements<Word>>(blocks_for(y.numel()), threads_per_block, 0, written<Word>(y), read<Word>(x),
                                  read<int64_t>(index), y.numel(), y.shape()[dim], inner, x.shape()[dim]);
  });
}

// y[o, i, :] = x[o, index[i], :]; rows are of `inner` words
template <class Word>
__global__ void select_rows(Word* y, const Word* x, const int64_t* index, int64_t total, int64_t k, int64_t inner,
                            int64_t n) {
  for (int64_t i = thread_number(); i < total; i += thread_count()) {
    const int64_t row = i / inner, column = i - row * inner, outer = row / k, at = index[row - outer * k];
    y[i] = inside(at, n) ? x[(outer * n + at) * inner + column] : Word{};
  }
}

void index_select(Tensor& y, const Tensor& x, const Tensor& index) {
  if (y.numel() == 0) return;
  const int64_t n = x.shape()[1], row_bytes = x.shape()[2] * itemsize(x.dtype());
  for_widest_word(row_bytes, {y.raw_data(), x.raw_data()}, [&]<class Word>() {
    const int64_t total = y.nbytes() / static_cast<int64_t>(sizeof(Word));
    launch<select_rows<Word>>(blocks_for(total), threads_per_block, 0, written<Word>(y), read<Word>(x),
                              read<int64_t>(index), total, index.numel(),
                              row_bytes / static_cast<int64_t>(sizeof(Word)), n);
  });
}

// ---- positions: the true ones of each chunk are counted, and the prefix sums of the counts say where each begins
constexpr int mask_per_thread = 16;
constexpr int64_t mask_chunk = threads_per_block * mask_per_thread;

// Bit i says whether element first + i is true.
__device__ unsigned true_bits(const uint8_t* mask, int64_t first, int64_t n, bool aligned) {
  Pack<uint8_t, mask_per_thread> part{};
  if (aligned && first + mask_per_thread <= n) {
    part = *reinterpret_cast<const Pack<uint8_t, mask_per_thread>*>(mask + first);
  } else {
    for (int i = 0; i < mask_per_thread; ++i)
      if (first + i < n) part.item[i] = mask[first + i];
  }
  unsigned bits = 0;
#pragma unroll
  for (int i = 0; i < mask_per_thread; ++i) bits |= static_cast<unsigned>(part.item[i] != 0) << i;
  return bits;
}

__global__ void count_true(const uint8_t* mask, int64_t n, bool aligned, int64_t chunks, int64_t* count) {
  for (int64_t c = blockIdx.x; c < chunks; c += gridDim.x) {
    const int64_t first = c * mask_chunk + static_cast<int64_t>(threadIdx.x) * mask_per_thread;
    int all;
    block_exclusive_sum<threads_per_block>(__popc(true_bits(mask, first, n, aligned)), all);
    if (threadIdx.x == 0) count[c] = all;
  }
}

__global__ void write_positions(int64_t* y, const uint8_t* mask, int64_t n, bool aligned, int64_t chunks,
                                const int64_t* start) {
  for (int64_t c = blockIdx.x; c < chunks; c += gridDim.x) {
    const int64_t first = c * mask_chunk + static_cast<int64_t>(threadIdx.x) * mask_per_thread;
    unsigned bits = true_bits(mask, first, n, aligned);
    int all;
    int64_t* to = y + start[c] + block_exclusive_sum<threads_per_block>(__popc(bits), all);
    for (; bits != 0; bits &= bits - 1) *to++ = first + __ffs(static_cast<int>(bits)) - 1;
  }
}

Tensor nonzero(const Tensor& mask) {
  const int64_t n = mask.numel(), chunks = (n + mask_chunk - 1) / mask_chunk;
  const TensorOptions options = {.dtype = int64, .device = mask.device()};
  if (n == 0) return empty({0}, options);
  const uint8_t* const p = read<uint8_t>(mask);
  const bool aligned = aligned_to(mask_per_thread, p);
  const Tensor starts = empty({chunks}, options), total = empty({1}, options);
  launch<count_true>(blocks_for(chunks, 1), threads_per_block, 0, p, n, aligned, chunks, written<int64_t>(starts));
  exclusive_sums(written<int64_t>(starts), chunks, written<int64_t>(total));
  const Tensor y = empty({total.item<int64_t>()}, options);
  if (y.numel() > 0)
    launch<write_positions>(blocks_for(chunks, 1), threads_per_block, 0, written<int64_t>(y), p, n, aligned, chunks,
                            read<int64_t>(starts));
  return y;
}

[[maybe_unused]] const bool filled = kernels::gather.set(DeviceType::cuda, gather) &&
                                     kernels::index_select.set(DeviceType::cuda, index_select) &&
                                     kernels::nonzero.set(DeviceType::cuda, nonzero);

}  // namespace
}  // namespace gradus::cuda
