// Reductions of [outer, n, inner] along n: how the work is cut into blocks for the threads and for accuracy. The loops
// over a block are per instruction set, in core/cpu/isa/reduce.cpp.
#include <algorithm>
#include <cstring>
#include <type_traits>

#include <gradus/core/cpu/isa/functions.h>
#include <gradus/core/factories.h>
#include <gradus/core/kernels.h>
#include <gradus/core/parallel.h>

namespace gradus {
namespace {

using cpu::Reduce, cpu::reduce_columns;

constexpr int64_t parallel_elements = 32768;  // less is not worth a second thread

// A block is at most `rows` along n and `columns` along inner. The sizes depend on the shape alone, so results do not
// depend on the threads; within a block a float accumulator takes at most 64 additions in a row.
struct Blocks {
  int64_t outer, n, inner, rows, chunks, columns, tiles;

  explicit Blocks(const Tensor& x) : outer(x.shape()[0]), n(x.shape()[1]), inner(x.shape()[2]) {
    rows = std::clamp<int64_t>(16384 / std::max<int64_t>(inner, 1), 128, 16384);
    chunks = std::max<int64_t>(1, (n + rows - 1) / rows);
    columns = std::min(inner, reduce_columns);
    tiles = columns ? (inner + columns - 1) / columns : 0;
  }

  // Calls body(o, count, row, height, column, width) for every block, in parallel: `count` whole blocks of consecutive
  // outer indices where there is one each, else a single block.
  template <class Body>
  void for_each(Body body) const {
    const int64_t size = std::max<int64_t>(1, std::min(rows, n) * columns), grain = parallel_elements / size + 1;
    if (chunks == 1 && tiles == 1)
      return parallel_for(0, outer, grain, [&](int64_t b, int64_t e) { body(b, e - b, 0, n, 0, inner); });
    parallel_for(0, outer * chunks * tiles, grain, [&](int64_t b, int64_t e) {
      for (int64_t i = b; i < e; ++i) {
        const int64_t tile = i % tiles, chunk = i / tiles % chunks;
        body(i / tiles / chunks, 1, chunk * rows, std::min(rows, n - chunk * rows), tile * columns,
             std::min(columns, inner - tile * columns));
      }
    });
  }
};

const char* element(const Tensor& x, int64_t i) {
  return static_cast<const char*>(x.raw_data()) + i * itemsize(x.dtype());
}
char* element(Tensor& x, int64_t i) { return const_cast<char*>(element(std::as_const(x), i)); }

// y has the accumulator's dtype. Long dims are reduced to one accumulator for each chunk, and these again.
void reduce(Reduce op, Tensor& y, const Tensor& x) {
  const Blocks blocks(x);
  const auto& isa = cpu::isa();
  Tensor partial = blocks.chunks > 1 ? empty({blocks.outer, blocks.chunks, blocks.inner}, {.dtype = y.dtype()}) : y;
  blocks.for_each([&](int64_t o, int64_t count, int64_t row, int64_t height, int64_t column, int64_t width) {
    const int64_t chunk = row / blocks.rows;
    isa.reduce(op, x.dtype(), element(partial, (o * blocks.chunks + chunk) * blocks.inner + column),
               element(x, (o * blocks.n + row) * blocks.inner + column), count, height, width, blocks.inner);
  });
  if (blocks.chunks > 1) reduce(op, y, partial);
}

// Any y: sixteen bits are accumulated in a float32 tensor of its own.
template <Reduce op>
void reduce_kernel(Tensor& y, const Tensor& x) {
  if (itemsize(y.dtype()) != 2) return reduce(op, y, x);
  Tensor wide = empty(y.shape(), {.dtype = float32});
  reduce(op, wide, x);
  kernels::copy(Device::cpu(), y, wide);
}

// ---- extremes with their positions
template <class T>
auto comparable(T x) {
  if constexpr (std::is_class_v<T>)
    return static_cast<float>(x);
  else
    return x;
}

// Whether b takes the place of an a before it.
template <bool largest, class A>
bool beats(A b, A a) {
  if (a != a) return false;
  return b != b || (largest ? b > a : b < a);
}

// index [outer, inner] from the positions of the first extreme of every chunk, and y = x there.
template <class T, bool largest>
void choose_chunk(Tensor& y, Tensor& index, const Tensor& first, const Tensor& x, const Blocks& blocks) {
  const int64_t n = blocks.n, inner = blocks.inner, rows = blocks.rows, chunks = blocks.chunks;
  parallel_for(0, blocks.outer, parallel_elements / std::max<int64_t>(1, chunks * inner) + 1,
               [&](int64_t b, int64_t e) {
                 for (int64_t o = b; o < e; ++o) {
                   const T* from = x.data<T>() + o * n * inner;
                   const int64_t* candidates = first.data<int64_t>() + o * chunks * inner;
                   T* to = const_cast<T*>(y.data<T>()) + o * inner;
                   int64_t* position = const_cast<int64_t*>(index.data<int64_t>()) + o * inner;
                   for (int64_t j = 0; j < inner; ++j) {
                     int64_t best = candidates[j];
                     for (int64_t c = 1; c < chunks; ++c)
                       if (const int64_t i = c * rows + candidates[c * inner + j];
                           beats<largest>(comparable(from[i * inner + j]), comparable(from[best * inner + j])))
                         best = i;
                     position[j] = best;
                     to[j] = from[best * inner + j];
                   }
                 }
               });
}

template <bool largest>
void extreme_kernel(Tensor& y, Tensor& index, const Tensor& x) {
  if (!index.defined()) return reduce_kernel < largest ? Reduce::max : Reduce::min > (y, x);
  const Blocks blocks(x);
  const auto& isa = cpu::isa();
  Tensor first = blocks.chunks > 1 ? empty({blocks.outer, blocks.chunks, blocks.inner}, {.dtype = int64}) : index;
  blocks.for_each([&](int64_t o, int64_t count, int64_t row, int64_t height, int64_t column, int64_t width) {
    auto* to = const_cast<int64_t*>(first.data<int64_t>());
    isa.first_extreme(largest, x.dtype(), to + (o * blocks.chunks + row / blocks.rows) * blocks.inner + column,
                      element(x, (o * blocks.n + row) * blocks.inner + column), count, height, width, blocks.inner);
  });
  switch (x.dtype()) {
    case float32: return choose_chunk<float, largest>(y, index, first, x, blocks);
    case float64: return choose_chunk<double, largest>(y, index, first, x, blocks);
    case float16: return choose_chunk<f16, largest>(y, index, first, x, blocks);
    case bfloat16: return choose_chunk<bf16, largest>(y, index, first, x, blocks);
    case int32: return choose_chunk<int32_t, largest>(y, index, first, x, blocks);
    case int64: return choose_chunk<int64_t, largest>(y, index, first, x, blocks);
    case uint8: return choose_chunk<uint8_t, largest>(y, index, first, x, blocks);
    case boolean: return choose_chunk<bool, largest>(y, index, first, x, blocks);
  }
}

const bool installed = kernels::reduce_sum.set(DeviceType::cpu, reduce_kernel<Reduce::sum>) &&
                       kernels::reduce_prod.set(DeviceType::cpu, reduce_kernel<Reduce::prod>) &&
                       kernels::reduce_max.set(DeviceType::cpu, extreme_kernel<true>) &&
                       kernels::reduce_min.set(DeviceType::cpu, extreme_kernel<false>) &&
                       kernels::reduce_any.set(DeviceType::cpu, reduce_kernel<Reduce::any>) &&
                       kernels::reduce_all.set(DeviceType::cpu, reduce_kernel<Reduce::all>);

}  // namespace
}  // namespace gradus
