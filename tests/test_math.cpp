// The float functions of core/math.h against double precision: the errors that their comments state, over every
// exponent, and the special values.
#include <cmath>
#include <limits>

#include <gradus/core/math.h>

#include "catch.h"

using namespace gradus;

namespace {

constexpr float infinity = std::numeric_limits<float>::infinity(), largest = std::numeric_limits<float>::max();

// Distance between the floats around a finite value.
double unit_in_last_place(double value) {
  const float near = static_cast<float>(std::fabs(value));
  return static_cast<double>(near) - std::nextafter(near, -1.f);
}

// The error of `ours` in units in the last place of the true value; infinity where one of them is NaN or has overflowed
// and the other has not.
double error(float ours, double exact) {
  const float nearest = static_cast<float>(exact);
  if (std::isnan(exact)) return std::isnan(ours) ? 0 : infinity;
  if (std::isinf(exact) || std::isinf(ours)) return ours == nearest ? 0 : infinity;
  if (std::isinf(nearest)) return std::fabs(ours) == largest ? 1 : infinity;
  if (nearest == 0 && ours == 0) return std::signbit(exact) == std::signbit(ours) ? 0 : infinity;
  return std::fabs(ours - exact) / unit_in_last_place(exact);
}

// The largest error over floats of every exponent and sign whose magnitude is at most `reach`.
template <class Ours, class Exact>
double worst_error(Ours ours, Exact exact, float reach = infinity) {
  double worst = 0;
  for (uint64_t bits = 0; bits < uint64_t{1} << 32; bits += 1021) {
    const float x = __builtin_bit_cast(float, static_cast<uint32_t>(bits));
    if (!(std::fabs(x) <= reach)) continue;
    const double e = error(ours(x), exact(static_cast<double>(x)));
    if (e > worst) worst = e;
  }
  return worst;
}

// Results below the smallest normal float are compared in absolute terms.
template <class F>
auto flushed(F f) {
  return [f](auto x) {
    const auto y = f(x);
    return std::fabs(y) < 0x1p-126 ? decltype(y)(0) : y;
  };
}

}  // namespace

#define GRADUS_OURS(name) [](float x) { return math::name(x); }
#define GRADUS_EXACT(name) [](double x) { return std::name(x); }

TEST_CASE("float functions are as exact as their comments say") {
  CHECK(worst_error(GRADUS_OURS(exp), GRADUS_EXACT(exp)) < 1.1);
  CHECK(worst_error(GRADUS_OURS(expm1), GRADUS_EXACT(expm1)) < 1.6);
  CHECK(worst_error(GRADUS_OURS(log), GRADUS_EXACT(log)) < 0.9);
  CHECK(worst_error(GRADUS_OURS(log1p), GRADUS_EXACT(log1p)) < 1.4);
  CHECK(worst_error(GRADUS_OURS(log2), GRADUS_EXACT(log2)) < 1.1);
  CHECK(worst_error(GRADUS_OURS(sinh), GRADUS_EXACT(sinh)) < 2.3);
  CHECK(worst_error(GRADUS_OURS(cosh), GRADUS_EXACT(cosh)) < 1.5);
  CHECK(worst_error(GRADUS_OURS(tanh), GRADUS_EXACT(tanh)) < 1.3);
  CHECK(worst_error(GRADUS_OURS(erf), GRADUS_EXACT(erf)) < 1.9);
  CHECK(worst_error(GRADUS_OURS(sin), GRADUS_EXACT(sin), math::largest_angle) < 1.5);
  CHECK(worst_error(GRADUS_OURS(cos), GRADUS_EXACT(cos), math::largest_angle) < 1.5);
  CHECK(worst_error(GRADUS_OURS(tan), GRADUS_EXACT(tan), math::largest_angle) < 2.4);
  CHECK(worst_error(GRADUS_OURS(asin), GRADUS_EXACT(asin)) < 2.4);
  CHECK(worst_error(GRADUS_OURS(acos), GRADUS_EXACT(acos)) < 1.1);
  CHECK(worst_error(GRADUS_OURS(atan), GRADUS_EXACT(atan)) < 1.5);
  // exp(-x) overflows where the result would be subnormal.
  CHECK(worst_error(flushed(GRADUS_OURS(sigmoid)), flushed([](double x) { return 1 / (1 + std::exp(-x)); })) < 2.3);
  CHECK(worst_error(flushed(GRADUS_OURS(softplus)), flushed([](double x) {
                      return x > 0 ? x + std::log1p(std::exp(-x)) : std::log1p(std::exp(x));
                    })) < 1.7);
}

TEST_CASE("float functions at special values") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (float (*f)(float) :
       {+GRADUS_OURS(exp), +GRADUS_OURS(expm1), +GRADUS_OURS(log), +GRADUS_OURS(log1p), +GRADUS_OURS(log2),
        +GRADUS_OURS(tanh), +GRADUS_OURS(erf), +GRADUS_OURS(sin), +GRADUS_OURS(cos), +GRADUS_OURS(tan),
        +GRADUS_OURS(asin), +GRADUS_OURS(acos), +GRADUS_OURS(atan), +GRADUS_OURS(sinh), +GRADUS_OURS(cosh),
        +GRADUS_OURS(sigmoid), +GRADUS_OURS(softplus), +GRADUS_OURS(gelu_erf), +GRADUS_OURS(gelu_tanh)})
    CHECK(std::isnan(f(nan)));
  CHECK(math::exp(infinity) == infinity);
  CHECK(math::exp(-infinity) == 0);
  CHECK(math::exp(0.f) == 1);
  CHECK(math::log(0.f) == -infinity);
  CHECK(math::log(1.f) == 0);
  CHECK(std::isnan(math::log(-1.f)));
  CHECK(math::log1p(-1.f) == -infinity);
  CHECK(std::isnan(math::log1p(-2.f)));
  CHECK(math::log2(0x1p-149f) == -149);
  CHECK(math::tanh(infinity) == 1);
  CHECK(math::sinh(-infinity) == -infinity);
  CHECK(math::cosh(-infinity) == infinity);
  CHECK(math::cosh(0.f) == 1);
  CHECK(std::signbit(math::sinh(-0.f)));
  CHECK(math::atan(infinity) == 0x1.921fb6p0f);
  CHECK(math::acos(1.f) == 0);
  CHECK(std::isnan(math::asin(1.0001f)));
  CHECK(std::isnan(math::acos(-1.0001f)));
  CHECK(math::erf(-infinity) == -1);
  CHECK(math::sigmoid(-infinity) == 0);
  CHECK(math::softplus(100.f) == 100);
}
