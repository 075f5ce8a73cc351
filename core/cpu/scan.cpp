// Cumulative sums of [outer, n, inner] along n. Floating values are accumulated in float64, integers modulo 2^64.
#include <algorithm>
#include <vector>

#include <gradus/core/factories.h>
#include <gradus/core/kernels.h>
#include <gradus/core/parallel.h>

namespace gradus {
namespace {

constexpr int64_t block = 16384;  // of one long row; depends on nothing but n
constexpr int64_t columns = 256;  // of a block of rows

template <class A, class T>
A widened(T x) {
  if constexpr (std::is_class_v<T>)
    return static_cast<A>(static_cast<float>(x));
  else
    return static_cast<A>(x);
}
template <class T, class A>
T rounded(A x) {
  if constexpr (std::is_class_v<T>)
    return T(static_cast<float>(x));
  else
    return static_cast<T>(x);
}

// Rows that lie one after another: each is cut into blocks, whose sums tell the next block where to start.
template <class A, class Y, class X>
void scan_rows(Y* y, const X* x, int64_t rows, int64_t n) {
  const int64_t blocks = (n + block - 1) / block, grain = block / std::min(n, block);
  std::vector<A> sums(blocks > 1 ? static_cast<size_t>(rows * blocks) : 0);
  const auto sum_of = [&](int64_t row, int64_t b) -> A& { return sums[static_cast<size_t>(row * blocks + b)]; };
  if (blocks > 1) {
    parallel_for(0, rows * blocks, 1, [&](int64_t from, int64_t to) {
      for (int64_t i = from; i < to; ++i) {
        const int64_t begin = i % blocks * block, end = std::min(n, begin + block);
        const X* row = x + i / blocks * n;
        A sum = 0;
        for (int64_t j = begin; j < end; ++j) sum += widened<A>(row[j]);
        sums[static_cast<size_t>(i)] = sum;
      }
    });
    for (int64_t row = 0; row < rows; ++row) {
      A before = 0;
      for (int64_t b = 0; b < blocks; ++b) before += std::exchange(sum_of(row, b), before);
    }
  }
  parallel_for(0, rows * blocks, grain, [&](int64_t from, int64_t to) {
    for (int64_t i = from; i < to; ++i) {
      const int64_t row = i / blocks, begin = i % blocks * block, end = std::min(n, begin + block);
      A sum = blocks > 1 ? sum_of(row, i % blocks) : A(0);
      for (int64_t j = begin; j < end; ++j) y[row * n + j] = rounded<Y>(sum += widened<A>(x[row * n + j]));
    }
  });
}

// Columns side by side, a tile of them at a time.
template <class A, class Y, class X>
void scan_columns(Y* y, const X* x, int64_t outer, int64_t n, int64_t inner) {
  const int64_t tiles = (inner + columns - 1) / columns, grain = block / (n * std::min(inner, columns)) + 1;
  parallel_for(0, outer * tiles, grain, [&](int64_t from, int64_t to) {
    for (int64_t i = from; i < to; ++i) {
      const int64_t column = i % tiles * columns, width = std::min(columns, inner - column);
      A sum[columns] = {};
      for (int64_t row = i / tiles * n; row < (i / tiles + 1) * n; ++row)
        for (int64_t j = 0; j < width; ++j) {
          const int64_t at = row * inner + column + j;
          y[at] = rounded<Y>(sum[j] += widened<A>(x[at]));
        }
    }
  });
}

template <class A, class Y, class X>
void scan(Tensor& y, const Tensor& x) {
  const int64_t outer = x.shape()[0], n = x.shape()[1], inner = x.shape()[2];
  Y* to = const_cast<Y*>(y.data<Y>());
  if (inner == 1)
    scan_rows<A>(to, x.data<X>(), outer, n);
  else
    scan_columns<A>(to, x.data<X>(), outer, n, inner);
}

void cumsum(Tensor& y, const Tensor& x) {
  if (x.numel() == 0) return;
  switch (x.dtype()) {
    case float32: return scan<double, float, float>(y, x);
    case float64: return scan<double, double, double>(y, x);
    case float16: return scan<double, f16, f16>(y, x);
    case bfloat16: return scan<double, bf16, bf16>(y, x);
    case int32: return scan<uint64_t, int64_t, int32_t>(y, x);
    case int64: return scan<uint64_t, int64_t, int64_t>(y, x);
    case uint8: return scan<uint64_t, int64_t, uint8_t>(y, x);
    case boolean: return scan<uint64_t, int64_t, bool>(y, x);
  }
}

const bool installed = kernels::cumsum.set(DeviceType::cpu, cumsum);

}  // namespace
}  // namespace gradus
