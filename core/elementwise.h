// Elementwise mathematics, once for every device: functors over a compute type T (float also for the 16-bit types), and
// the one list from which the CPU loops and the CUDA kernels are instantiated. Plain data only: no tensor, no library.
#pragma once

#include <cmath>
#include <cstdint>
#include <type_traits>

#include <gradus/core/math.h>
#include <gradus/core/scalar.h>

namespace gradus {

/// Numbers that an elementwise functor is built from (a slope, an exponent, bounds).
struct Params {
  Scalar a, b;
};

namespace elementwise {

// Shorthand for the functors below: a body in terms of x (, y), and parameters p, q where it has any.
#define GRADUS_UNARY(Name, body)                          \
  template <class T>                                      \
  struct Name {                                           \
    GRADUS_FN auto operator()(T x) const { return body; } \
  };
#define GRADUS_UNARY_P(Name, body)                                                              \
  template <class T>                                                                            \
  struct Name {                                                                                 \
    T p, q;                                                                                     \
    GRADUS_FN explicit Name(const Params& params) : p(params.a.to<T>()), q(params.b.to<T>()) {} \
    GRADUS_FN auto operator()(T x) const { return body; }                                       \
  };
#define GRADUS_BINARY(Name, body)                              \
  template <class T>                                           \
  struct Name {                                                \
    GRADUS_FN auto operator()(T x, T y) const { return body; } \
  };
#define GRADUS_BINARY_P(Name, body)                                                             \
  template <class T>                                                                            \
  struct Name {                                                                                 \
    T p, q;                                                                                     \
    GRADUS_FN explicit Name(const Params& params) : p(params.a.to<T>()), q(params.b.to<T>()) {} \
    GRADUS_FN auto operator()(T x, T y) const { return body; }                                  \
  };

// A function of an angle; `fits` tells where the vector version is right, `beyond` computes the rest.
#define GRADUS_ANGLE(Name, name)                                                         \
  template <class T>                                                                     \
  struct Name {                                                                          \
    GRADUS_FN T operator()(T x) const { return math::name(x); }                          \
    GRADUS_FN static bool fits(T x) { return !(math::abs(x) > T(math::largest_angle)); } \
    GRADUS_FN static T beyond(T x) { return std::name(x); }                              \
  };

// ---- arithmetic
GRADUS_BINARY(Add, math::add(x, y))
GRADUS_BINARY(Sub, math::sub(x, y))
GRADUS_BINARY(Mul, math::mul(x, y))
GRADUS_BINARY(Div, x / y)
GRADUS_BINARY(Pow, math::pow(x, y))
GRADUS_BINARY(Minimum, math::minimum(x, y))
GRADUS_BINARY(Maximum, math::maximum(x, y))
GRADUS_BINARY(Remainder, math::remainder(x, y))
GRADUS_BINARY_P(AddScaled, math::add(x, math::mul(p, y)))
GRADUS_BINARY_P(Lerp, x + p * (y - x))
GRADUS_UNARY_P(AddScalar, math::add(x, p))
GRADUS_UNARY_P(RsubScalar, math::sub(p, x))
GRADUS_UNARY_P(MulScalar, math::mul(x, p))
GRADUS_UNARY_P(DivScalar, x / p)
GRADUS_UNARY_P(RdivScalar, p / x)
GRADUS_UNARY_P(PowScalar, math::pow(x, p))
GRADUS_UNARY_P(RemainderScalar, math::remainder(x, p))
GRADUS_UNARY_P(Clamp, math::minimum(math::maximum(x, p), q))
GRADUS_UNARY(Neg, math::neg(x))
GRADUS_UNARY(Abs, math::abs(x))
GRADUS_UNARY(Sign, T((x > T(0)) - (x < T(0))))
GRADUS_UNARY(Square, math::mul(x, x))

// ---- comparison and logic
GRADUS_BINARY(Eq, x == y)
GRADUS_BINARY(Ne, x != y)
GRADUS_BINARY(Lt, x < y)
GRADUS_BINARY(Le, x <= y)
GRADUS_BINARY(Gt, x > y)
GRADUS_BINARY(Ge, x >= y)
GRADUS_UNARY_P(EqScalar, x == p)
GRADUS_UNARY_P(NeScalar, x != p)
GRADUS_UNARY_P(LtScalar, x < p)
GRADUS_UNARY_P(LeScalar, x <= p)
GRADUS_UNARY_P(GtScalar, x > p)
GRADUS_UNARY_P(GeScalar, x >= p)
GRADUS_BINARY(LogicalAnd, bool(x) && bool(y))
GRADUS_BINARY(LogicalOr, bool(x) || bool(y))
GRADUS_BINARY(LogicalXor, bool(x) != bool(y))
GRADUS_UNARY(LogicalNot, !bool(x))
GRADUS_UNARY(IsNan, x != x)
GRADUS_UNARY(IsFinite, math::abs(x) <= math::largest<T>())
GRADUS_UNARY(IsInf, math::abs(x) > math::largest<T>())

// ---- functions
GRADUS_UNARY(Exp, math::exp(x))
GRADUS_UNARY(Expm1, math::expm1(x))
GRADUS_UNARY(Log, math::log(x))
GRADUS_UNARY(Log1p, math::log1p(x))
GRADUS_UNARY(Log2, math::log2(x))
GRADUS_UNARY(Sqrt, math::sqrt(x))
GRADUS_UNARY(Rsqrt, T(1) / math::sqrt(x))
GRADUS_UNARY(Reciprocal, T(1) / x)
GRADUS_ANGLE(Sin, sin)
GRADUS_ANGLE(Cos, cos)
GRADUS_ANGLE(Tan, tan)
GRADUS_UNARY(Asin, math::asin(x))
GRADUS_UNARY(Acos, math::acos(x))
GRADUS_UNARY(Atan, math::atan(x))
GRADUS_UNARY(Sinh, math::sinh(x))
GRADUS_UNARY(Cosh, math::cosh(x))
GRADUS_UNARY(Tanh, math::tanh(x))
GRADUS_UNARY(Erf, math::erf(x))
GRADUS_UNARY(Floor, math::floor(x))
GRADUS_UNARY(Ceil, math::ceil(x))
GRADUS_UNARY(Round, math::round(x))
GRADUS_UNARY(Trunc, math::trunc(x))

// ---- activations, each beside its derivative (g: gradient of the output; x the input or y the output, as named)
GRADUS_UNARY(Sigmoid, math::sigmoid(x))
GRADUS_BINARY(SigmoidBackward, x* y*(T(1) - y))  // (g, output)
GRADUS_BINARY(TanhBackward, x*(T(1) - y * y))    // (g, output)
GRADUS_UNARY(Relu, math::maximum(x, T(0)))
GRADUS_BINARY(ReluBackward, y > T(0) ? x : T(0))  // (g, output)
GRADUS_UNARY_P(LeakyRelu, x > T(0) ? x : p * x)
GRADUS_BINARY_P(LeakyReluBackward, y > T(0) ? x : p * x)  // (g, input)
GRADUS_UNARY_P(Elu, x > T(0) ? x : p * math::expm1(x))
GRADUS_BINARY_P(EluBackward, y > T(0) ? x : x * p * math::exp(y))  // (g, input)
GRADUS_UNARY(Silu, x* math::sigmoid(x))
GRADUS_BINARY(SiluBackward, x* math::silu_derivative(y))  // (g, input)
GRADUS_UNARY(GeluErf, math::gelu_erf(x))
GRADUS_BINARY(GeluErfBackward, x* math::gelu_erf_derivative(y))  // (g, input)
GRADUS_UNARY(GeluTanh, math::gelu_tanh(x))
GRADUS_BINARY(GeluTanhBackward, x* math::gelu_tanh_derivative(y))  // (g, input)
GRADUS_UNARY(Softplus, math::softplus(x))
GRADUS_BINARY(SoftplusBackward, x* math::sigmoid(y))  // (g, input)

// condition ? x : y; the only functor whose first operand is boolean
template <class T>
struct Where {
  GRADUS_FN T operator()(bool condition, T x, T y) const { return condition ? x : y; }
};

#undef GRADUS_UNARY
#undef GRADUS_UNARY_P
#undef GRADUS_BINARY
#undef GRADUS_BINARY_P
#undef GRADUS_ANGLE
// ---- what the list below says of a functor
/// The element types it takes: floating and integer types; floating; numeric and boolean; boolean; any, of a selection.
enum class Kind { numeric, floating, all, logical, where };

template <Kind kind, class T>
constexpr bool supports() {
  switch (kind) {
    case Kind::numeric: return !std::is_same_v<T, bool>;
    case Kind::floating: return std::is_floating_point_v<T>;
    case Kind::logical: return std::is_same_v<T, bool>;
    case Kind::all:
    case Kind::where: return true;
  }
  return false;
}

template <class F>
GRADUS_FN F make_functor([[maybe_unused]] const Params& params) {
  if constexpr (std::is_constructible_v<F, const Params&>)
    return F(params);
  else
    return F{};
}

/// Whether the result is boolean, whatever the operands are.
template <template <class> class Functor, int arity>
constexpr bool gives_boolean() {
  if constexpr (arity == 1)
    return std::is_same_v<std::invoke_result_t<Functor<float>, float>, bool>;
  else if constexpr (arity == 2)
    return std::is_same_v<std::invoke_result_t<Functor<float>, float, float>, bool>;
  else
    return false;
}

}  // namespace elementwise

// The one list: name, functor, operands, kind.
// clang-format off
#define GRADUS_ELEMENTWISE_ARITHMETIC(X) \
  X(add, Add, 2, numeric) X(sub, Sub, 2, numeric) X(mul, Mul, 2, numeric) X(div, Div, 2, floating) X(pow, Pow, 2, floating) \
  X(minimum, Minimum, 2, numeric) X(maximum, Maximum, 2, numeric) X(remainder, Remainder, 2, numeric) \
  X(add_scaled, AddScaled, 2, numeric) X(lerp, Lerp, 2, floating) \
  X(add_scalar, AddScalar, 1, numeric) X(rsub_scalar, RsubScalar, 1, numeric) X(mul_scalar, MulScalar, 1, numeric) \
  X(div_scalar, DivScalar, 1, floating) X(rdiv_scalar, RdivScalar, 1, floating) X(pow_scalar, PowScalar, 1, floating) \
  X(remainder_scalar, RemainderScalar, 1, numeric) X(clamp, Clamp, 1, numeric) \
  X(neg, Neg, 1, numeric) X(abs, Abs, 1, numeric) X(sign, Sign, 1, numeric) X(square, Square, 1, numeric)
#define GRADUS_ELEMENTWISE_COMPARISON(X) \
  X(eq, Eq, 2, all) X(ne, Ne, 2, all) X(lt, Lt, 2, all) X(le, Le, 2, all) X(gt, Gt, 2, all) X(ge, Ge, 2, all) \
  X(eq_scalar, EqScalar, 1, all) X(ne_scalar, NeScalar, 1, all) X(lt_scalar, LtScalar, 1, all) \
  X(le_scalar, LeScalar, 1, all) X(gt_scalar, GtScalar, 1, all) X(ge_scalar, GeScalar, 1, all) \
  X(logical_and, LogicalAnd, 2, logical) X(logical_or, LogicalOr, 2, logical) X(logical_xor, LogicalXor, 2, logical) \
  X(logical_not, LogicalNot, 1, logical) X(isnan, IsNan, 1, floating) X(isfinite, IsFinite, 1, floating) \
  X(isinf, IsInf, 1, floating) X(where, Where, 3, where)
#define GRADUS_ELEMENTWISE_FUNCTIONS(X) \
  X(exp, Exp, 1, floating) X(expm1, Expm1, 1, floating) X(log, Log, 1, floating) X(log1p, Log1p, 1, floating) \
  X(log2, Log2, 1, floating) X(sqrt, Sqrt, 1, floating) X(rsqrt, Rsqrt, 1, floating) X(reciprocal, Reciprocal, 1, floating) \
  X(sin, Sin, 1, floating) X(cos, Cos, 1, floating) X(tan, Tan, 1, floating) X(asin, Asin, 1, floating) \
  X(acos, Acos, 1, floating) X(atan, Atan, 1, floating) X(sinh, Sinh, 1, floating) X(cosh, Cosh, 1, floating) \
  X(tanh, Tanh, 1, floating) X(erf, Erf, 1, floating) X(floor, Floor, 1, floating) X(ceil, Ceil, 1, floating) \
  X(round, Round, 1, floating) X(trunc, Trunc, 1, floating)
#define GRADUS_ELEMENTWISE_ACTIVATIONS(X) \
  X(tanh_backward, TanhBackward, 2, floating) X(sigmoid, Sigmoid, 1, floating) X(sigmoid_backward, SigmoidBackward, 2, floating) \
  X(relu, Relu, 1, numeric) X(relu_backward, ReluBackward, 2, floating) \
  X(leaky_relu, LeakyRelu, 1, floating) X(leaky_relu_backward, LeakyReluBackward, 2, floating) \
  X(elu, Elu, 1, floating) X(elu_backward, EluBackward, 2, floating) \
  X(silu, Silu, 1, floating) X(silu_backward, SiluBackward, 2, floating) \
  X(gelu_erf, GeluErf, 1, floating) X(gelu_erf_backward, GeluErfBackward, 2, floating) \
  X(gelu_tanh, GeluTanh, 1, floating) X(gelu_tanh_backward, GeluTanhBackward, 2, floating) \
  X(softplus, Softplus, 1, floating) X(softplus_backward, SoftplusBackward, 2, floating)
// clang-format on
#define GRADUS_ELEMENTWISE(X)      \
  GRADUS_ELEMENTWISE_ARITHMETIC(X) \
  GRADUS_ELEMENTWISE_COMPARISON(X) GRADUS_ELEMENTWISE_FUNCTIONS(X) GRADUS_ELEMENTWISE_ACTIVATIONS(X)

/// Names of the list's functors, for the one kernel slot `kernels::elementwise`.
enum class Elementwise : uint8_t {
#define GRADUS_ENUMERATOR(name, Functor, arity, kind) name,
  GRADUS_ELEMENTWISE(GRADUS_ENUMERATOR)
#undef GRADUS_ENUMERATOR
};
#define GRADUS_COUNT(name, Functor, arity, kind) +1
inline constexpr int num_elementwise = 0 GRADUS_ELEMENTWISE(GRADUS_COUNT);
#undef GRADUS_COUNT

}  // namespace gradus
