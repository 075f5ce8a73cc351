// Random values and dropout from a Philox stream: element i uses word i % 4 of counter offset + i / 4, so the values do
// not depend on threads.
#include <algorithm>
#include <cmath>

#include <gradus/core/cpu/detail/dispatch.h>
#include <gradus/core/kernels.h>
#include <gradus/core/parallel.h>
#include <gradus/core/philox.h>

namespace gradus::cpu {
namespace {

constexpr int64_t grain = 4096;  // counters for one task

// Calls element(i, words) for each of n elements, four to a counter.
template <class Quad>
void for_each_counter(int64_t n, PhiloxState state, Quad quad) {
  parallel_for(0, (n + 3) / 4, grain, [&](int64_t first, int64_t last) {
    for (int64_t c = first; c < last; ++c) {
      const philox::Words words = philox::philox(state.seed, state.offset + static_cast<uint64_t>(c));
      quad(c * 4, static_cast<int>(std::min<int64_t>(4, n - c * 4)), words);
    }
  });
}

// The arithmetic type of T: float also for the 16-bit types.
template <class T>
using Real = std::conditional_t<std::is_same_v<T, double>, double, float>;

// The largest T below x.
template <class T>
T below(double x) {
  if constexpr (std::is_floating_point_v<T>) {
    return std::nextafter(static_cast<T>(x), -math::largest<T>());
  } else {
    T t(static_cast<float>(x));
    const bool zero = (t.bits & 0x7fffu) == 0, negative = (t.bits & 0x8000u) != 0;
    t.bits = static_cast<uint16_t>(zero ? 0x8001u : negative ? t.bits + 1u : t.bits - 1u);
    return t;
  }
}

// [low, high): rounding to T must not reach `high`.
template <class T>
void uniform(T* y, int64_t n, double low, double high, PhiloxState state) {
  const Real<T> a = static_cast<Real<T>>(low), range = static_cast<Real<T>>(high - low);
  const T top = high > low ? below<T>(high) : T(a);
  for_each_counter(n, state, [=](int64_t i, int count, const philox::Words& words) {
    for (int j = 0; j < count; ++j) {
      const T value = T(a + range * philox::uniform(words.w[j]));
      y[i + j] = static_cast<Real<T>>(value) > static_cast<Real<T>>(top) ? top : value;
    }
  });
}

// Box and Muller (1958): two uniform numbers give two normal ones.
template <class T>
void normal(T* y, int64_t n, double mean, double std, PhiloxState state) {
  const Real<T> mu = static_cast<Real<T>>(mean), sigma = static_cast<Real<T>>(std);
  for_each_counter(n, state, [=](int64_t i, int count, const philox::Words& words) {
    Real<T> z[4];
    for (int j = 0; j < 4; j += 2) {
      const Real<T> radius = math::sqrt(Real<T>(-2) * math::log(Real<T>(philox::uniform_open(words.w[j]))));
      const Real<T> angle = Real<T>(6.283185307179586) * Real<T>(philox::uniform(words.w[j + 1]));
      z[j] = radius * math::cos(angle);
      z[j + 1] = radius * math::sin(angle);
    }
    for (int j = 0; j < count; ++j) y[i + j] = T(mu + sigma * z[j]);
  });
}

// [low, high), at most 2^32 values: the high half of word * range.
template <class T>
void integer(T* y, int64_t n, double low, double high, PhiloxState state) {
  const int64_t first = static_cast<int64_t>(low);
  const uint64_t range = static_cast<uint64_t>(static_cast<int64_t>(high) - first);
  for_each_counter(n, state, [=](int64_t i, int count, const philox::Words& words) {
    for (int j = 0; j < count; ++j) {
      const int64_t value = first + static_cast<int64_t>((uint64_t{words.w[j]} * range) >> 32);
      if constexpr (std::is_arithmetic_v<T>)
        y[i + j] = static_cast<T>(value);
      else
        y[i + j] = T(static_cast<float>(value));
    }
  });
}

void random(Tensor& y, Distribution distribution, double a, double b, PhiloxState state) {
  dispatch(y.dtype(), [&]<class T>() {
    T* to = static_cast<T*>(const_cast<void*>(y.raw_data()));
    if (distribution == Distribution::integer) return integer(to, y.numel(), a, b, state);
    if constexpr (!std::is_integral_v<T>)
      (distribution == Distribution::uniform ? uniform<T> : normal<T>)(to, y.numel(), a, b, state);
  });
}

void dropout(Tensor& y, const Tensor& x, double p, PhiloxState state) {
  dispatch(y.dtype(), [&]<class T>() {
    if constexpr (!std::is_integral_v<T>) {
      T* to = static_cast<T*>(const_cast<void*>(y.raw_data()));
      const T* from = static_cast<const T*>(x.raw_data());
      const Real<T> scale = static_cast<Real<T>>(1 / (1 - p));
      // The uniform number is k / 2^24 with k the word's upper 24 bits: kept where k >= p 2^24.
      const uint32_t threshold = static_cast<uint32_t>(std::ceil(p * 0x1p24));
      for_each_counter(y.numel(), state, [=](int64_t i, int count, const philox::Words& words) {
        for (int j = 0; j < count; ++j)
          to[i + j] = (words.w[j] >> 8) >= threshold ? T(static_cast<Real<T>>(from[i + j]) * scale) : T(Real<T>(0));
      });
    }
  });
}

[[maybe_unused]] const bool registered =
    kernels::random.set(DeviceType::cpu, random) && kernels::dropout.set(DeviceType::cpu, dropout);

}  // namespace
}  // namespace gradus::cpu
