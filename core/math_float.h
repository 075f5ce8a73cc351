// The float functions of core/math.h as branch-free polynomials, so that loops over them become vector code. Errors are
// in units in the last place, the worst over all floats or a dense sample of them (tests/test_math.cpp). The
// coefficients are fitted by tools/minimax.py.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

#include <gradus/core/api.h>

namespace gradus::math {

namespace polynomial {

inline constexpr float infinity = std::numeric_limits<float>::infinity();
inline constexpr float nan = std::numeric_limits<float>::quiet_NaN();
// Adding one of these rounds to an integer, which is then in the low bits.
inline constexpr float round_to_integer = 0x1.8p23f;
inline constexpr double round_to_integer_double = 0x1.8p52;
// ln(2) in two parts; the first has few bits, so that its products with exponents are exact.
inline constexpr float ln2_high = 0x1.62ep-1f, ln2_low = 0x1.0bfbe8p-15f;
// pi/2 in two parts.
inline constexpr float half_pi_high = 0x1.921fb6p0f, half_pi_low = -0x1.777a5cp-25f;

GRADUS_FN uint32_t bits(float x) { return __builtin_bit_cast(uint32_t, x); }
GRADUS_FN float from_bits(uint32_t u) { return __builtin_bit_cast(float, u); }
// 2^k, -126 <= k <= 127.
GRADUS_FN float power_of_two(uint32_t k) { return from_bits((k + 127u) << 23); }
GRADUS_FN float with_sign_of(float x, float sign) {
  return from_bits((bits(x) & 0x7fffffffu) | (bits(sign) & 0x80000000u));
}
GRADUS_FN float magnitude(float x) { return from_bits(bits(x) & 0x7fffffffu); }
// x limited from above or below. A NaN stays, because a comparison with it is false.
GRADUS_FN float at_most(float limit, float x) { return limit < x ? limit : x; }
GRADUS_FN float at_least(float limit, float x) { return limit > x ? limit : x; }

// exp(x) = 2^k (1 + m), |m| < 0.42.
struct Exponential {
  float m;
  uint32_t k;
};
GRADUS_FN Exponential exponential(float x) {
  const float shifted = x * 0x1.715476p0f + round_to_integer, k = shifted - round_to_integer;
  const float r = (x - k * ln2_high) - k * ln2_low;
  float p = 0.0013870711f;
  p = p * r + 0.008366271f;
  p = p * r + 0.041667435f;
  p = p * r + 0.16666546f;
  p = p * r + 0.49999997f;
  return {p * (r * r) + r, bits(shifted) - bits(round_to_integer)};
}
// x 2^k in two steps, so that it overflows and becomes subnormal as it should.
GRADUS_FN float scaled(float x, uint32_t k) {
  const uint32_t half = static_cast<uint32_t>(static_cast<int32_t>(k) >> 1);
  return x * power_of_two(half) * power_of_two(k - half);
}
// A quarter of exp(x) - 1, which does not overflow for -20 <= x <= 89.5.
GRADUS_FN float quarter_expm1(float x) {
  const Exponential e = exponential(x);
  const float quarter = power_of_two(e.k - 2u);
  return quarter * e.m + (quarter - 0.25f);
}
// exp(x) - 1 for -20 <= x <= 0.
GRADUS_FN float expm1_of_negative(float x) {
  const Exponential e = exponential(x);
  const float scale = power_of_two(e.k);
  return scale * e.m + (scale - 1.f);
}

// x = 2^e (1 + f), sqrt(1/2) <= 1 + f < sqrt(2), for positive x.
struct Logarithm {
  float f, e;
};
GRADUS_FN Logarithm split(float x) {
  constexpr uint32_t sqrt_half = 0x3f3504f3u;
  const bool subnormal = x < 0x1p-126f;
  const uint32_t u = bits(subnormal ? x * 0x1p23f : x) - sqrt_half;
  const float e = static_cast<float>(static_cast<int32_t>(u) >> 23);
  return {from_bits((u & 0x7fffffu) + sqrt_half) - 1.f, subnormal ? e - 23.f : e};
}
// log(2^e (1 + f)).
GRADUS_FN float log_of(float f, float e) {
  float p = -0.07635847f;
  p = p * f + 0.12761918f;
  p = p * f - 0.13159676f;
  p = p * f + 0.14201622f;
  p = p * f - 0.16623408f;
  p = p * f + 0.2000124f;
  p = p * f - 0.2500082f;
  p = p * f + 0.3333333f;
  const float f2 = f * f;
  return e * ln2_high + (f - (0.5f * f2 - (f2 * (f * p) + e * ln2_low)));
}
// What a logarithm is where the argument x has none, or is infinite or NaN.
GRADUS_FN float log_at_ends(float x, float y) {
  const float inside = x < infinity ? y : x;
  return x <= 0.f ? (x < 0.f ? nan : -infinity) : inside;
}

// x = quadrant pi/2 + r, |r| <= pi/4, for |x| <= largest_angle; in double, so that r keeps its leading digits.
struct Angle {
  float r;
  uint32_t quadrant;
};
GRADUS_FN Angle reduce_angle(float x) {
  constexpr double half_pi_high = 0x1.921fb544p0, half_pi_low = 0x1.0b4611a626331p-34;
  const double shifted = static_cast<double>(x) * 0x1.45f306dc9c883p-1 + round_to_integer_double;
  const double k = shifted - round_to_integer_double;
  const double r = (static_cast<double>(x) - k * half_pi_high) - k * half_pi_low;
  return {static_cast<float>(r), static_cast<uint32_t>(__builtin_bit_cast(uint64_t, shifted))};
}
GRADUS_FN float sin_polynomial(float r) {
  const float t = r * r;
  float p = 2.8327254e-06f;
  p = p * t - 0.00019853073f;
  p = p * t + 0.008333379f;
  p = p * t - 0.16666667f;
  return r + r * (t * p);
}
GRADUS_FN float cos_polynomial(float r) {
  const float t = r * r;
  float p = 2.4432553e-05f;
  p = p * t - 0.0013887311f;
  p = p * t + 0.041666646f;
  return 1.f - (0.5f * t - t * t * p);
}
// sin(quadrant pi/2 + r).
GRADUS_FN float sin_of(float r, uint32_t quadrant) {
  const float s = sin_polynomial(r), c = cos_polynomial(r);
  return from_bits(bits(quadrant & 1u ? c : s) ^ ((quadrant & 2u) << 30));
}

// asin(a) = s for 0 <= a <= 1/2; beyond, where the arc is steep, asin(a) = pi/2 - 2 s.
struct Arc {
  float s;
  bool is_outer;
};
GRADUS_FN Arc arc_of(float a) {
  const bool is_outer = a > 0.5f;
  const float t = is_outer ? 0.5f * (1.f - a) : a * a, root = std::sqrt(t), r = is_outer ? root : a;
  float p = 0.042157095f;
  p = p * t + 0.024185468f;
  p = p * t + 0.045469023f;
  p = p * t + 0.0749531f;
  p = p * t + 0.16666752f;
  return {r + r * (t * p), is_outer};
}

}  // namespace polynomial

/// Beyond it sin, cos and tan of a float want the standard library.
inline constexpr float largest_angle = 0x1p20f;

GRADUS_FN float exp(float x) {
  using namespace polynomial;
  const Exponential e = exponential(at_least(-104.f, at_most(89.f, x)));
  return scaled(e.m + 1.f, e.k);
}

GRADUS_FN float expm1(float x) {
  using namespace polynomial;
  const float y = 4.f * quarter_expm1(at_least(-20.f, at_most(89.f, x)));
  return magnitude(x) < 0x1p-25f ? x : y;
}

// Half of t + t / (t + 1) with t = exp(|x|) - 1.
GRADUS_FN float sinh(float x) {
  using namespace polynomial;
  const float a = magnitude(x), half = 2.f * quarter_expm1(at_most(89.5f, a)), finite = at_most(0x1p30f, half);
  const float y = half + finite / (2.f * finite + 1.f);
  return with_sign_of(a < 0x1p-25f ? a : y, x);
}

GRADUS_FN float cosh(float x) {
  using namespace polynomial;
  const Exponential e = exponential(at_most(90.f, magnitude(x)));
  const float half = scaled(e.m + 1.f, e.k - 1u);
  return half + 0.25f / half;
}

GRADUS_FN float log(float x) {
  using namespace polynomial;
  const Logarithm l = split(x);
  return log_at_ends(x, log_of(l.f, l.e));
}

// The rounding of 1 + x does no harm: it only chooses e, and f is computed from x.
GRADUS_FN float log1p(float x) {
  using namespace polynomial;
  const Logarithm l = split(1.f + x);
  const float scale = power_of_two(static_cast<uint32_t>(static_cast<int32_t>(2.f - l.e)));  // 4 2^-e is always normal
  const float f = 0.25f * (x * scale) + (0.25f * scale - 1.f);
  const float y = log_at_ends(1.f + x, log_of(f, l.e));
  return magnitude(x) < 0x1p-25f ? x : y;
}

GRADUS_FN float log2(float x) {
  using namespace polynomial;
  const Logarithm l = split(x);
  float p = -0.115982376f;
  p = p * l.f + 0.18682787f;
  p = p * l.f - 0.1884318f;
  p = p * l.f + 0.20418617f;
  p = p * l.f - 0.23993345f;
  p = p * l.f + 0.28861555f;
  p = p * l.f - 0.36068314f;
  p = p * l.f + 0.4808966f;
  p = p * l.f - 0.7213475f;
  p = p * l.f + 0.44269505f;
  return log_at_ends(x, l.e + (l.f + l.f * p));
}

// exp(-x) may overflow to infinity, which is right, but needs no gradual underflow.
GRADUS_FN float sigmoid(float x) {
  using namespace polynomial;
  const Exponential e = exponential(at_least(-87.f, at_most(89.f, -x)));
  return 1.f / (1.f + (e.m + 1.f) * power_of_two(e.k));
}

// log(1 + exp(x)) without overflow.
GRADUS_FN float softplus(float x) {
  using namespace polynomial;
  const float t = exp(-magnitude(x));
  const bool upper = t > 0.41421356f;  // 1 + t = 2^e (1 + f), as split() would have it
  const float positive = at_least(0.f, x);
  return positive + log_of(upper ? 0.5f * (t - 1.f) : t, upper ? 1.f : 0.f);
}

GRADUS_FN float tanh(float x) {
  using namespace polynomial;
  const float a = magnitude(x), t = a * a;
  float p = -0.00569803f;
  p = p * t + 0.020632321f;
  p = p * t - 0.053737435f;
  p = p * t + 0.13331412f;
  p = p * t - 0.3333328f;
  const float near = a + a * (t * p);
  const Exponential e = exponential(2.f * at_most(10.f, a));
  const float far = 1.f - 2.f / ((e.m + 1.f) * power_of_two(e.k) + 1.f);
  return with_sign_of(a < 0.625f ? near : far, x);
}

GRADUS_FN float erf(float x) {
  using namespace polynomial;
  const float a = at_most(4.f, magnitude(x));
  float p = -9.388305e-06f;
  p = p * a + 0.00011886431f;
  p = p * a - 0.0006373729f;
  p = p * a + 0.0016756901f;
  p = p * a - 0.00016951293f;
  p = p * a - 0.01914782f;
  p = p * a + 0.102776304f;
  p = p * a + 0.63661957f;
  p = p * a + 0.12837917f;
  return with_sign_of(-expm1_of_negative(-(a * p + a)), x);
}

// For |x| <= largest_angle.
GRADUS_FN float sin(float x) {
  const polynomial::Angle angle = polynomial::reduce_angle(x);
  return polynomial::sin_of(angle.r, angle.quadrant);
}
GRADUS_FN float cos(float x) {
  const polynomial::Angle angle = polynomial::reduce_angle(x);
  return polynomial::sin_of(angle.r, angle.quadrant + 1u);
}
GRADUS_FN float tan(float x) {
  const polynomial::Angle angle = polynomial::reduce_angle(x);
  const float r = angle.r, t = r * r;
  float p = 0.0043737176f;
  p = p * t + 9.6564065e-05f;
  p = p * t + 0.010828443f;
  p = p * t + 0.021285957f;
  p = p * t + 0.054058935f;
  p = p * t + 0.13332675f;
  p = p * t + 0.3333335f;
  const float y = r + r * (t * p);
  return angle.quadrant & 1u ? -1.f / y : y;
}

GRADUS_FN float asin(float x) {
  using namespace polynomial;
  const Arc arc = arc_of(magnitude(x));
  const float outer = half_pi_high - (2.f * arc.s - half_pi_low);
  return with_sign_of(arc.is_outer ? outer : arc.s, x);
}

// From pi/2 inside, from 0 or pi outside.
GRADUS_FN float acos(float x) {
  using namespace polynomial;
  const Arc arc = arc_of(magnitude(x));
  const float s = with_sign_of(arc.s, x), turns = x < 0.f ? 2.f : 0.f, from = arc.is_outer ? turns : 1.f;
  return from * half_pi_high + (from * half_pi_low + (arc.is_outer ? 2.f : -1.f) * s);
}

// atan(|x|) = pi/2 - atan(1 / |x|) beyond 1.
GRADUS_FN float atan(float x) {
  using namespace polynomial;
  const float a = magnitude(x);
  const bool beyond = a > 1.f;
  const float r = (beyond ? -1.f : a) / (beyond ? a : 1.f), t = r * r;
  float p = -0.0017878866f;
  p = p * t + 0.010888728f;
  p = p * t - 0.031129219f;
  p = p * t + 0.057908382f;
  p = p * t - 0.084005564f;
  p = p * t + 0.10951193f;
  p = p * t - 0.14264053f;
  p = p * t + 0.19998531f;
  p = p * t - 0.333333f;
  const float y = r + r * (t * p);
  return with_sign_of(beyond ? half_pi_high + (y + half_pi_low) : y, x);
}

}  // namespace gradus::math
