// For this instruction set: what attention does between its matrix products, on a block of scores that lies in cache.
#include <gradus/core/cpu/isa/functions.h>
#include <gradus/core/cpu/isa/vector.h>

namespace gradus::cpu::GRADUS_ISA {
namespace {

GRADUS_FN int64_t seen(int64_t n, int64_t visible) { return visible < 0 ? 0 : visible < n ? visible : n; }

// s = exp(scale s - shift) in the first `count` columns, 0 in the others; returns the sum.
template <class T>
GRADUS_FN T exp_row(T* s, int64_t count, int64_t n, T scale, T shift) {
  for_vectors<T>(n - count, [&](int64_t i, auto part) { store(s + count + i, Vector<T>{}, part); });
  return sum_of<T>(count, [&](int64_t i, auto part) {
    const Vector<T> e = exp_below(load(s + i, part, -infinity<T>) * scale - shift);
    store(s + i, e, part);
    return e;
  });
}

template <class T>
void softmax_block(T* s, int64_t rows, int64_t n, T scale, int64_t visible, int64_t step, T* top, T* sum,
                   T* correction) {
  for (int64_t row = 0; row < rows; ++row, s += n, visible += step) {
    const int64_t count = seen(n, visible);
    const T before = top[row], now = larger(before, largest(s, count) * scale);
    const T block = exp_row(s, count, n, scale, now);
    top[row] = now;
    correction[row] = exp_below(before - now);
    sum[row] = sum[row] * correction[row] + block;
  }
}

template <class T>
void probabilities(T* s, int64_t rows, int64_t n, T scale, int64_t visible, int64_t step, const T* lse) {
  for (int64_t row = 0; row < rows; ++row, s += n, visible += step) exp_row(s, seen(n, visible), n, scale, lse[row]);
}

template <class T>
void score_gradient(T* ds, const T* p, int64_t rows, int64_t n, T scale, const T* dot) {
  for (int64_t row = 0; row < rows; ++row, ds += n, p += n)
    for_vectors<T>(n, [&](int64_t i, auto count) {
      store(ds + i, load<T>(p + i, count) * (load<T>(ds + i, count) - dot[row]) * scale, count);
    });
}

template <class T>
void scale_rows(T* x, int64_t stride, int64_t rows, int64_t n, const T* factor) {
  for (int64_t row = 0; row < rows; ++row, x += stride)
    for_vectors<T>(n, [&](int64_t i, auto count) { store(x + i, load<T>(x + i, count) * factor[row], count); });
}

template <class T>
void dot_rows(T* y, const T* a, int64_t stride_a, const T* b, int64_t stride_b, int64_t rows, int64_t n) {
  for (int64_t row = 0; row < rows; ++row, a += stride_a, b += stride_b)
    y[row] = sum_of<T>(n, [&](int64_t i, auto count) { return load<T>(a + i, count) * load<T>(b + i, count); });
}

template <class T>
constexpr AttentionLoops<T> loops = {.softmax_block = softmax_block<T>,
                                     .probabilities = probabilities<T>,
                                     .score_gradient = score_gradient<T>,
                                     .scale_rows = scale_rows<T>,
                                     .dot_rows = dot_rows<T>};

}  // namespace

const AttentionLoops<float>& attention_loops_f32() { return loops<float>; }
const AttentionLoops<double>& attention_loops_f64() { return loops<double>; }

}  // namespace gradus::cpu::GRADUS_ISA
