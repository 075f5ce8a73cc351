// What the suites of kernels on a device share: inputs of every dtype, and comparisons with the CPU's results.
#pragma once

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include <gradus/core/kernels.h>
#include <gradus/core/random.h>
#include <gradus/gradus.h>

#include "catch.h"
#include "emulated_device.h"

namespace beside_cpu {

using namespace gradus;

inline const Device gpu = Device::cuda(), cpu = Device::cpu();
#if defined(__SANITIZE_THREAD__)  // it looks at who touches what, which no dtype changes, and takes a hundred times as
                                  // long
inline const std::vector<Dtype> every_dtype = {float32, int64}, floating = {float32};
#else
inline const std::vector<Dtype> every_dtype = {float32, float64, float16, bfloat16, int32, int64, uint8, boolean};
inline const std::vector<Dtype> floating = {float32, float64, float16, bfloat16};
#endif

/// Values around zero, and few enough of them that some are equal; each call gives others.
inline Tensor values(const Shape& shape, Dtype dtype) {
  static Generator generator(7);
  const UseGenerator use(generator);
  if (dtype == boolean) return bernoulli(shape, 0.5);
  const Tensor x = randint(dtype == uint8 ? 0 : -100, 100, shape);
  return is_floating(dtype) ? mul(x.to(float64), 0.37).to(dtype) : x.to(dtype);
}
inline Tensor indices(int64_t n, const Shape& shape) {
  static Generator generator(8);
  const UseGenerator use(generator);
  return randint(n, shape);
}
/// The same values, `elements` behind a place that is aligned for every access.
inline Tensor shifted(const Tensor& x, int64_t elements) {
  const Tensor room = empty({x.numel() + elements}, {.dtype = x.dtype(), .device = x.device()});
  Tensor y = room.narrow(0, elements, x.numel()).view(x.shape());
  y.copy_(x);
  return y;
}

/// Compares bits; y may be on any device.
inline bool same_bits(const Tensor& y, const Tensor& expected) {
  const Tensor mine = y.to(cpu), want = expected.to(cpu);
  return mine.dtype() == want.dtype() && mine.shape() == want.shape() &&
         std::memcmp(mine.raw_data(), want.raw_data(), static_cast<size_t>(mine.nbytes())) == 0;
}

/// What one rounding of the dtype may differ by, with room for sums in another order.
inline double tolerance(Dtype dtype) {
  switch (dtype) {
    case float64: return 1e-12;
    case float16: return 4e-3;
    case bfloat16: return 3e-2;
    default: return 2e-5;
  }
}

/// Empty, or how far `actual` is from `expected` at worst. The unit is the largest finite value there is, at least one;
/// NaN equals NaN.
inline std::string difference(const Tensor& actual, const Tensor& expected) {
  const NoGrad no_graph;
  if (actual.shape() != expected.shape() || actual.dtype() != expected.dtype()) return "another shape or dtype";
  if (expected.numel() == 0) return "";
  Tensor x = actual.to(Device::cpu()).to(float64), y = expected.to(Device::cpu()).to(float64);
  if (!equal(isnan(x), isnan(y))) return "NaN elsewhere";
  x = masked_fill(x, isnan(x), 0);
  y = masked_fill(y, isnan(y), 0);
  const double largest = max(abs(masked_fill(y, logical_not(isfinite(y)), 0))).item<double>();
  const double limit = tolerance(expected.dtype()) * std::max(1.0, largest);
  if (allclose(x, y, 0, limit)) return "";
  return "differs by " + std::to_string(max(abs(x - y)).item<double>()) + ", allowed are " + std::to_string(limit);
}

/// Of some orders of threads those to run in: ThreadSanitizer sees a race in any, so that one will do.
inline std::vector<uint64_t> orders(const std::vector<uint64_t>& seeds) {
#if defined(__SANITIZE_THREAD__)
  return {seeds.back()};
#else
  return seeds;
#endif
}
/// Calls f under several orders.
template <class F>
void under_seeds(F f) {
  for (const uint64_t seed : orders({0, 1, 2})) {
    const emulated::Seed order(seed);
    CAPTURE(seed);
    f();
  }
}

}  // namespace beside_cpu
