// Reading and adding by index. Work is shared out so that no element is written by two threads and every element gets
// its additions in the order of the indices: results do not depend on the threads.
#include <algorithm>
#include <atomic>
#include <cstring>
#include <numeric>
#include <vector>

#include <gradus/core/factories.h>
#include <gradus/core/kernels.h>
#include <gradus/core/parallel.h>

namespace gradus {
namespace {

constexpr int64_t grain_elements = 16384;
int64_t grain(int64_t elements_each) { return grain_elements / std::max<int64_t>(1, elements_each) + 1; }

template <class T>
T* written(Tensor& y) {
  return static_cast<T*>(const_cast<void*>(y.raw_data()));
}
template <class T>
const T* read(const Tensor& x) {
  return static_cast<const T*>(x.raw_data());
}

// Calls f with a value of the unsigned type of the dtype's size: for kernels that only move elements.
template <class F>
void for_size(Dtype dtype, F f) {
  switch (itemsize(dtype)) {
    case 1: return f(uint8_t{});
    case 2: return f(uint16_t{});
    case 4: return f(uint32_t{});
    default: return f(uint64_t{});
  }
}

// Calls f with a value of a type that adds like the dtype; unsigned, so that overflow wraps. 16 bits are converted
// before.
template <class F>
void for_sum(Dtype dtype, F f) {
  switch (dtype) {
    case float32: return f(float{});
    case float64: return f(double{});
    case int32: return f(uint32_t{});
    case int64: return f(uint64_t{});
    default: return f(uint8_t{});
  }
}

// The dims before and after `dim`.
struct Around {
  int64_t outer = 1, inner = 1;
  Around(const Shape& shape, int64_t dim) {
    for (int64_t d = 0; d < shape.rank(); ++d)
      if (d != dim) (d < dim ? outer : inner) *= shape[d];
  }
};

// ---- checks
int64_t check_indices(const Tensor& index, const IndexRange& range) {
  const int64_t* p = index.data<int64_t>();
  const int64_t low = range.low, high = range.high;
  const uint64_t size = high > low ? static_cast<uint64_t>(high) - static_cast<uint64_t>(low) : 0;
  const auto outside = [=](int64_t i) { return static_cast<uint64_t>(i) - static_cast<uint64_t>(low) >= size; };
  std::atomic<int64_t> first{index.numel()};
  parallel_for(0, index.numel(), grain_elements, [&](int64_t b, int64_t e) {
    bool any = false;
    for (int64_t i = b; i < e; ++i) any |= outside(p[i]);
    if (!any) return;
    while (!outside(p[b])) ++b;
    for (int64_t seen = first; b < seen && !first.compare_exchange_weak(seen, b);) {
    }
  });
  return first < index.numel() ? first.load() : -1;
}

// ---- reading
// y[o, i, j] = x[o, index[o, i, j], j]
void gather(Tensor& y, const Tensor& x, const Tensor& index, int64_t dim) {
  const Around around(y.shape(), dim);
  const int64_t outer = around.outer, inner = around.inner, k = y.shape()[dim], n = x.shape()[dim];
  for_size(x.dtype(), [&]<class T>(T) {
    parallel_for(0, outer * k, grain(inner), [&](int64_t b, int64_t e) {
      const T* from = read<T>(x) + b / k * n * inner;
      const int64_t* at = index.data<int64_t>() + b * inner;
      T* to = written<T>(y) + b * inner;
      for (int64_t row = b, i = b % k; row < e; ++row, at += inner, to += inner) {
        for (int64_t j = 0; j < inner; ++j) to[j] = from[at[j] * inner + j];
        if (++i == k) {
          i = 0;
          from += n * inner;
        }
      }
    });
  });
}

// y[o, i, :] = x[o, index[i], :]
void index_select(Tensor& y, const Tensor& x, const Tensor& index) {
  const int64_t outer = x.shape()[0], n = x.shape()[1], inner = x.shape()[2], k = index.numel();
  const int64_t* at = index.data<int64_t>();
  if (inner == 1) {
    return for_size(x.dtype(), [&]<class T>(T) {
      parallel_for(0, outer * k, grain_elements, [&](int64_t b, int64_t e) {
        for (int64_t row = b, o = b / k, i = b % k; row < e; ++row) {
          written<T>(y)[row] = read<T>(x)[o * n + at[i]];
          if (++i == k) {
            i = 0;
            ++o;
          }
        }
      });
    });
  }
  const int64_t bytes = inner * itemsize(x.dtype());
  parallel_for(0, outer * k, grain(inner), [&](int64_t b, int64_t e) {
    for (int64_t row = b; row < e; ++row)
      std::memcpy(written<char>(y) + row * bytes, read<char>(x) + (row / k * n + at[row % k]) * bytes,
                  static_cast<size_t>(bytes));
  });
}

// ---- adding
// The positions of equal indices side by side, each group in ascending order.
struct Groups {
  std::vector<int64_t> positions;  ///< sorted by index, then by position
  std::vector<int64_t> starts;     ///< of each group in `positions`, and the end

  Groups(const int64_t* index, int64_t k, int64_t n) : positions(static_cast<size_t>(k)) {
    if (n <= 4 * k + 65536) {  // by counting
      std::vector<int64_t> next(static_cast<size_t>(n) + 1);
      for (int64_t i = 0; i < k; ++i) ++next[static_cast<size_t>(index[i]) + 1];
      std::partial_sum(next.begin(), next.end(), next.begin());
      for (int64_t i = 0; i < k; ++i) positions[static_cast<size_t>(next[static_cast<size_t>(index[i])]++)] = i;
    } else {
      std::iota(positions.begin(), positions.end(), 0);
      std::stable_sort(positions.begin(), positions.end(), [&](int64_t a, int64_t b) { return index[a] < index[b]; });
    }
    for (size_t i = 0; i < positions.size(); ++i)
      if (i == 0 || index[positions[i]] != index[positions[i - 1]]) starts.push_back(static_cast<int64_t>(i));
    starts.push_back(k);
  }
  int64_t count() const { return static_cast<int64_t>(starts.size()) - 1; }
};

// y[o, index[i], :] += source[o, i, :]. A piece of work is one row of y, at most `columns` wide, with all that is added
// to it; 16 bits are summed in float32 and rounded once.
template <class T, class A>
void add_groups(Tensor& y, const int64_t* index, const Tensor& source) {
  constexpr int64_t columns = 256;
  const int64_t outer = y.shape()[0], n = y.shape()[1], inner = y.shape()[2], k = source.shape()[1];
  const Groups groups(index, k, n);
  const int64_t tiles = (inner + columns - 1) / columns, each = k * inner / (groups.count() * tiles);
  parallel_for(0, outer * groups.count() * tiles, grain(each), [&](int64_t b, int64_t e) {
    A sum[columns];
    for (int64_t piece = b; piece < e; ++piece) {
      const int64_t tile = piece % tiles, group = piece / tiles % groups.count(), o = piece / tiles / groups.count();
      const int64_t first = groups.starts[static_cast<size_t>(group)],
                    last = groups.starts[static_cast<size_t>(group) + 1];
      const int64_t column = tile * columns, width = std::min(columns, inner - column);
      T* to = written<T>(y) + (o * n + index[groups.positions[static_cast<size_t>(first)]]) * inner + column;
      for (int64_t j = 0; j < width; ++j) sum[j] = static_cast<A>(to[j]);
      for (int64_t p = first; p < last; ++p) {
        const T* from = read<T>(source) + (o * k + groups.positions[static_cast<size_t>(p)]) * inner + column;
        for (int64_t j = 0; j < width; ++j) sum[j] = static_cast<A>(sum[j] + static_cast<A>(from[j]));
      }
      for (int64_t j = 0; j < width; ++j) to[j] = static_cast<T>(sum[j]);
    }
  });
}

// The same for few columns, where grouping costs more than it saves: in the order of the indices.
template <class T>
void add_narrow(Tensor& y, const int64_t* index, const Tensor& source) {
  const int64_t outer = y.shape()[0], n = y.shape()[1], inner = y.shape()[2], k = source.shape()[1];
  parallel_for(0, outer, grain(k * inner), [&](int64_t b, int64_t e) {
    for (int64_t o = b; o < e; ++o) {
      const T* from = read<T>(source) + o * k * inner;
      for (int64_t i = 0; i < k; ++i, from += inner) {
        T* to = written<T>(y) + (o * n + index[i]) * inner;
        for (int64_t j = 0; j < inner; ++j) to[j] = static_cast<T>(to[j] + from[j]);
      }
    }
  });
}

Tensor converted(const Tensor& x, Dtype dtype) {
  Tensor y = empty(x.shape(), {.dtype = dtype});
  kernels::copy(Device::cpu(), y, x);
  return y;
}

void index_add(Tensor& y, const Tensor& index, const Tensor& source) {
  if (source.numel() == 0) return;
  const int64_t* at = index.data<int64_t>();
  const bool narrow = y.shape()[2] < 16;
  if (itemsize(y.dtype()) == 2) {
    if (!narrow)
      return y.dtype() == float16 ? add_groups<f16, float>(y, at, source) : add_groups<bf16, float>(y, at, source);
    Tensor wide = converted(y, float32);
    add_narrow<float>(wide, at, converted(source, float32));
    return kernels::copy(Device::cpu(), y, wide);
  }
  for_sum(y.dtype(), [&]<class T>(T) {
    if (narrow)
      add_narrow<T>(y, at, source);
    else
      add_groups<T, T>(y, at, source);
  });
}

// y[o, index[o, i, j], j] += source[o, i, j]: lines along dim are independent, so pieces are blocks of lines.
template <class T>
void add_lines(Tensor& y, const Tensor& index, const Tensor& source, int64_t dim) {
  constexpr int64_t columns = 64;
  const auto [outer, inner] = Around(index.shape(), dim);
  const int64_t k = index.shape()[dim], n = y.shape()[dim], tiles = (inner + columns - 1) / columns;
  parallel_for(0, outer * tiles, grain(k * std::min(inner, columns)), [&, inner = inner](int64_t b, int64_t e) {
    for (int64_t piece = b; piece < e; ++piece) {
      const int64_t o = piece / tiles, column = piece % tiles * columns, width = std::min(columns, inner - column);
      T* to = written<T>(y) + o * n * inner + column;
      const T* from = read<T>(source) + o * k * inner + column;
      const int64_t* at = index.data<int64_t>() + o * k * inner + column;
      for (int64_t i = 0; i < k; ++i, from += inner, at += inner)
        for (int64_t j = 0; j < width; ++j) {
          T& sum = to[at[j] * inner + j];
          sum = static_cast<T>(sum + from[j]);
        }
    }
  });
}

void scatter_add(Tensor& y, const Tensor& index, const Tensor& source, int64_t dim) {
  if (source.numel() == 0) return;
  if (itemsize(y.dtype()) == 2) {
    Tensor wide = converted(y, float32);
    add_lines<float>(wide, index, converted(source, float32), dim);
    return kernels::copy(Device::cpu(), y, wide);
  }
  for_sum(y.dtype(), [&]<class T>(T) { add_lines<T>(y, index, source, dim); });
}

// ---- positions
Tensor nonzero(const Tensor& mask) {
  constexpr int64_t block = 32768;
  const int64_t n = mask.numel(), blocks = (n + block - 1) / block;
  const bool* p = mask.data<bool>();
  std::vector<int64_t> starts(static_cast<size_t>(blocks) + 1);
  parallel_for(0, blocks, 1, [&](int64_t b, int64_t e) {
    for (int64_t i = b; i < e; ++i)
      starts[static_cast<size_t>(i) + 1] = std::count(p + i * block, p + std::min(n, (i + 1) * block), true);
  });
  std::partial_sum(starts.begin(), starts.end(), starts.begin());
  Tensor y = empty({starts.back()}, {.dtype = int64});
  parallel_for(0, blocks, 1, [&](int64_t b, int64_t e) {
    int64_t* to = written<int64_t>(y) + starts[static_cast<size_t>(b)];
    const int64_t* end = written<int64_t>(y) + starts[static_cast<size_t>(e)];
    for (int64_t i = b * block; to < end; ++i) {  // without a branch on the mask, which may be random
      *to = i;
      to += p[i];
    }
  });
  return y;
}

const bool installed =
    kernels::check_indices.set(DeviceType::cpu, check_indices) && kernels::gather.set(DeviceType::cpu, gather) &&
    kernels::index_select.set(DeviceType::cpu, index_select) && kernels::index_add.set(DeviceType::cpu, index_add) &&
    kernels::scatter_add.set(DeviceType::cpu, scatter_add) && kernels::nonzero.set(DeviceType::cpu, nonzero);

}  // namespace
}  // namespace gradus
