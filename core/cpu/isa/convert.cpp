// For this instruction set: contiguous conversion between any two dtypes.
#include <gradus/core/convert.h>
#include <gradus/core/cpu/isa/functions.h>

namespace gradus::cpu::GRADUS_ISA {
namespace {

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
