// Sorting and selecting rows. An element becomes an unsigned key in the order wanted, beside its position: keys are
// sorted by their digits, and equal ones keep their order.
#include <algorithm>
#include <array>
#include <limits>
#include <vector>

#include <gradus/core/factories.h>
#include <gradus/core/kernels.h>
#include <gradus/core/parallel.h>
#include <gradus/core/sort_key.h>

namespace gradus {
namespace {

// A key and its position, both of one unsigned type: 8 bytes where 32 bits are enough for both.
template <class Word>
struct Item {
  Word key, position;
  bool operator<(const Item& other) const { return key != other.key ? key < other.key : position < other.position; }
};

// ---- sorting
// Least significant digit first; a digit that all keys share costs only its count.
template <class Word>
void radix_sort(std::vector<Item<Word>>& items, std::vector<Item<Word>>& other) {
  constexpr int bits = 11, digits = 1 << bits;
  for (int shift = 0; shift < static_cast<int>(sizeof(Word) * 8); shift += bits) {
    const auto digit = [shift](const Item<Word>& item) { return static_cast<size_t>(item.key >> shift) % digits; };
    std::array<size_t, digits> next = {};
    for (const Item<Word>& item : items) ++next[digit(item)];
    if (next[digit(items[0])] == items.size()) continue;
    size_t start = 0;
    for (size_t& n : next) start += std::exchange(n, start);
    other.resize(items.size());
    for (const Item<Word>& item : items) other[next[digit(item)]++] = item;
    std::swap(items, other);
  }
}

template <class T, class Word>
void write(T* values, int64_t* index, const T* x, const std::vector<Item<Word>>& items) {
  for (const Item<Word>& item : items) {
    *values++ = x[item.position];
    *index++ = static_cast<int64_t>(item.position);
  }
}

template <class T, class Word>
void sort_rows(Tensor& values, Tensor& index, const Tensor& x, bool descending) {
  const Word flip = descending ? std::numeric_limits<Word>::max() : 0;
  const int64_t rows = x.shape()[0], n = x.shape()[1];
  T* to = const_cast<T*>(values.data<T>());
  int64_t* positions = const_cast<int64_t*>(index.data<int64_t>());
  parallel_for(0, rows, 4096 / n + 1, [&](int64_t b, int64_t e) {
    std::vector<Item<Word>> items(static_cast<size_t>(n)), other;
    for (int64_t row = b; row < e; ++row) {
      const T* from = x.data<T>() + row * n;
      for (size_t i = 0; i < items.size(); ++i) items[i] = {sort_key(from[i]) ^ flip, static_cast<Word>(i)};
      if (n < 256)
        std::sort(items.begin(), items.end());
      else
        radix_sort(items, other);
      write(to + row * n, positions + row * n, from, items);
    }
  });
}

// ---- selection
// The k first in order: candidates below the bound are gathered, and whenever there are enough, cut down to the k first
// with a tighter bound. Few elements get past the bound once it has settled.
template <class T, class Word>
void topk_rows(Tensor& values, Tensor& index, const Tensor& x, bool largest) {
  const Word flip = largest ? std::numeric_limits<Word>::max() : 0;
  const int64_t rows = x.shape()[0], n = x.shape()[1], k = values.shape()[1];
  const size_t enough = static_cast<size_t>(std::max<int64_t>(2 * k, 64));
  T* to = const_cast<T*>(values.data<T>());
  int64_t* positions = const_cast<int64_t*>(index.data<int64_t>());
  parallel_for(0, rows, 4096 / n + 1, [&](int64_t b, int64_t e) {
    std::vector<Item<Word>> best;
    for (int64_t row = b; row < e; ++row) {
      const T* from = x.data<T>() + row * n;
      Item<Word> bound = {std::numeric_limits<Word>::max(), static_cast<Word>(n)};
      const auto cut = [&] {
        const auto end = best.begin() + k;
        std::nth_element(best.begin(), end - 1, best.end());
        best.erase(end, best.end());
        bound = best.back();
      };
      best.clear();
      for (int64_t i = 0; i < n; ++i) {
        const Item<Word> item = {sort_key(from[i]) ^ flip, static_cast<Word>(i)};
        if (!(item < bound)) continue;
        best.push_back(item);
        if (best.size() == enough) cut();
      }
      cut();
      std::sort(best.begin(), best.end());
      write(to + row * k, positions + row * k, from, best);
    }
  });
}

// Calls f with values of the dtype's type and of the word that its keys, and positions below n, fit in.
template <class F>
void for_dtype(Dtype dtype, int64_t n, F f) {
  const auto with = [&]<class T>(T x) {
    if constexpr (sizeof(sort_key(x)) == 8)
      f(x, uint64_t{});
    else if (n > std::numeric_limits<uint32_t>::max())
      f(x, uint64_t{});
    else
      f(x, uint32_t{});
  };
  switch (dtype) {
    case float32: return with(float{});
    case float64: return with(double{});
    case float16: return with(f16{});
    case bfloat16: return with(bf16{});
    case int32: return with(int32_t{});
    case int64: return with(int64_t{});
    case uint8: return with(uint8_t{});
    case boolean: return with(bool{});
  }
}

void sort(Tensor& values, Tensor& index, const Tensor& x, bool descending) {
  if (x.numel() == 0) return;
  for_dtype(x.dtype(), x.shape()[1],
            [&]<class T, class Word>(T, Word) { sort_rows<T, Word>(values, index, x, descending); });
}

void topk(Tensor& values, Tensor& index, const Tensor& x, bool largest) {
  if (values.numel() == 0) return;
  for_dtype(x.dtype(), x.shape()[1],
            [&]<class T, class Word>(T, Word) { topk_rows<T, Word>(values, index, x, largest); });
}

const bool installed = kernels::sort.set(DeviceType::cpu, sort) && kernels::topk.set(DeviceType::cpu, topk);

}  // namespace
}  // namespace gradus
