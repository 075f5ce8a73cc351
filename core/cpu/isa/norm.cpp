// For this instruction set: normalisation by rows (layer and RMS norm) and the stretches of channels that batch and
// group norm are made of.
#include <gradus/core/cpu/isa/functions.h>
#include <gradus/core/cpu/isa/vector.h>

namespace gradus::cpu::GRADUS_ISA {
namespace {

template <class T>
T sum(const T* x, int64_t n) {
  Vector<T> total = {};
  for_vectors<T>(n, [&](int64_t i, auto count) { total += load<T>(x + i, count); });
  return sum_lanes<T>(total);
}

template <class T>
void deviations(T* sums, const T* x, int64_t n, T center) {
  Vector<T> first = {}, second = {};
  for_vectors<T>(n, [&](int64_t i, auto count) {
    const Vector<T> d = load(x + i, count, center) - center;
    first += d;
    second += d * d;
  });
  sums[0] = sum_lanes<T>(first);
  sums[1] = sum_lanes<T>(second);
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
    const T scale = T(1) / math::sqrt(larger(sums[1] / T(n) - shift * shift, T(0)) + eps);
    mean[row] = center;
    rstd[row] = scale;
    for_vectors<T>(n, [&](int64_t i, auto count) {
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
      store(y + i, load<T>(x + i, count) * scale * factor(weight, i, count), count);
    });
  }
}

// With z = (x - mean) rstd and h = g weight: dx = rstd (h - mean h - z mean(h z)); RMS norm has neither mean.
template <bool centered, class T>
GRADUS_FN void input_gradient(T* dx, const T* g, const T* x, T mean, T rstd, const T* weight, int64_t n) {
  Vector<T> gradients = {}, products = {};
  for_vectors<T>(n, [&](int64_t i, auto count) {
    const Vector<T> h = load<T>(g + i, count) * factor(weight, i, count);
    if constexpr (centered) gradients += h;
    products += h * (load(x + i, count, mean) - mean);
  });
  const T slope = sum_lanes<T>(products) * rstd * rstd / T(n);
  const T offset = centered ? sum_lanes<T>(gradients) / T(n) : T(0);
  for_vectors<T>(n, [&](int64_t i, auto count) {
    const Vector<T> h = load<T>(g + i, count) * factor(weight, i, count);
    store(dx + i, (h - offset - (load<T>(x + i, count) - mean) * slope) * rstd, count);
  });
}

template <class T>
GRADUS_FN void add_weight_gradient(T* dweight, const T* g, const T* x, T mean, T rstd, int64_t n) {
  for_vectors<T>(n, [&](int64_t i, auto count) {
    const Vector<T> normal = (load<T>(x + i, count) - mean) * rstd;
    store(dweight + i, load<T>(dweight + i, count) + load<T>(g + i, count) * normal, count);
  });
}

template <class T>
GRADUS_FN void add_bias_gradient(T* dbias, const T* g, int64_t n) {
  for_vectors<T>(
      n, [&](int64_t i, auto count) { store(dbias + i, load<T>(dbias + i, count) + load<T>(g + i, count), count); });
}

template <class T>
void layer_norm_backward(T* dx, T* dweight, T* dbias, const T* g, const T* x, const T* mean, const T* rstd,
                         const T* weight, int64_t rows, int64_t n) {
  for (int64_t row = 0; row < rows; ++row, g += n, x += n) {
    if (dweight) add_weight_gradient(dweight, g, x, mean[row], rstd[row], n);
    if (dbias) add_bias_gradient(dbias, g, n);
    if (dx) input_gradient<true>(dx + row * n, g, x, mean[row], rstd[row], weight, n);
  }
}

template <class T>
void rms_norm_backward(T* dx, T* dweight, const T* g, const T* x, const T* rstd, const T* weight, int64_t rows,
                       int64_t n) {
  for (int64_t row = 0; row < rows; ++row, g += n, x += n) {
    if (dweight) add_weight_gradient(dweight, g, x, T(0), rstd[row], n);
    if (dx) input_gradient<false>(dx + row * n, g, x, T(0), rstd[row], weight, n);
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
  Vector<T> gradients = {}, products = {};
  for_vectors<T>(n, [&](int64_t i, auto count) {
    const Vector<T> v = load<T>(g + i, count);
    gradients += v;
    products += v * (load(x + i, count, center) - center);
  });
  sums[0] = sum_lanes<T>(gradients);
  sums[1] = sum_lanes<T>(products);
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
