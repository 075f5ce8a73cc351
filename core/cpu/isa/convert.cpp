// For this instruction set: contiguous conversion between any two dtypes.
#include <type_traits>

#include <gradus/core/cpu/isa/functions.h>

namespace gradus::cpu::GRADUS_ISA {
namespace {

template <class T>
constexpr bool is_half = std::is_same_v<T, f16> || std::is_same_v<T, bf16>;

// Floating to integer without undefined behaviour: saturates, and NaN becomes 0.
template <class To, class From>
GRADUS_FN To to_integer(From x) {
  constexpr From low = static_cast<From>(std::numeric_limits<To>::min());
  constexpr From limit = static_cast<From>(std::numeric_limits<To>::max() / 2 + 1) * 2;  // 2^bits, exact
  if (!(x > low)) return x == x ? std::numeric_limits<To>::min() : To(0);
  return x < limit ? static_cast<To>(x) : std::numeric_limits<To>::max();
}

template <class To, class From>
GRADUS_FN To convert(From x) {
  if constexpr (is_half<From>)
    return convert<To>(static_cast<float>(x));
  else if constexpr (is_half<To>)
    return To(static_cast<float>(x));
  else if constexpr (std::is_same_v<To, bool>)
    return x != From(0);
  else if constexpr (std::is_floating_point_v<From> && std::is_integral_v<To>)
    return to_integer<To>(x);
  else
    return static_cast<To>(x);
}

template <class From, class To>
void loop(void* out, const void* in, int64_t n) {
  const From* x = static_cast<const From*>(in);
  To* y = static_cast<To*>(out);
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) y[i] = convert<To>(x[i]);
}

template <class From>
constexpr ConvertLoop pick(Dtype to) {
  switch (to) {
    case Dtype::float32: return loop<From, float>;
    case Dtype::float64: return loop<From, double>;
    case Dtype::float16: return loop<From, f16>;
    case Dtype::bfloat16: return loop<From, bf16>;
    case Dtype::int32: return loop<From, int32_t>;
    case Dtype::int64: return loop<From, int64_t>;
    case Dtype::uint8: return loop<From, uint8_t>;
    case Dtype::boolean: return loop<From, bool>;
  }
  return nullptr;
}

}  // namespace

ConvertLoop convert_loop(Dtype from, Dtype to) {
  switch (from) {
    case Dtype::float32: return pick<float>(to);
    case Dtype::float64: return pick<double>(to);
    case Dtype::float16: return pick<f16>(to);
    case Dtype::bfloat16: return pick<bf16>(to);
    case Dtype::int32: return pick<int32_t>(to);
    case Dtype::int64: return pick<int64_t>(to);
    case Dtype::uint8: return pick<uint8_t>(to);
    case Dtype::boolean: return pick<bool>(to);
  }
  return nullptr;
}

}  // namespace gradus::cpu::GRADUS_ISA
