// Inner loops of pooling: the 2 x 2 maximum with stride 2. The other windows are in core/cpu/pool.cpp.
#include <gradus/core/cpu/isa/functions.h>
#include <gradus/core/cpu/isa/vector.h>

namespace gradus::cpu::GRADUS_ISA {
namespace {

// Elements 2 i + odd of two vectors that lie side by side.
template <class T, int... lane>
GRADUS_FN Vector<T> every_second(Vector<T> a, Vector<T> b, int odd, LaneList<lane...>) {
  return odd ? __builtin_shufflevector(a, b, (2 * lane + 1)...) : __builtin_shufflevector(a, b, (2 * lane)...);
}

// `which` and `best` where v is larger or a NaN.
template <class T, class Mask>
GRADUS_FN void take_larger(Vector<T>& best, Mask& which, Vector<T> v, Mask candidate) {
  const Mask larger = (v > best) | (v != v);
  best = larger ? v : best;
  which = larger ? candidate : which;
}

template <class T>
void max_pool_2x2(T* y, int64_t* index, const T* above, const T* below, int64_t first, int64_t width, int64_t n) {
  using Mask = decltype(Vector<T>{} > Vector<T>{});
  using Lane = std::remove_cvref_t<decltype(Mask{}[0])>;
  constexpr typename FirstLanes<lanes<T>>::type all{};
  for_vectors<T>(n, [&](int64_t i, auto count) {
    const T* const p = above + 2 * i;
    const T* const q = below + 2 * i;
    Vector<T> p0, p1, q0, q1;
    if constexpr (std::is_same_v<decltype(count), Whole<T>>) {
      p0 = load(p), p1 = load(p + lanes<T>), q0 = load(q), q1 = load(q + lanes<T>);
    } else {
      const int low = 2 * count < lanes<T> ? 2 * count : lanes<T>, high = 2 * count - low;
      p0 = load(p, low), p1 = load(p + lanes<T>, high), q0 = load(q, low), q1 = load(q + lanes<T>, high);
    }
    Vector<T> best = every_second<T>(p0, p1, 0, all);
    Mask which{};
    take_larger<T>(best, which, every_second<T>(p0, p1, 1, all), Mask{} + 1);
    take_larger<T>(best, which, every_second<T>(q0, q1, 0, all), Mask{} + 2);
    take_larger<T>(best, which, every_second<T>(q0, q1, 1, all), Mask{} + 3);
    store(y + i, best, count);
    if (!index) return;
    which = (which & 1) + ((which & 2) != 0 ? Mask{} + static_cast<Lane>(width) : Mask{});
    Lane lane[lanes<T>];
    __builtin_memcpy(lane, &which, sizeof lane);
    for (int j = 0; j < count; ++j) index[i + j] = first + 2 * (i + j) + lane[j];
  });
}

}  // namespace

void max_pool_2x2_f32(float* y, int64_t* index, const float* above, const float* below, int64_t first, int64_t width,
                      int64_t n) {
  max_pool_2x2(y, index, above, below, first, width, n);
}
void max_pool_2x2_f64(double* y, int64_t* index, const double* above, const double* below, int64_t first, int64_t width,
                      int64_t n) {
  max_pool_2x2(y, index, above, below, first, width, n);
}

}  // namespace gradus::cpu::GRADUS_ISA
