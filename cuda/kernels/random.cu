// Random values and dropout from a Philox stream: element i uses word i % 4 of counter offset + i / 4, as on the CPU,
// so that a seed means the same everywhere. Compiled without fused multiplication and addition, as the CPU's loops are.
#include <gradus/core/convert.h>
#include <gradus/core/detail/dispatch.h>
#include <gradus/core/detail/uniform_top.h>
#include <gradus/core/kernels.h>
#include <gradus/core/philox.h>
#include <gradus/cuda/device/elements.cuh>
#include <gradus/cuda/device/grid.cuh>
#include <gradus/cuda/launch.cuh>

namespace gradus::cuda {
namespace {

using philox::Words;

// So many elements are one access of a thread: 16 bytes of them, and at least the four words of a counter.
template <class T>
inline constexpr int group = sizeof(T) < 4 ? 16 / static_cast<int>(sizeof(T)) : 4;
template <class T>
using Group = Pack<T, group<T>>;

// Calls body(values, words) for each group of y, with its 4 words for each 4 values. `whole` says that groups are
// aligned; the last may lack some.
template <class T, class Body>
__device__ inline void each_group(T* y, int64_t n, PhiloxState state, bool whole, const Body& body) {
  constexpr int size = group<T>, counters = size / 4;
  for (int64_t i = thread_number(), first = i * size; first < n; i += thread_count(), first = i * size) {
    Group<T> values;
#pragma unroll
    for (int c = 0; c < counters; ++c)
      body(first + 4 * c, values.item + 4 * c,
           philox::philox(state.seed, state.offset + static_cast<uint64_t>(i * counters + c)));
    if (whole && first + size <= n) {
      *reinterpret_cast<Group<T>*>(y + first) = values;
    } else {
      for (int j = 0; j < size && first + j < n; ++j) y[first + j] = values.item[j];
    }
  }
}

// ---- from four words to four values; A is what they are computed in
template <class A>
struct Uniform {
  A low, range, top;

  template <class T>
  __device__ void operator()(T* values, const Words& words) const {
#pragma unroll
    for (int j = 0; j < 4; ++j) values[j] = static_cast<T>(philox::uniform_between(words.w[j], low, range, top));
  }
};

template <class A>
struct Normal {
  A mean, std;

  __device__ static auto pair(uint32_t first, uint32_t second) {
    if constexpr (std::is_same_v<A, double>)
      return philox::normal_pair_double(first, second);
    else
      return philox::normal_pair(first, second);
  }
  template <class T>
  __device__ void operator()(T* values, const Words& words) const {
#pragma unroll
    for (int j = 0; j < 4; j += 2) {
      const auto z = pair(words.w[j], words.w[j + 1]);
      values[j] = static_cast<T>(mean + std * z.first);
      values[j + 1] = static_cast<T>(mean + std * z.second);
    }
  }
};

struct Integer {
  int64_t first;
  uint64_t range;

  template <class T>
  __device__ void operator()(T* values, const Words& words) const {
#pragma unroll
    for (int j = 0; j < 4; ++j) values[j] = convert<T>(philox::integer_from(words.w[j], first, range));
  }
};

template <class T, class Values>
__global__ void draw(T* y, int64_t n, PhiloxState state, bool whole, Values values_of) {
  each_group(y, n, state, whole, [&](int64_t, T* values, const Words& words) { values_of(values, words); });
}

template <class T, class Values>
void draw_into(Tensor& y, PhiloxState state, const Values& values) {
  T* const to = written<T>(y);
  launch<draw<T, Values>>(blocks_for(y.numel() / group<T>), threads_per_block, 0, to, y.numel(), state,
                          aligned_to(sizeof(Group<T>), to), values);
}

void random(Tensor& y, Distribution distribution, double a, double b, PhiloxState state) {
  if (y.numel() == 0) return;
  if (distribution == Distribution::integer) {
    const int64_t first = static_cast<int64_t>(a);
    const Integer integers = {first, static_cast<uint64_t>(static_cast<int64_t>(b) - first)};
    return gradus::detail::dispatch(y.dtype(), [&]<class T>() { draw_into<T>(y, state, integers); });
  }
  dispatch_floating(y.dtype(), [&]<class T>() {
    using A = Compute<T>;
    if (distribution == Distribution::normal)
      return draw_into<T>(y, state, Normal<A>{static_cast<A>(a), static_cast<A>(b)});
    const double top = gradus::detail::uniform_top(a, b, y.dtype());
    draw_into<T>(y, state, Uniform<A>{static_cast<A>(a), static_cast<A>(b - a), static_cast<A>(top)});
  });
}

// ---- dropout
template <class T>
__global__ void drop(T* y, const T* x, int64_t n, PhiloxState state, bool whole, uint32_t threshold, Compute<T> scale) {
  each_group(y, n, state, whole, [&](int64_t first, T* values, const Words& words) {
    Pack<T, 4> in{};
    if (whole && first + 4 <= n) {
      in = *reinterpret_cast<const Pack<T, 4>*>(x + first);
    } else {
      for (int j = 0; j < 4 && first + j < n; ++j) in.item[j] = x[first + j];
    }
#pragma unroll
    for (int j = 0; j < 4; ++j)
      values[j] = static_cast<T>(philox::keeps(words.w[j], threshold) ? load(in.item[j]) * scale : Compute<T>(0));
  });
}

void dropout(Tensor& y, const Tensor& x, double p, PhiloxState state) {
  if (y.numel() == 0) return;
  dispatch_floating(y.dtype(), [&]<class T>() {
    T* const to = written<T>(y);
    const T* const from = read<T>(x);
    launch<drop<T>>(blocks_for(y.numel() / group<T>), threads_per_block, 0, to, from, y.numel(), state,
                    aligned_to(sizeof(Group<T>), to, from), philox::dropout_threshold(p),
                    static_cast<Compute<T>>(1 / (1 - p)));
  });
}

[[maybe_unused]] const bool filled =
    kernels::random.set(DeviceType::cuda, random) && kernels::dropout.set(DeviceType::cuda, dropout);

}  // namespace
}  // namespace gradus::cuda
