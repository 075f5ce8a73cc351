// Elementwise kernels from the functors of core/elementwise.h. The files elementwise_*.cu make those of one part of the
// list each, because compiling them takes long; elementwise.cu chooses among them.
#pragma once

#include <gradus/core/convert.h>
#include <gradus/core/elementwise.h>
#include <gradus/cuda/device/grid.cuh>
#include <gradus/cuda/device/walk.cuh>
#include <gradus/cuda/launch.cuh>

namespace gradus::cuda {

inline constexpr int max_inputs = 3;

/// One call: operand 0 is the output. Of the inputs, those that are no condition have one dtype.
struct ElementwiseCall {
  std::array<char*, max_inputs + 1> data;
  gradus::detail::StridedSpace space;
  Dtype dtype;
  Params params;
  bool flat;  ///< every operand is contiguous, as large as the output, and aligned to 16 bytes
};
using ElementwiseFunction = void (*)(const ElementwiseCall&);
/// By functor and the dtype of its inputs; null where it does not take that.
ElementwiseFunction& elementwise_function(Elementwise op, Dtype dtype);

namespace {

using elementwise::Kind;

// f where the operands are within its range, else what takes its place.
template <class F, class... T>
__device__ inline auto apply(const F& f, T... x) {
  if constexpr (requires { F::fits(x...); })
    return F::fits(x...) ? f(x...) : F::beyond(x...);
  else
    return f(x...);
}

// The type of input k of a functor over T: a selection's first is its condition.
template <Kind kind, int k, class T>
using Operand = std::conditional_t<kind == Kind::where && k == 0, bool, T>;

template <class F, Kind kind, int arity, class T>
__device__ inline auto apply_to(const F& f, Operand<kind, 0, T> a, T b, T c) {
  if constexpr (arity == 1)
    return apply(f, a);
  else if constexpr (arity == 2)
    return apply(f, a, b);
  else
    return apply(f, a, b, c);
}
template <class F, Kind kind, int arity, class T>
using Result = decltype(apply_to<F, kind, arity, T>(std::declval<F>(), Operand<kind, 0, T>{}, T{}, T{}));

// ---- contiguous operands: each thread reads and writes 16 bytes of the widest at a time
template <class F, Kind kind, int arity, class S>
__global__ void elementwise_flat(F f, char* out, const char* in0, const char* in1, const char* in2, int64_t n) {
  using T = Compute<S>;
  using R = std::conditional_t<std::is_same_v<Result<F, kind, arity, T>, bool>, bool, S>;
  using S0 = Operand<kind, 0, S>;
  constexpr int size = pack_size<S>;
  R* const y = reinterpret_cast<R*>(out);
  const S0* const a = reinterpret_cast<const S0*>(in0);
  const S *const b = reinterpret_cast<const S*>(in1), *const c = reinterpret_cast<const S*>(in2);
  const int64_t packs = n / size;
  for (int64_t i = thread_number(); i < packs; i += thread_count()) {
    Pack<R, size> result;
    const Pack<S0, size> pa = reinterpret_cast<const Pack<S0, size>*>(a)[i];
    Pack<S, size> pb{}, pc{};
    if constexpr (arity > 1) pb = reinterpret_cast<const Pack<S, size>*>(b)[i];
    if constexpr (arity > 2) pc = reinterpret_cast<const Pack<S, size>*>(c)[i];
#pragma unroll
    for (int j = 0; j < size; ++j)
      result.item[j] =
          static_cast<R>(apply_to<F, kind, arity, T>(f, load(pa.item[j]), load(pb.item[j]), load(pc.item[j])));
    reinterpret_cast<Pack<R, size>*>(y)[i] = result;
  }
  for (int64_t i = packs * size + thread_number(); i < n; i += thread_count())
    y[i] = static_cast<R>(
        apply_to<F, kind, arity, T>(f, load(a[i]), arity > 1 ? load(b[i]) : T{}, arity > 2 ? load(c[i]) : T{}));
}

// ---- any strides; 16-bit elements are told apart here, so that one kernel serves them and float32
template <class T>
__device__ inline T load_as(const char* p, Dtype dtype) {
  if constexpr (std::is_same_v<T, float>) {
    if (dtype == Dtype::float16) return static_cast<float>(*reinterpret_cast<const f16*>(p));
    if (dtype == Dtype::bfloat16) return static_cast<float>(*reinterpret_cast<const bf16*>(p));
  }
  return *reinterpret_cast<const T*>(p);
}
template <class T>
__device__ inline void store_as(char* p, Dtype dtype, T value) {
  if constexpr (std::is_same_v<T, float>) {
    if (dtype == Dtype::float16) {
      *reinterpret_cast<f16*>(p) = f16(value);
      return;
    }
    if (dtype == Dtype::bfloat16) {
      *reinterpret_cast<bf16*>(p) = bf16(value);
      return;
    }
  }
  *reinterpret_cast<T*>(p) = value;
}

template <class F, Kind kind, int arity, class T>
__global__ void elementwise_strided(F f, char* y, const char* a, const char* b, const char* c, Dtype dtype,
                                    Walk<arity + 1> walk, uint32_t n) {
  for (int64_t i = thread_number(); i < n; i += thread_count()) {
    const auto offsets = walk.offsets(static_cast<uint32_t>(i));
    T second{}, third{};
    if constexpr (arity > 1) second = load_as<T>(b + offsets.at[2], dtype);
    if constexpr (arity > 2) third = load_as<T>(c + offsets.at[3], dtype);
    const auto result =
        apply_to<F, kind, arity, T>(f, load_as<Operand<kind, 0, T>>(a + offsets.at[1], dtype), second, third);
    if constexpr (std::is_same_v<decltype(result), const bool>)
      *reinterpret_cast<bool*>(y + offsets.at[0]) = result;
    else
      store_as<T>(y + offsets.at[0], dtype, static_cast<T>(result));
  }
}

template <template <class> class Functor, int arity, Kind kind, class S>
void run(const ElementwiseCall& call) {
  using T = Compute<S>;
  using F = Functor<T>;
  const F f = elementwise::make_functor<F>(call.params);
  const auto& [y, a, b, c] = call.data;
  const int64_t n = call.space.total;
  if (call.flat)
    return launch<elementwise_flat<F, kind, arity, S>>(blocks_for(n / pack_size<S>), threads_per_block, 0, f, y, a, b,
                                                       c, n);
  each_part(call.space, call.data, [&](const gradus::detail::StridedSpace& part, const auto& data) {
    launch<elementwise_strided<F, kind, arity, T>>(blocks_for(part.total), threads_per_block, 0, f, data[0], data[1],
                                                   data[2], data[3], call.dtype, Walk<arity + 1>(part),
                                                   static_cast<uint32_t>(part.total));
  });
}

template <template <class> class Functor, int arity, Kind kind, class S>
void add_for(Elementwise op) {
  if constexpr (elementwise::supports<kind, Compute<S>>())
    elementwise_function(op, dtype_of<S>) = run<Functor, arity, kind, S>;
}
template <template <class> class Functor, int arity, Kind kind>
void add(Elementwise op) {
  add_for<Functor, arity, kind, float>(op);
  add_for<Functor, arity, kind, double>(op);
  add_for<Functor, arity, kind, f16>(op);
  add_for<Functor, arity, kind, bf16>(op);
  add_for<Functor, arity, kind, int32_t>(op);
  add_for<Functor, arity, kind, int64_t>(op);
  add_for<Functor, arity, kind, uint8_t>(op);
  add_for<Functor, arity, kind, bool>(op);
}

}  // namespace
}  // namespace gradus::cuda

// Makes the kernels of a part of the list and enters them: the whole content of an elementwise_*.cu.
#define GRADUS_CUDA_ADD(name, Functor, arity, kind) add<elementwise::Functor, arity, Kind::kind>(Elementwise::name);
#define GRADUS_CUDA_ELEMENTWISE(part)                                                     \
  namespace gradus::cuda {                                                                \
  [[maybe_unused]] static const bool added = [] { part(GRADUS_CUDA_ADD) return true; }(); \
  }
