// For this instruction set: softmax, log-softmax and what cross entropy is made of, row by row.
#include <gradus/core/cpu/isa/functions.h>
#include <gradus/core/cpu/isa/vector.h>

namespace gradus::cpu::GRADUS_ISA {
namespace {

// Elements past the end of a row are loaded as minus infinity: no maximum, and 0 after exp.
template <class T>
GRADUS_FN T sum_exp(const T* x, int64_t n, T shift) {
  return sum_of<T>(n, [&](int64_t i, auto count) { return exp_below(load(x + i, count, -infinity<T>) - shift); });
}

// A row of minus infinities is shifted by 0, and gives minus infinity.
template <class T>
GRADUS_FN T row_logsumexp(const T* x, int64_t n) {
  const T top = largest(x, n), shift = math::abs(top) <= math::largest<T>() ? top : T(0);
  return shift + math::log(sum_exp(x, n, shift));
}

template <class T>
void softmax(T* y, const T* x, int64_t rows, int64_t n) {
  for (; rows > 0; --rows, y += n, x += n) {
    const T top = largest(x, n);
    const T scale = T(1) / sum_of<T>(n, [&](int64_t i, auto count) {
                      const Vector<T> e = exp_below(load(x + i, count, -infinity<T>) - top);
                      store(y + i, e, count);
                      return e;
                    });
    for_vectors<T>(n, [&](int64_t i, auto count) { store(y + i, load<T>(y + i, count) * scale, count); });
  }
}

template <class T>
void softmax_backward(T* dx, const T* g, const T* y, int64_t rows, int64_t n) {
  for (; rows > 0; --rows, dx += n, g += n, y += n) {
    const T dot = sum_of<T>(n, [&](int64_t i, auto count) { return load<T>(g + i, count) * load<T>(y + i, count); });
    for_vectors<T>(
        n, [&](int64_t i, auto count) { store(dx + i, (load<T>(g + i, count) - dot) * load<T>(y + i, count), count); });
  }
}

template <class T>
void log_softmax(T* y, const T* x, int64_t rows, int64_t n) {
  for (; rows > 0; --rows, y += n, x += n) {
    const T top = largest(x, n), log_sum = math::log(sum_exp(x, n, top));
    for_vectors<T>(n, [&](int64_t i, auto count) { store(y + i, load<T>(x + i, count) - top - log_sum, count); });
  }
}

template <class T>
void log_softmax_backward(T* dx, const T* g, const T* y, int64_t rows, int64_t n) {
  for (; rows > 0; --rows, dx += n, g += n, y += n) {
    const T sum = sum_of<T>(n, [&](int64_t i, auto count) { return load<T>(g + i, count); });
    for_vectors<T>(n, [&](int64_t i, auto count) {
      store(dx + i, load<T>(g + i, count) - exp_below(load<T>(y + i, count)) * sum, count);
    });
  }
}

template <class T>
void logsumexp(T* y, const T* x, int64_t rows, int64_t n) {
  for (; rows > 0; --rows, ++y, x += n) *y = row_logsumexp(x, n);
}

template <class T>
void scaled_exp(T* y, const T* x, const T* shift, const T* scale, int64_t rows, int64_t n) {
  for (; rows > 0; --rows, y += n, x += n, ++shift, ++scale) {
    const T s = *scale, by = *shift;
    if (s == 0)
      for_vectors<T>(n, [&](int64_t i, auto count) { store(y + i, Vector<T>{}, count); });
    else
      for_vectors<T>(n, [&](int64_t i, auto count) { store(y + i, exp_below(load<T>(x + i, count) - by) * s, count); });
  }
}

template <class T>
constexpr SoftmaxLoops<T> loops = {.softmax = softmax<T>,
                                   .softmax_backward = softmax_backward<T>,
                                   .log_softmax = log_softmax<T>,
                                   .log_softmax_backward = log_softmax_backward<T>,
                                   .logsumexp = logsumexp<T>,
                                   .scaled_exp = scaled_exp<T>};

}  // namespace

const SoftmaxLoops<float>& softmax_loops_f32() { return loops<float>; }
const SoftmaxLoops<double>& softmax_loops_f64() { return loops<double>; }

}  // namespace gradus::cpu::GRADUS_ISA
