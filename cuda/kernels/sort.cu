// Sorting and selecting rows by key and position (core/sort_key.h): short rows in shared memory, long ones by a radix
// sort, and the k first of many long rows by a radix selection.
#include <limits>

#include <gradus/core/detail/dispatch.h>
#include <gradus/core/error.h>
#include <gradus/core/kernels.h>
#include <gradus/core/sort_key.h>
#include <gradus/cuda/device/block_scan.cuh>
#include <gradus/cuda/device/block_sort.cuh>
#include <gradus/cuda/device/digits.cuh>
#include <gradus/cuda/device/elements.cuh>
#include <gradus/cuda/device/grid.cuh>
#include <gradus/cuda/kernels/radix_sort.cuh>
#include <gradus/cuda/launch.cuh>

namespace gradus::cuda {
namespace {

template <class T>
using Key = decltype(sort_key(T{}));
template <class T>
inline constexpr int key_bits = 8 * static_cast<int>(sizeof(T));
template <class T>
constexpr Key<T> all_bits() {
  return static_cast<Key<T>>(std::numeric_limits<Key<T>>::max() >> (8 * sizeof(Key<T>) - key_bits<T>));
}

// What a call sorts: rows of n, of which the first `kept` in order are written. Keys are compared after an exclusive or
// with `flip`, which has all bits where the order is descending.
template <class T>
struct Rows {
  T* values;
  int64_t* index;
  const T* x;
  int64_t rows, n, kept;
  Key<T> flip;

  __device__ Key<T> key(int64_t row, int64_t i) const { return sort_key(x[row * n + i]) ^ flip; }
  __device__ void write(int64_t row, int64_t place, int64_t position) const {
    values[row * kept + place] = x[row * n + position];
    index[row * kept + place] = position;
  }
};

// ---- short rows: a block sorts as many as fill its threads
constexpr int short_row = 2048;

template <class T>
__global__ void sort_short_rows(Rows<T> call, int size, int rows_at_once) {
  GRADUS_SHARED(Key<T>, key, [short_row]);
  GRADUS_SHARED(uint16_t, position, [short_row]);
  const int total = rows_at_once * size, thread = static_cast<int>(threadIdx.x);
  for (int64_t first = static_cast<int64_t>(blockIdx.x) * rows_at_once; first < call.rows;
       first += static_cast<int64_t>(gridDim.x) * rows_at_once) {
    for (int i = thread; i < total; i += threads_per_block) {
      const int64_t row = first + i / size;
      const int at = i % size;
      key[i] = row < call.rows && at < call.n ? call.key(row, at) : std::numeric_limits<Key<T>>::max();
      position[i] = static_cast<uint16_t>(at);
    }
    block_sort(key, position, total, size);
    for (int i = thread; i < total; i += threads_per_block) {
      const int64_t row = first + i / size;
      const int at = i % size;
      if (row < call.rows && at < call.kept) call.write(row, at, position[i]);
    }
    __syncthreads();  // the next rows come
  }
}

template <class T>
void sort_short(const Rows<T>& call) {
  const int size = power_of_two_from(call.n);
  const int rows_at_once = static_cast<int>(std::clamp<int64_t>(2 * threads_per_block / size, 1, call.rows));
  launch<sort_short_rows<T>>(blocks_for(call.rows, rows_at_once), threads_per_block, 0, call, size, rows_at_once);
}

// ---- long rows
template <class T>
__global__ void make_keys(Rows<T> call, Key<T>* key, Key<T>* position) {
  for (int64_t i = thread_number(); i < call.rows * call.n; i += thread_count()) {
    const int64_t row = i / call.n, at = i - row * call.n;
    key[i] = call.key(row, at);
    position[i] = static_cast<Key<T>>(at);
  }
}
template <class T>
__global__ void write_sorted(Rows<T> call, const Key<T>* position) {
  for (int64_t i = thread_number(); i < call.rows * call.kept; i += thread_count()) {
    const int64_t row = i / call.kept, place = i - row * call.kept;
    call.write(row, place, static_cast<int64_t>(position[row * call.n + place]));
  }
}

// Positions are of the keys' type.
template <class T>
void sort_long(const Rows<T>& call) {
  if (static_cast<uint64_t>(call.n) > std::numeric_limits<Key<T>>::max())
    throw ShapeError("sort: on a device, rows of elements below 64 bits are shorter than 2^32; sort parts of the row");
  SortItems<Key<T>> items(call.rows * call.n);
  launch<make_keys<T>>(blocks_for(call.rows * call.n), threads_per_block, 0, call, items.key(), items.position());
  radix_sort(items, call.rows, call.n, key_bits<T>);
  launch<write_sorted<T>>(blocks_for(call.rows * call.kept), threads_per_block, 0, call,
                          static_cast<const Key<T>*>(items.position()));
}

template <class T>
void sort_any(const Rows<T>& call) {
  if (call.n <= short_row)
    sort_short(call);
  else
    sort_long(call);
}

// ---- selection: a block finds the last of the k first, digit by digit from the top of its key and then its position
constexpr int select_threads = 512, most_selected = 1024;

// What is known of that item: the digits in the masks.
template <class Key>
struct Bound {
  Key key = 0, key_mask = 0;
  uint32_t position = 0, position_mask = 0;

  __device__ void learn_key(unsigned digit, int shift) {
    key |= static_cast<Key>(digit) << shift;
    key_mask |= static_cast<Key>(digit_values - 1) << shift;
  }
  __device__ void learn_position(unsigned digit, int shift) {
    position |= digit << shift;
    position_mask |= static_cast<uint32_t>(digit_values - 1) << shift;
  }
  __device__ bool agrees(Key k, uint32_t p) const {
    return ((k ^ key) & key_mask) == 0 && ((p ^ position) & position_mask) == 0;
  }
  __device__ bool holds(Key k, uint32_t p) const {
    return (k & key_mask) < key || ((k & key_mask) == key && (p & position_mask) <= position);
  }
};

// The digit at which the first `wanted` items of a count end.
struct Chosen {
  unsigned digit, before, count;
};
template <class Digit>
__device__ Chosen choose_digit(int64_t n, unsigned wanted, const Digit& digit_at) {
  GRADUS_SHARED(unsigned, count, [digit_values]);
  GRADUS_SHARED(Chosen, chosen, [1]);
  const int thread = static_cast<int>(threadIdx.x);
  if (thread < digit_values) count[thread] = 0;
  __syncthreads();
  for (int64_t first = 0; first < n; first += select_threads)
    count_digit(count, first + thread < n ? digit_at(first + thread) : no_digit);
  __syncthreads();
  const unsigned mine = thread < digit_values ? count[thread] : 0;
  unsigned all;
  const unsigned before = block_exclusive_sum<select_threads>(mine, all);
  if (before < wanted && wanted <= before + mine) chosen[0] = {static_cast<unsigned>(thread), before, mine};
  __syncthreads();
  return chosen[0];
}

template <class T>
__device__ Bound<Key<T>> find_bound(const Rows<T>& call, int64_t row, int position_bits) {
  Bound<Key<T>> bound;
  unsigned wanted = static_cast<unsigned>(call.kept);
  bool settled = false;  // all that agree are wanted
  for (int shift = key_bits<T> - digit_bits; shift >= 0 && !settled; shift -= digit_bits) {
    const Chosen chosen = choose_digit(call.n, wanted, [&](int64_t i) {
      const Key<T> key = call.key(row, i);
      return bound.agrees(key, 0) ? digit_of(key, shift) : no_digit;
    });
    bound.learn_key(chosen.digit, shift);
    wanted -= chosen.before;
    settled = wanted == chosen.count;
  }
  for (int shift = position_bits - digit_bits; shift >= 0 && !settled; shift -= digit_bits) {
    const Chosen chosen = choose_digit(call.n, wanted, [&](int64_t i) {
      return bound.agrees(call.key(row, i), static_cast<uint32_t>(i)) ? digit_of(i, shift) : no_digit;
    });
    bound.learn_position(chosen.digit, shift);
    wanted -= chosen.before;
    settled = wanted == chosen.count;
  }
  return bound;
}

// `size` is the power of two from the number that is kept.
template <class T>
__global__ void select_from_rows(Rows<T> call, int size, int position_bits) {
  GRADUS_SHARED(Key<T>, key, [most_selected]);
  GRADUS_SHARED(uint32_t, position, [most_selected]);
  GRADUS_SHARED(unsigned, taken, [1]);
  const int thread = static_cast<int>(threadIdx.x);
  for (int64_t row = blockIdx.x; row < call.rows; row += gridDim.x) {
    const Bound<Key<T>> bound = find_bound(call, row, position_bits);
    for (int i = thread; i < size; i += select_threads) {
      key[i] = std::numeric_limits<Key<T>>::max();
      position[i] = std::numeric_limits<uint32_t>::max();
    }
    if (thread == 0) taken[0] = 0;
    __syncthreads();
    for (int64_t i = thread; i < call.n; i += select_threads) {
      const Key<T> k = call.key(row, i);
      if (!bound.holds(k, static_cast<uint32_t>(i))) continue;
      const unsigned place = atomicAdd(&taken[0], 1u);  // in any order: they are sorted next
      key[place] = k;
      position[place] = static_cast<uint32_t>(i);
    }
    block_sort(key, position, size, size);
    for (int i = thread; i < call.kept; i += select_threads) call.write(row, i, position[i]);
    __syncthreads();  // the next row comes
  }
}

template <class T>
void select(const Rows<T>& call) {
  int position_bits = digit_bits;
  while (call.n >> position_bits != 0) position_bits += digit_bits;
  launch<select_from_rows<T>>(blocks_for(call.rows, 1), select_threads, 0, call, power_of_two_from(call.kept),
                              position_bits);
}

// Few rows that are very long leave most of the device idle when each has one block.
bool is_selected(int64_t rows, int64_t n, int64_t k) {
  return n > short_row && n < std::numeric_limits<uint32_t>::max() && k <= most_selected &&
         (rows >= 16 || n <= 1 << 17);
}

// ---- slots
template <class T>
Rows<T> rows_of(Tensor& values, Tensor& index, const Tensor& x, bool descending) {
  return {written<T>(values),
          written<int64_t>(index),
          read<T>(x),
          x.shape()[0],
          x.shape()[1],
          values.shape()[1],
          descending ? all_bits<T>() : Key<T>(0)};
}

void sort(Tensor& values, Tensor& index, const Tensor& x, bool descending) {
  if (x.numel() == 0) return;
  gradus::detail::dispatch(x.dtype(), [&]<class T>() { sort_any(rows_of<T>(values, index, x, descending)); });
}

void topk(Tensor& values, Tensor& index, const Tensor& x, bool largest) {
  if (values.numel() == 0) return;
  gradus::detail::dispatch(x.dtype(), [&]<class T>() {
    const Rows<T> call = rows_of<T>(values, index, x, largest);
    if (is_selected(call.rows, call.n, call.kept))
      select(call);
    else
      sort_any(call);
  });
}

[[maybe_unused]] const bool filled =
    kernels::sort.set(DeviceType::cuda, sort) && kernels::topk.set(DeviceType::cuda, topk);

}  // namespace
}  // namespace gradus::cuda
