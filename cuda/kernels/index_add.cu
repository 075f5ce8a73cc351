// Adding by index, without atomics: each row of the output that is added to belongs to one worker, which adds in the
// order of the indices. Sums of 16-bit types are in float32 and rounded once.
#include <limits>

#include <gradus/core/factories.h>
#include <gradus/core/kernels.h>
#include <gradus/cuda/device/block_sort.cuh>
#include <gradus/cuda/device/elements.cuh>
#include <gradus/cuda/device/grid.cuh>
#include <gradus/cuda/kernels/radix_sort.cuh>
#include <gradus/cuda/launch.cuh>

namespace gradus::cuda {
namespace {

// Calls body.operator()<T>() with a type that adds like the dtype: unsigned, so that overflow wraps.
template <class Body>
void for_sum(Dtype dtype, Body body) {
  switch (dtype) {
    case Dtype::float32: return body.template operator()<float>();
    case Dtype::float64: return body.template operator()<double>();
    case Dtype::float16: return body.template operator()<f16>();
    case Dtype::bfloat16: return body.template operator()<bf16>();
    case Dtype::int32: return body.template operator()<uint32_t>();
    case Dtype::int64: return body.template operator()<uint64_t>();
    default: return body.template operator()<uint8_t>();
  }
}

// ---- runs of equal indices
// A thread that is given place p has the run that begins there, if one does: target() is its index, or -1, and
// each_batch() calls body(positions, count) for the run's positions in ascending order, a few at a time so that they
// are read side by side.
constexpr int batch = 4;

/// Of few indices: a run begins at the first of the same, and the others are looked for.
struct FewIndices {
  static constexpr int64_t most = 64;
  const int64_t* index;
  int64_t count;

  __device__ int64_t target(int64_t p, int64_t n) const {
    const int64_t mine = index[p];
    if (!inside(mine, n)) return -1;
    for (int64_t q = 0; q < p; ++q)
      if (index[q] == mine) return -1;
    return mine;
  }
  template <class Body>
  __device__ void each_batch(int64_t p, const Body& body) const {
    const int64_t mine = index[p];
    int64_t positions[batch];
    int found = 0;
    for (int64_t q = p; q < count; ++q) {
      if (index[q] != mine) continue;
      positions[found++] = q;
      if (found == batch) {
        body(positions, batch);
        found = 0;
      }
    }
    if (found > 0) body(positions, found);
  }
};

/// Of indices that were sorted with their positions.
struct SortedIndices {
  const uint32_t *index, *position;
  int64_t count;

  __device__ int64_t target(int64_t p, int64_t n) const {
    const uint32_t mine = index[p];
    if (mine >= n || (p > 0 && index[p - 1] == mine)) return -1;
    return static_cast<int64_t>(mine);
  }
  template <class Body>
  __device__ void each_batch(int64_t p, const Body& body) const {
    const uint32_t mine = index[p];
    for (int found = batch; found == batch; p += batch) {
      int64_t positions[batch];
      found = 0;
#pragma unroll
      for (int i = 0; i < batch; ++i)
        if (p + i < count && index[p + i] == mine) {
          positions[i] = static_cast<int64_t>(position[p + i]);
          found = i + 1;
        }
      if (found > 0) body(positions, found);
    }
  }
};

// ---- adding
struct AddShape {
  int64_t outer, n, inner;  // of y, in packs of elements
  int64_t tiles;            // of columns, each as wide as a block's threads along x
};

// y[o, index[i], :] += source[o, i, :]; threads are columns along x, and places among the runs along y.
template <class S, int size, class Runs>
__global__ void add_runs(Pack<S, size>* y, const Pack<S, size>* source, Runs runs, AddShape shape) {
  using A = Compute<S>;
  const int64_t all = shape.outer * runs.count * shape.tiles;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.y + threadIdx.y; i < all;
       i += static_cast<int64_t>(gridDim.x) * blockDim.y) {
    const int64_t place = i / shape.tiles, outer = place / runs.count;
    const int64_t column = (i - place * shape.tiles) * blockDim.x + threadIdx.x;
    if (column >= shape.inner) continue;
    const int64_t first = place - outer * runs.count, target = runs.target(first, shape.n);
    if (target < 0) continue;
    Pack<S, size>& to = y[(outer * shape.n + target) * shape.inner + column];
    const Pack<S, size>* const from = source + outer * runs.count * shape.inner + column;
    Pack<S, size> out = to;
    A sum[size];
#pragma unroll
    for (int j = 0; j < size; ++j) sum[j] = load(out.item[j]);
    runs.each_batch(first, [&](const int64_t* positions, int found) {
      Pack<S, size> in[batch];
#pragma unroll
      for (int b = 0; b < batch; ++b)
        if (b < found) in[b] = from[positions[b] * shape.inner];
#pragma unroll
      for (int b = 0; b < batch; ++b)
#pragma unroll
        for (int j = 0; j < size; ++j)
          if (b < found) sum[j] = static_cast<A>(sum[j] + load(in[b].item[j]));
    });
#pragma unroll
    for (int j = 0; j < size; ++j) out.item[j] = static_cast<S>(sum[j]);
    to = out;
  }
}

// A block is as wide as the rows need, and its other threads take further places.
template <class S, int size, class Runs>
void add_packs(S* y, const S* source, const Runs& runs, AddShape shape) {
  shape.inner /= size;
  const int width = static_cast<int>(std::min<int64_t>(power_of_two_from(std::min<int64_t>(shape.inner, 256)), 256));
  const int height = threads_per_block / width;
  shape.tiles = (shape.inner + width - 1) / width;
  launch<add_runs<S, size, Runs>>(blocks_for(shape.outer * runs.count * shape.tiles, height),
                                  dim3(static_cast<unsigned>(width), static_cast<unsigned>(height)), 0,
                                  reinterpret_cast<Pack<S, size>*>(y), reinterpret_cast<const Pack<S, size>*>(source),
                                  runs, shape);
}

template <class Runs>
void add(const Tensor& y, const Tensor& source, const Runs& runs, const AddShape& shape) {
  for_sum(y.dtype(), [&]<class S>() {
    constexpr int size = 16 / static_cast<int>(sizeof(S));
    if (shape.inner % size == 0 && aligned_to(16, read<S>(y), read<S>(source)))
      add_packs<S, size>(written<S>(y), read<S>(source), runs, shape);
    else
      add_packs<S, 1>(written<S>(y), read<S>(source), runs, shape);
  });
}

// ---- sorted indices: below `limit`, which is the key of what is out of range, so that it comes last
constexpr int64_t limit = std::numeric_limits<uint32_t>::max();

__global__ void index_keys(uint32_t* key, uint32_t* position, const int64_t* index, int64_t count, int64_t n) {
  for (int64_t i = thread_number(); i < count; i += thread_count()) {
    key[i] = static_cast<uint32_t>(inside(index[i], n) ? index[i] : n);
    position[i] = static_cast<uint32_t>(i);
  }
}

// For what is added to single elements of y: the place in y of each element of an index [outer, k, inner].
__global__ void element_keys(uint32_t* key, uint32_t* position, const int64_t* index, int64_t count, int64_t k,
                             int64_t inner, int64_t n, int64_t y_numel) {
  for (int64_t i = thread_number(); i < count; i += thread_count()) {
    const int64_t line = i / inner, column = i - line * inner, at = index[i];
    key[i] = static_cast<uint32_t>(inside(at, n) ? (line / k * n + at) * inner + column : y_numel);
    position[i] = static_cast<uint32_t>(i);
  }
}

constexpr int most_in_block = 2048, sort_threads = 512;

__global__ void sort_in_block(uint32_t* key, uint32_t* position, int count, int size) {
  GRADUS_SHARED(uint32_t, keys, [most_in_block]);
  GRADUS_SHARED(uint16_t, positions, [most_in_block]);
  const int thread = static_cast<int>(threadIdx.x);
  for (int i = thread; i < size; i += sort_threads) {
    keys[i] = i < count ? key[i] : std::numeric_limits<uint32_t>::max();
    positions[i] = static_cast<uint16_t>(i);
  }
  block_sort(keys, positions, size, size);
  for (int i = thread; i < count; i += sort_threads) {
    key[i] = keys[i];
    position[i] = positions[i];
  }
}

// Keys are at most `largest`.
SortedIndices sorted(SortItems<uint32_t>& items, int64_t count, int64_t largest) {
  if (count <= most_in_block) {
    launch<sort_in_block>(1, sort_threads, 0, items.key(), items.position(), static_cast<int>(count),
                          power_of_two_from(count));
  } else {
    int bits = 0;
    while (largest >> bits != 0) ++bits;
    radix_sort(items, 1, count, bits);
  }
  return {items.key(), items.position(), count};
}

// ---- lines: a thread for each column of each outer place walks along the whole index
struct Lines {
  int64_t outer, n, inner, k;
  int64_t index_outer, index_row, index_column;  // strides
};

// y[o, index(o, i, j), j] += source[o, i, j]; A is what the sums are kept in.
template <class S, class A>
__global__ void add_lines(A* y, const int64_t* index, const S* source, Lines lines) {
  for (int64_t line = thread_number(); line < lines.outer * lines.inner; line += thread_count()) {
    const int64_t outer = line / lines.inner, column = line - outer * lines.inner;
    A* const to = y + outer * lines.n * lines.inner + column;
    const S* const from = source + outer * lines.k * lines.inner + column;
    const int64_t* const at = index + outer * lines.index_outer + column * lines.index_column;
    for (int64_t i = 0; i < lines.k; ++i) {
      const int64_t target = at[i * lines.index_row];
      if (!inside(target, lines.n)) continue;
      A& sum = to[target * lines.inner];
      sum = static_cast<A>(sum + load(from[i * lines.inner]));
    }
  }
}

void add_by_lines(Tensor& y, const Tensor& index, const Tensor& source, const Lines& lines) {
  const bool half = itemsize(y.dtype()) == 2;
  Tensor sums = y;
  if (half) {
    sums = empty(y.shape(), {.dtype = float32, .device = y.device()});
    kernels::copy(y.device(), sums, y);
  }
  for_sum(y.dtype(), [&]<class S>() {
    using A = Compute<S>;
    launch<add_lines<S, A>>(blocks_for(lines.outer * lines.inner), threads_per_block, 0, written<A>(sums),
                            read<int64_t>(index), read<S>(source), lines);
  });
  if (half) kernels::copy(y.device(), y, sums);
}

// ---- slots
// y[o, index[i], :] += source[o, i, :]
void index_add(Tensor& y, const Tensor& index, const Tensor& source) {
  if (source.numel() == 0 || y.numel() == 0) return;
  const int64_t outer = y.shape()[0], n = y.shape()[1], inner = y.shape()[2], count = index.numel();
  const AddShape shape = {outer, n, inner, 0};
  const int64_t* const at = read<int64_t>(index);
  if (count <= FewIndices::most) return add(y, source, FewIndices{at, count}, shape);
  if (std::max(n, count) > limit) return add_by_lines(y, index, source, {outer, n, inner, count, 0, 1, 0});
  SortItems<uint32_t> items(count);
  launch<index_keys>(blocks_for(count), threads_per_block, 0, items.key(), items.position(), at, count, n);
  add(y, source, sorted(items, count, n), shape);
}

// y[o, index[o, i, j], j] += source[o, i, j]: along lines where these are many or short, else the elements are sorted
// by their place in y.
void scatter_add(Tensor& y, const Tensor& index, const Tensor& source, int64_t dim) {
  if (source.numel() == 0 || y.numel() == 0) return;
  constexpr int64_t many_lines = 16384, short_line = 16;
  int64_t inner = 1;
  for (int64_t d = dim + 1; d < index.rank(); ++d) inner *= index.shape()[d];
  const int64_t count = index.numel(), k = index.shape()[dim], n = y.shape()[dim], outer = count / (k * inner);
  if (outer * inner >= many_lines || k <= short_line || std::max(y.numel(), count) > limit)
    return add_by_lines(y, index, source, {outer, n, inner, k, k * inner, inner, 1});
  SortItems<uint32_t> items(count);
  launch<element_keys>(blocks_for(count), threads_per_block, 0, items.key(), items.position(), read<int64_t>(index),
                       count, k, inner, n, y.numel());
  add(y, source, sorted(items, count, y.numel()), {1, y.numel(), 1, 0});
}

[[maybe_unused]] const bool filled =
    kernels::index_add.set(DeviceType::cuda, index_add) && kernels::scatter_add.set(DeviceType::cuda, scatter_add);

}  // namespace
}  // namespace gradus::cuda
