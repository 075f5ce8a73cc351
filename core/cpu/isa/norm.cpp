// For this instruction set: normalisation by rows (layer and RMS norm) and the stretches of channels that batch and
// group norm are made of.
#include <gradus/core/cpu/isa/functions.h>
#include <gradus/core/cpu/isa/vector.h>

namespace gradus::cpu::GRADUS_ISA {
namespace {

template <class T>
T sum(const T* x, int64_t n) {
  return sum_of<T>(n, [&](int64_t i, auto count) { return load<T>(x + i, count); });
}

template <class T>
void deviations(T* sums, const T* x, int64_t n, T center) {
  two_sums_of(sums[0], sums[1], n, [&](int64_t i, auto count) {
    const Vector<T> d = load(x + i, count, center) - center;
    return Two<T>{d, d * d};
  });
}

// A factor of each column, or ones.
template <class T, class Count>
GRADUS_FN Vector<T> factor(const T* weight, int64_t i, Count count) {
  return weight ? load<T>(weight + i, count) : splat(T(1));
}

// Two passes for the moments: the second corrects the rounding of the first, and loses nothing to a large mean.
template <class T>
void layer_norm(T* y, T* mean, T* rstd, const T* x, const T* weight, const T* bias, int64_t rows, int64_t n, T eps) {
  for (int64_t row = 0; row < rows; ++row, y += n, x += n) {
    const T guess = sum(x, n) / T(n);
    T sums[2];
    deviations(sums, x, n, guess);
    const T shift = sums[0] / T(n), center = guess + shift;
    const T scale = T(1) / math::sqrt(larger(T(0), sums[1] / T(n) - shift * shift) + eps);  // a NaN stays one
    mean[row] = center;
    rstd[row] = scale;
    for_vectors<T>(n, [&](int64_t i, auto count) {
      expect(x + n + i);
      const Vector<T> normal = (load<T>(x + i, count) - center) * scale;
      const Vector<T> offset = bias ? load<T>(bias + i, count) : Vector<T>{};
      store(y + i, normal * factor(weight, i, count) + offset, count);
    });
  }
}

template <class T>
void rms_norm(T* y, T* rstd, const T* x, const T* weight, int64_t rows, int64_t n, T eps) {
  for (int64_t row = 0; row < rows; ++row, y += n, x += n) {
    T sums[2];
    deviations(sums, x, n, T(0));
    const T scale = T(1) / math::sqrt(sums[1] / T(n) + eps);
    rstd[row] = scale;
    for_vectors<T>(n, [&](int64_t i, auto count) {
      expect(x + n + i);
      store(y + i, load<T>(x + i, count) * scale * factor(weight, i, count), count);
    });
  }
}

// With z = (x - mean) rstd and h = g weight: dx = rstd (h - mean h - z mean(h z)), dweight += g z, dbias += g. RMS norm
// has no mean and no bias. dx may be null; dweight and dbias are there when `learned`.
template <bool centered, bool learned, class T>
GRADUS_FN void row_backward(T* dx, T* dweight, T* dbias, const T* g, const T* x, T mean, T rstd, const T* weight,
                            int64_t n) {
  T gradients, products;
  two_sums_of(gradients, products, n, [&](int64_t i, auto count) {
    const Vector<T> v = load<T>(g + i, count), d = load(x + i, count, mean) - mean;
    if constexpr (learned) store(dweight + i, load<T>(dweight + i, count) + v * (d * rstd), count);
    if constexpr (learned && centered) store(dbias + i, load<T>(dbias + i, count) + v, count);
    const Vector<T> h = v * factor(weight, i, count);
    return Two<T>{h, h * d};
  });
  if (!dx) return;
  const T slope = products * rstd * rstd / T(n), offset = centered ? gradients / T(n) : T(0);
  for_vectors<T>(n, [&](int64_t i, auto count) {
    const Vector<T> h = load<T>(g + i, count) * factor(weight, i, count);
    store(dx + i, (h - offset - (load<T>(x + i, count) - mean) * slope) * rstd, count);
  });
}

template <class T>
void layer_norm_backward(T* dx, T* dweight, T* dbias, const T* g, const T* x, const T* mean, const T* rstd,
                         const T* weight, int64_t rows, int64_t n) {
  for (int64_t row = 0; row < rows; ++row, g += n, x += n) {
    T* const to = dx ? dx + row * n : nullptr;
    if (dweight)
      row_backward<true, true>(to, dweight, dbias, g, x, mean[row], rstd[row], weight, n);
    else
      row_backward<true, false>(to, dweight, dbias, g, x, mean[row], rstd[row], weight, n);
  }
}

template <class T>
void rms_norm_backward(T* dx, T* dweight, const T* g, const T* x, const T* rstd, const T* weight, int64_t rows,
                       int64_t n) {
  T* const no_bias = nullptr;
  for (int64_t row = 0; row < rows; ++row, g += n, x += n) {
    T* const to = dx ? dx + row * n : nullptr;
    if (dweight)
      row_backward<false, true>(to, dweight, no_bias, g, x, T(0), rstd[row], weight, n);
    else
      row_backward<false, false>(to, dweight, no_bias, g, x, T(0), rstd[row], weight, n);
  }
}

// ---- stretches of one channel

template <class T>
void affine(T* y, const T* x, int64_t n, T center, T scale, T shift) {
  for_vectors<T>(n,
                 [&](int64_t i, auto count) { store(y + i, (load<T>(x + i, count) - center) * scale + shift, count); });
}

template <class T>
void gradient_sums(T* sums, const T* g, const T* x, int64_t n, T center) {
  two_sums_of(sums[0], sums[1], n, [&](int64_t i, auto count) {
    const Vector<T> v = load<T>(g + i, count);
    return Two<T>{v, v * (load(x + i, count, center) - center)};
  });
}

template <class T>
void gradient(T* dx, const T* g, const T* x, int64_t n, T center, T scale, T slope, T offset) {
  for_vectors<T>(n, [&](int64_t i, auto count) {
    const Vector<T> h = load<T>(g + i, count) * scale;
    store(dx + i, h - (load<T>(x + i, count) - center) * slope - offset, count);
  });
}

template <class T>
constexpr NormLoops<T> loops = {.layer_norm = layer_norm<T>,
                                .layer_norm_backward = layer_norm_backward<T>,
                                .rms_norm = rms_norm<T>,
                                .rms_norm_backward = rms_norm_backward<T>,
                                .sum = sum<T>,
                                .deviations = deviations<T>,
                                .affine = affine<T>,
                                .gradient_sums = gradient_sums<T>,
                                .gradient = gradient<T>};

}  // namespace

const NormLoops<float>& norm_loops_f32() { return loops<float>; }
const NormLoops<double>& norm_loops_f64() { return loops<double>; }

}  // namespace gradus::cpu::GRADUS_ISA
