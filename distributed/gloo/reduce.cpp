// The loops of reductions, which follow the mathematics of the ops (core/elementwise.h): integers wrap round, a NaN
// stays.
#include <gradus/distributed/gloo/reduce.h>

#include <algorithm>
#include <array>
#include <type_traits>

#include <gradus/core/convert.h>
#include <gradus/core/detail/dispatch.h>
#include <gradus/core/elementwise.h>

namespace gradus::dist::gloo_engine {
namespace {

// What is computed with: float for the 16-bit types. Booleans are bytes of 0 and 1, of which product and min are «and».
template <class T>
using Compute = std::conditional_t<is_half<T>, float, std::conditional_t<std::is_same_v<T, bool>, uint8_t, T>>;
template <class T>
using Stored = std::conditional_t<std::is_same_v<T, bool>, uint8_t, T>;

template <class T, template <class> class F>
void reduce(void* out, const void* a, const void* b, size_t n) {
  auto* const to = static_cast<Stored<T>*>(out);
  const auto* const x = static_cast<const Stored<T>*>(a);
  const auto* const y = static_cast<const Stored<T>*>(b);
  constexpr F<Compute<T>> f;
  for (size_t i = 0; i < n; ++i) to[i] = convert<Stored<T>>(f(convert<Compute<T>>(x[i]), convert<Compute<T>>(y[i])));
}

template <class T>
ReduceFunction choose(ReduceOp op) {
  switch (op) {
    case ReduceOp::sum:
    case ReduceOp::mean: return reduce<T, elementwise::Add>;
    case ReduceOp::product: return reduce<T, elementwise::Mul>;
    case ReduceOp::min: return reduce<T, elementwise::Minimum>;
    case ReduceOp::max: return reduce<T, elementwise::Maximum>;
  }
  return nullptr;
}

}  // namespace

ReduceFunction reduce_function(ReduceOp op, Dtype dtype) {
  ReduceFunction function = nullptr;
  gradus::detail::dispatch(dtype, [&]<class T>() { function = choose<T>(op); });
  return function;
}

void reduce_parts(void* out, const void* parts, int n, int64_t count, ReduceOp op, Dtype dtype) {
  gradus::detail::dispatch(dtype, [&]<class T>() {
    using C = Compute<T>;
    const ReduceFunction add = choose<C>(op);
    const auto* const from = static_cast<const Stored<T>*>(parts);
    auto* const to = static_cast<Stored<T>*>(out);
    constexpr int64_t block = 4096;
    std::array<C, block> sum, term;
    for (int64_t begin = 0; begin < count; begin += block) {
      const int64_t length = std::min(block, count - begin);
      const auto load = [&](int rank, C* x) {
        const Stored<T>* const part = from + rank * count + begin;
        for (int64_t i = 0; i < length; ++i) x[i] = convert<C>(part[i]);
      };
      load(0, sum.data());
      for (int rank = 1; rank < n; ++rank) {
        load(rank, term.data());
        add(sum.data(), sum.data(), term.data(), static_cast<size_t>(length));
      }
      for (int64_t i = 0; i < length; ++i) to[begin + i] = convert<Stored<T>>(sum[static_cast<size_t>(i)]);
    }
  });
}

void divide(void* x, int64_t count, int n, Dtype dtype) {
  gradus::detail::dispatch(dtype, [&]<class T>() {
    if constexpr (is_half<T> || std::is_floating_point_v<T>) {
      T* const values = static_cast<T*>(x);
      const auto divisor = static_cast<Compute<T>>(n);
      for (int64_t i = 0; i < count; ++i) values[i] = convert<T>(convert<Compute<T>>(values[i]) / divisor);
    }
  });
}

}  // namespace gradus::dist::gloo_engine
