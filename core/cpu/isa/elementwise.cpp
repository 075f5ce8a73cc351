// For this instruction set: one contiguous loop per elementwise functor and compute type. Strides, broadcasting and
// 16-bit floats are the engine's business (core/cpu/elementwise.cpp).
#include <type_traits>

#include <gradus/core/cpu/isa/functions.h>

namespace gradus::cpu::GRADUS_ISA {
namespace {

using elementwise::Kind, elementwise::make_functor;

// Block by block, because out may be x: the rare block with an element out of the vector version's range goes the slow
// way as a whole.
template <class F, class T>
void limited_loop(T* y, const T* x, int64_t n) {
  constexpr int64_t block = 256;
  for (int64_t start = 0; start < n; start += block) {
    const int64_t end = start + block < n ? start + block : n;
    bool all_fit = true;
    for (int64_t i = start; i < end; ++i) all_fit &= F::fits(x[i]);
    if (all_fit) {
#pragma GCC ivdep
      for (int64_t i = start; i < end; ++i) y[i] = F{}(x[i]);
    } else {
      for (int64_t i = start; i < end; ++i) y[i] = F::fits(x[i]) ? F{}(x[i]) : F::beyond(x[i]);
    }
  }
}

// ivdep: an output that is also an input is the same array, so no iteration depends on another.
template <class F, class T, int arity>
void loop(void* out, const void* const* in, int64_t n, const Params& params) {
  const F f = make_functor<F>(params);
  if constexpr (arity == 1 && requires(T x) { F::fits(x); }) {
    limited_loop<F>(static_cast<T*>(out), static_cast<const T*>(in[0]), n);
  } else if constexpr (arity == 1) {
    const T* x = static_cast<const T*>(in[0]);
    auto* y = static_cast<decltype(f(T()))*>(out);
#pragma GCC ivdep
    for (int64_t i = 0; i < n; ++i) y[i] = f(x[i]);
  } else if constexpr (arity == 2) {
    const T *a = static_cast<const T*>(in[0]), *b = static_cast<const T*>(in[1]);
    auto* y = static_cast<decltype(f(T(), T()))*>(out);
#pragma GCC ivdep
    for (int64_t i = 0; i < n; ++i) y[i] = f(a[i], b[i]);
  } else {
    const uint8_t* condition = static_cast<const uint8_t*>(in[0]);  // loops that load a bool stay scalar
    const T *a = static_cast<const T*>(in[1]), *b = static_cast<const T*>(in[2]);
    T* y = static_cast<T*>(out);
#pragma GCC ivdep
    for (int64_t i = 0; i < n; ++i) y[i] = f(condition[i] != 0, a[i], b[i]);
  }
}

template <template <class> class Functor, int arity, Kind kind, class T>
constexpr ElementwiseLoop pick() {
  if constexpr (elementwise::supports<kind, T>())
    return loop<Functor<T>, T, arity>;
  else
    return nullptr;
}

// One row per functor, one column per Dtype.
constexpr ElementwiseLoop loops[num_elementwise][num_dtypes] = {
#define GRADUS_ROW(name, Functor, arity, kind)               \
  {pick<elementwise::Functor, arity, Kind::kind, float>(),   \
   pick<elementwise::Functor, arity, Kind::kind, double>(),  \
   nullptr,                                                  \
   nullptr,                                                  \
   pick<elementwise::Functor, arity, Kind::kind, int32_t>(), \
   pick<elementwise::Functor, arity, Kind::kind, int64_t>(), \
   pick<elementwise::Functor, arity, Kind::kind, uint8_t>(), \
   pick<elementwise::Functor, arity, Kind::kind, bool>()},
    GRADUS_ELEMENTWISE(GRADUS_ROW)
#undef GRADUS_ROW
};

}  // namespace

ElementwiseLoop elementwise_loop(Elementwise op, Dtype type) {
  return loops[static_cast<int>(op)][static_cast<int>(type)];
}

}  // namespace gradus::cpu::GRADUS_ISA
