// A sort by digits, the least significant first. Each digit takes three steps: every tile of a row counts its digits;
// the prefix sums of the counts, ordered by row, digit and tile, say where the tile's items with that digit go; and
// each tile moves its items there in their order.
#include <gradus/core/factories.h>
#include <gradus/core/kernel.h>
#include <gradus/cuda/device/digits.cuh>
#include <gradus/cuda/device/grid.cuh>
#include <gradus/cuda/kernels/prefix_sums.cuh>
#include <gradus/cuda/kernels/radix_sort.cuh>
#include <gradus/cuda/launch.cuh>

namespace gradus::cuda {
namespace {

// A tile is moved by a block; each of its warps has a stretch of its own, which it walks through 32 items at a time.
constexpr int sort_threads = digit_values, warps = sort_threads / 32, rounds = 16;
constexpr int64_t stretch = 32 * rounds, tile_size = warps * stretch;

struct Tiles {
  int64_t n, per_row, total;
};

template <class Word>
__global__ void count_digits(int64_t* count, const Word* key, Tiles tiles, int shift) {
  GRADUS_SHARED(unsigned, counted, [digit_values]);
  const int64_t thread = threadIdx.x;
  for (int64_t t = blockIdx.x; t < tiles.total; t += gridDim.x) {
    const int64_t row = t / tiles.per_row, tile = t % tiles.per_row;
    counted[thread] = 0;
    __syncthreads();
    for (int64_t i = tile * tile_size + thread; i < (tile + 1) * tile_size; i += sort_threads)
      count_digit(counted, i < tiles.n ? digit_of(key[row * tiles.n + i], shift) : no_digit);
    __syncthreads();
    count[(row * digit_values + thread) * tiles.per_row + tile] = counted[thread];
  }
}

template <class Word>
__global__ void move_by_digit(Word* to_key, Word* to_position, const Word* from_key, const Word* from_position,
                              const int64_t* start, Tiles tiles, int shift) {
  GRADUS_SHARED(unsigned, next, [warps][digit_values + 1]);  // counts, and then places in the tile, of a warp's digits
  GRADUS_SHARED(int64_t, first, [digit_values]);
  const int thread = static_cast<int>(threadIdx.x), warp = thread / 32, lane = thread % 32;
  for (int64_t t = blockIdx.x; t < tiles.total; t += gridDim.x) {
    const int64_t row = t / tiles.per_row, tile = t % tiles.per_row;
    const int64_t begin = tile * tile_size + warp * stretch + lane;  // in the row
    for (int w = 0; w < warps; ++w) next[w][thread] = 0;
    if (thread < warps) next[thread][no_digit] = 0;
    first[thread] = start[(row * digit_values + thread) * tiles.per_row + tile];
    __syncthreads();

    Word key[rounds];
    unsigned rank[rounds];  // among the warp's items with the digit
#pragma unroll
    for (int r = 0; r < rounds; ++r) {
      const int64_t i = begin + 32 * r;
      key[r] = i < tiles.n ? from_key[row * tiles.n + i] : Word(0);
      const unsigned digit = i < tiles.n ? digit_of(key[r], shift) : no_digit;
      const LaneRank among = rank_in_warp(digit);
      rank[r] = next[warp][digit] + among.rank;
      __syncwarp();
      if (among.last) next[warp][digit] += among.count;
      __syncwarp();
    }
    __syncthreads();
    unsigned before = 0;
    for (int w = 0; w < warps; ++w) {
      const unsigned count = next[w][thread];
      next[w][thread] = before;
      before += count;
    }
    __syncthreads();
#pragma unroll
    for (int r = 0; r < rounds; ++r) {
      const int64_t i = begin + 32 * r;
      if (i >= tiles.n) continue;
      const unsigned digit = digit_of(key[r], shift);
      const int64_t to = first[digit] + next[warp][digit] + rank[r];
      to_key[to] = key[r];
      to_position[to] = from_position[row * tiles.n + i];
    }
    __syncthreads();  // the counts begin anew
  }
}

}  // namespace

template <class Word>
SortItems<Word>::SortItems(int64_t total)
    : storage_(
          empty({4, total}, {.dtype = sizeof(Word) == 4 ? int32 : int64, .device = gradus::detail::running().device})),
      memory_(static_cast<Word*>(const_cast<void*>(storage_.raw_data()))),
      total_(total) {}

template <class Word>
void radix_sort(SortItems<Word>& items, int64_t rows, int64_t n, int bits) {
  const int64_t per_row = (n + tile_size - 1) / tile_size;
  const Tiles tiles = {n, per_row, rows * per_row};
  const Tensor counts =
      empty({rows * digit_values * per_row}, {.dtype = int64, .device = gradus::detail::running().device});
  int64_t* const count = written<int64_t>(counts);
  const unsigned blocks = blocks_for(tiles.total, 1);
  for (int shift = 0; shift < bits; shift += digit_bits) {
    launch<count_digits<Word>>(blocks, sort_threads, 0, count, static_cast<const Word*>(items.key()), tiles, shift);
    exclusive_sums(count, counts.numel());
    launch<move_by_digit<Word>>(blocks, sort_threads, 0, items.key_room(), items.position_room(),
                                static_cast<const Word*>(items.key()), static_cast<const Word*>(items.position()),
                                static_cast<const int64_t*>(count), tiles, shift);
    items.swap();
  }
}

template class SortItems<uint32_t>;
template class SortItems<uint64_t>;
template void radix_sort(SortItems<uint32_t>&, int64_t, int64_t, int);
template void radix_sort(SortItems<uint64_t>&, int64_t, int64_t, int);

}  // namespace gradus::cuda
