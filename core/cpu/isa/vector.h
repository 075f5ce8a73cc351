// Short vectors for per-ISA files: as wide as the registers of the instruction set, in an unnamed namespace so that
// nothing of one instruction set can be linked into another. A vector is loaded and stored whole, or its first `count`
// elements only, so that loops over odd sizes need no scalar rest.
#pragma once

#include <cstdint>
#include <limits>
#include <type_traits>

#include <gradus/core/math.h>

namespace gradus::cpu::GRADUS_ISA {
namespace {

#if defined(__AVX512F__)
constexpr int vector_bytes = 64;
#elif defined(__AVX2__)
constexpr int vector_bytes = 32;
#else
constexpr int vector_bytes = 16;
#endif

template <class T>
struct VectorOf {
  typedef T type __attribute__((vector_size(vector_bytes)));
};
template <class T>
using Vector = typename VectorOf<T>::type;
template <class T>
constexpr int lanes = vector_bytes / int(sizeof(T));
/// How much of a vector there is: all of it (known to the compiler), or the first `count` lanes.
template <class T>
using Whole = std::integral_constant<int, lanes<T>>;

template <class T>
constexpr T infinity = std::numeric_limits<T>::infinity();

template <class T>
GRADUS_FN Vector<T> splat(T value) {
  return value - Vector<T>{};  // x - 0 is x, which the compiler knows: a broadcast; x + 0 is not, for x = -0
}
template <class T>
GRADUS_FN Vector<T> load(const T* p, Whole<T> = {}, T = 0) {
  Vector<T> v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}
// Through an array, because a loop over an array becomes a masked load.
template <class T>
GRADUS_FN Vector<T> load(const T* p, int count, T fill = 0) {
  T lane[lanes<T>];
  for (int j = 0; j < lanes<T>; ++j) lane[j] = j < count ? p[j] : fill;
  return load(lane);
}
template <class T>
GRADUS_FN void store(T* p, Vector<T> v, Whole<T> = {}) {
  __builtin_memcpy(p, &v, sizeof v);
}
template <class T>
GRADUS_FN void store(T* p, Vector<T> v, int count) {
  T lane[lanes<T>];
  store(lane, v);
  for (int j = 0; j < lanes<T>; ++j)
    if (j < count) p[j] = lane[j];
}

/// Asks for the line that holds *p: what the next row begins with is then near when its turn comes.
template <class T>
GRADUS_FN void expect(const T* p) {
  __builtin_prefetch(p);
}

/// Calls body(i, count) for the vectors that make up [0, n): `count` is Whole<T>, and an int for what is left.
template <class T, class Body>
GRADUS_FN void for_vectors(int64_t n, Body body) {
  int64_t i = 0;
  for (; i + lanes<T> <= n; i += lanes<T>) body(i, Whole<T>{});
  if (i < n) body(i, static_cast<int>(n - i));
}

template <class T>
GRADUS_FN T larger(T a, T b) {
  return a > b ? a : b;
}
// exp(x) for x <= 80, which is all that a softmax asks for. A NaN stays; at the bound the scale, and with it the
// result, becomes 0.
GRADUS_FN float exp_below(float x) {
  const math::polynomial::Exponential e = math::polynomial::exponential(math::polynomial::at_least(-88.02969f, x));
  const float scale = math::polynomial::power_of_two(e.k);
  return scale * e.m + scale;
}
GRADUS_FN double exp_below(double x) { return math::exp(x); }
template <class V>
GRADUS_FN V exp_below(V x) {
  V y = x;  // so that g++ sees it initialised
  for (int j = 0; j < int(sizeof(V) / sizeof x[0]); ++j) y[j] = exp_below(x[j]);
  return y;
}

// ---- across the lanes: halves are folded onto each other, a shuffle each
template <int... lane>
struct LaneList {};
template <int n, int... lane>
struct FirstLanes : FirstLanes<n - 1, n - 1, lane...> {};
template <int... lane>
struct FirstLanes<0, lane...> {
  using type = LaneList<lane...>;
};
template <int distance, class V, int... lane>
GRADUS_FN V exchanged(V v, LaneList<lane...>) {
  return V{v[lane ^ distance]...};
}
template <class T, int distance = lanes<T> / 2, class F>
GRADUS_FN T fold(Vector<T> v, F f) {
  v = f(v, exchanged<distance>(v, typename FirstLanes<lanes<T>>::type{}));
  if constexpr (distance == 1)
    return v[0];
  else
    return fold<T, distance / 2>(v, f);
}
template <class T>
GRADUS_FN T sum_lanes(Vector<T> v) {
  return fold<T>(v, [](Vector<T> a, Vector<T> b) { return a + b; });
}
template <class T>
GRADUS_FN T largest_lane(Vector<T> v) {
  return fold<T>(v, [](Vector<T> a, Vector<T> b) { return larger(a, b); });
}
/// Joins the vectors f(i, count) that make up [0, n) to `zero`, in four chains that do not wait for each other.
template <class T, class R, class F, class Join>
GRADUS_FN R reduce(int64_t n, R zero, F f, Join join) {
  constexpr int w = lanes<T>;
  R a = zero, b = zero, c = zero, d = zero;
  int64_t i = 0;
  for (; i + 4 * w <= n; i += 4 * w) {
    a = join(a, f(i, Whole<T>{}));
    b = join(b, f(i + w, Whole<T>{}));
    c = join(c, f(i + 2 * w, Whole<T>{}));
    d = join(d, f(i + 3 * w, Whole<T>{}));
  }
  for (; i + w <= n; i += w) a = join(a, f(i, Whole<T>{}));
  if (i < n) b = join(b, f(i, static_cast<int>(n - i)));
  return join(join(a, b), join(c, d));
}
/// The sum of the lanes of all f(i, count).
template <class T, class F>
GRADUS_FN T sum_of(int64_t n, F f) {
  return sum_lanes<T>(reduce<T>(n, Vector<T>{}, f, [](Vector<T> a, Vector<T> b) { return a + b; }));
}
/// Two such sums at once: f returns two vectors.
template <class T>
struct Two {
  Vector<T> first, second;
};
template <class T, class F>
GRADUS_FN void two_sums_of(T& first, T& second, int64_t n, F f) {
  const Two<T> sums = reduce<T>(n, Two<T>{}, f, [](const Two<T>& a, const Two<T>& b) {
    return Two<T>{a.first + b.first, a.second + b.second};
  });
  first = sum_lanes<T>(sums.first);
  second = sum_lanes<T>(sums.second);
}
/// The largest of n elements.
template <class T>
GRADUS_FN T largest(const T* x, int64_t n) {
  return largest_lane<T>(reduce<T>(
      n, splat(-infinity<T>), [&](int64_t i, auto count) { return load(x + i, count, -infinity<T>); },
      [](Vector<T> a, Vector<T> b) { return larger(a, b); }));
}

}  // namespace
}  // namespace gradus::cpu::GRADUS_ISA
