// Matrix products a b^T on one thread. The operands are packed into panels that the cache holds; the innermost loop
// keeps a block of c in registers (Goto and van de Geijn, ACM TOMS 34, 2008). The driver is core/cpu/gemm.cpp.
#include <gradus/core/cpu/isa/functions.h>
#include <gradus/core/cpu/isa/vector.h>

namespace gradus::cpu::GRADUS_ISA {
namespace {

// The block in registers: `most_rows` rows of two vectors, one register being left for a and two for b.
#if defined(__AVX512F__)
constexpr int most_rows = 14, column_pitch = 16;
#else
constexpr int most_rows = 6, column_pitch = 8;
#endif
template <class T>
constexpr int panel = 2 * lanes<T>;  // columns

// A panel of a keeps the order it has in memory, so that packing is copying: [rows][row_pitch], or [k][column_pitch]
// when a is transposed. The row pitch keeps rows out of each other's cache sets.
constexpr int row_pitch = gemm_depth + 16;
constexpr int64_t panel_a = gemm_panel_a;
static_assert(most_rows * row_pitch <= panel_a && column_pitch * gemm_depth <= panel_a);
enum class Order { rows, columns };

// ---- the innermost loop
// c [rows, vectors] = a b, or + init [vectors], or + c; a and b are panels.
template <class T, Order order, int rows, int vectors>
void multiply(int64_t k, const T* __restrict a, const T* __restrict b, const T* init, bool accumulate, T* __restrict c,
              int64_t c_row) {
  constexpr int n = lanes<T>;
  constexpr int to_next_row = order == Order::rows ? row_pitch : 1, to_next_k = order == Order::rows ? 1 : column_pitch;
  Vector<T> sum[rows][vectors];
#pragma GCC unroll 16
  for (int r = 0; r < rows; ++r)
#pragma GCC unroll 2
    for (int v = 0; v < vectors; ++v) {
      expect(c + r * c_row + v * n);
      sum[r][v] = init ? load(init + v * n) : Vector<T>{};
    }
  for (int64_t t = 0; t < k; ++t, a += to_next_k, b += panel<T>) {
    Vector<T> factor[vectors];
#pragma GCC unroll 2
    for (int v = 0; v < vectors; ++v) factor[v] = load(b + v * n);
#pragma GCC unroll 16
    for (int r = 0; r < rows; ++r) {
      const Vector<T> same = splat(a[r * to_next_row]);
#pragma GCC unroll 2
      for (int v = 0; v < vectors; ++v) sum[r][v] += same * factor[v];
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < rows; ++r)
#pragma GCC unroll 2
    for (int v = 0; v < vectors; ++v) {
      T* const to = c + r * c_row + v * n;
      store(to, accumulate ? load(to) + sum[r][v] : sum[r][v]);
    }
}

template <class T>
using Multiply = void (*)(int64_t, const T*, const T*, const T*, bool, T*, int64_t);

template <class T>
struct Table {
  Multiply<T> of[2][2][most_rows];  // by order, vectors - 1 and rows - 1
};
template <class T, int... row>
constexpr Table<T> make_table(LaneList<row...>) {
  return {{{{multiply<T, Order::rows, row + 1, 1>...}, {multiply<T, Order::rows, row + 1, 2>...}},
           {{multiply<T, Order::columns, row + 1, 1>...}, {multiply<T, Order::columns, row + 1, 2>...}}}};
}
template <class T>
constexpr Table<T> table_of = make_table<T>(typename FirstLanes<most_rows>::type{});

// ---- packing
// count < lanes<T> elements, in pieces of fixed size.
template <class T, int piece = lanes<T> / 2>
GRADUS_FN void copy_few(T* to, const T* from, int64_t count) {
  if constexpr (piece > 0) {
    const bool has_piece = count & piece;
    if (has_piece) __builtin_memcpy(to, from, sizeof(T) * piece);
    copy_few<T, piece / 2>(to + (has_piece ? piece : 0), from + (has_piece ? piece : 0), count);
  }
}
template <class T>
GRADUS_FN void copy(T* to, const T* from, int64_t count) {
  int64_t i = 0;
  for (; i + lanes<T> <= count; i += lanes<T>) store(to + i, load(from + i));
  copy_few(to + i, from + i, count - i);
}
template <class T>
GRADUS_FN Vector<T> load_few(const T* from, int64_t count) {
  T lane[lanes<T>] = {};
  copy_few(lane, from, count);
  return load(lane);
}

// Swaps bit `distance` of the row number with that of the lane number; doing so for every bit transposes.
template <int distance, class V, int... lane>
GRADUS_FN void exchange(V& low, V& high, LaneList<lane...>) {
  constexpr int n = sizeof...(lane);
  const V a = low, b = high;
  low = __builtin_shufflevector(a, b, (lane & distance ? n + lane - distance : lane)...);
  high = __builtin_shufflevector(a, b, (lane & distance ? n + lane : lane + distance)...);
}
template <class T, int distance = 1>
GRADUS_FN void transpose(Vector<T> (&rows)[lanes<T>]) {
  if constexpr (distance < lanes<T>) {
#pragma GCC unroll 16
    for (int r = 0; r < lanes<T>; ++r)
      if (!(r & distance)) exchange<distance>(rows[r], rows[r + distance], typename FirstLanes<lanes<T>>::type{});
    transpose<T, distance * 2>(rows);
  }
}

// b [n, k] to [n / panel][k][panel]; what lies behind n is zeros up to a whole vector.
template <class T>
void pack_b(T* to, const T* b, int64_t b_row, int64_t n, int64_t k) {
  for (int64_t column = 0; column < n; column += lanes<T>) {
    T* const at = to + column / panel<T> * panel<T> * k + column % panel<T>;
    for (int64_t t = 0; t < k; t += lanes<T>) {
      const int depth = static_cast<int>(k - t < lanes<T> ? k - t : lanes<T>);
      Vector<T> rows[lanes<T>];
#pragma GCC unroll 16
      for (int j = 0; j < lanes<T>; ++j) {
        const T* const from = b + (column + j) * b_row + t;
        rows[j] = column + j >= n ? Vector<T>{} : depth == lanes<T> ? load(from) : load_few(from, depth);
      }
      transpose<T>(rows);
#pragma GCC unroll 16
      for (int j = 0; j < lanes<T>; ++j)
        if (j < depth) store(at + (t + j) * panel<T>, rows[j]);
    }
  }
}

// `rows` rows of a, in either order; `readable` rows lie behind the first.
template <class T>
void pack_a(T* to, const T* a, int64_t a_row, int64_t a_column, int64_t rows, int64_t readable, int64_t k) {
  if (a_column == 1)
    for (int64_t r = 0; r < rows; ++r) copy(to + r * row_pitch, a + r * a_row, k);
  else if (readable >= column_pitch)  // whole vectors, of which the rows behind are not used
    for (int64_t t = 0; t < k; ++t) copy(to + t * column_pitch, a + t * a_column, column_pitch);
  else
    for (int64_t t = 0; t < k; ++t) copy(to + t * column_pitch, a + t * a_column, rows);
}

// ---- one tile
// The block of c in `rows` rows and columns [column, column + panel). What c does not fill goes through a buffer.
template <class T>
void multiply_block(const GemmTile<T>& tile, int64_t row, int64_t rows, int64_t column, int64_t k, const T* a,
                    const T* b, bool first) {
  const int64_t width = tile.n - column < panel<T> ? tile.n - column : panel<T>;
  const Multiply<T> f = table_of<T>.of[tile.a_column != 1][width > lanes<T>][rows - 1];
  const bool accumulate = tile.accumulate || !first;
  const T* const bias = first && tile.bias ? tile.bias + column : nullptr;
  T* const c = tile.c + row * tile.c_row + column;
  if (width == panel<T> || width == lanes<T>) return f(k, a, b, bias, accumulate, c, tile.c_row);
  alignas(64) T buffer[most_rows * panel<T>], padded_bias[panel<T>] = {};
  if (bias) __builtin_memcpy(padded_bias, bias, sizeof(T) * static_cast<size_t>(width));
  f(k, a, b, bias ? padded_bias : nullptr, false, buffer, panel<T>);
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t j = 0; j < width; ++j) {
      T& to = c[r * tile.c_row + j];
      to = accumulate ? to + buffer[r * panel<T> + j] : buffer[r * panel<T> + j];
    }
}

// Cuts [0, size) into multiples of `unit`, nearly equal and at most `most`, and calls body(begin, length).
template <class Body>
GRADUS_FN void for_parts(int64_t size, int64_t most, int64_t unit, Body body) {
  const int64_t units = (size + most - 1) / most * unit, length = (size + units - 1) / units * unit;
  for (int64_t begin = 0; begin < size; begin += length) body(begin, size - begin < length ? size - begin : length);
}

// A block of b is packed once; panels of a are packed one after the other, and each meets the whole block at once.
template <class T>
void gemm(const GemmTile<T>& tile) {
  T* const packed_a = tile.scratch;
  T* const packed_b = tile.scratch + panel_a;
  for_parts(tile.n, gemm_columns, panel<T>, [&](int64_t column, int64_t columns) {
    for_parts(tile.k, gemm_depth, lanes<T>, [&](int64_t from, int64_t k) {
      pack_b(packed_b, tile.b + column * tile.b_row + from, tile.b_row, columns, k);
      for_parts(tile.m, most_rows, 1, [&](int64_t row, int64_t rows) {
        const T* const a = tile.a + row * tile.a_row + from * tile.a_column;
        pack_a(packed_a, a, tile.a_row, tile.a_column, rows, tile.m - row, k);
        for (int64_t j = 0; j < columns; j += panel<T>)
          multiply_block(tile, row, rows, column + j, k, packed_a, packed_b + j * k, from == 0);
      });
    });
  });
}

}  // namespace

void gemm_f32(const GemmTile<float>& tile) { gemm(tile); }
void gemm_f64(const GemmTile<double>& tile) { gemm(tile); }

}  // namespace gradus::cpu::GRADUS_ISA
