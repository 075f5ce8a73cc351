// Comparing a device's results with the CPU's.
#pragma once

#include <gradus/gradus.h>

#include <algorithm>
#include <string>

#include "emulated_device.h"

namespace near_cpu {

/// What one rounding of the dtype may differ by, with room for sums in another order.
inline double tolerance(gradus::Dtype dtype) {
  switch (dtype) {
    case gradus::float64: return 1e-12;
    case gradus::float16: return 4e-3;
    case gradus::bfloat16: return 3e-2;
    default: return 2e-5;
  }
}

/// Empty, or how far `actual` is from `expected` at worst. The unit is the largest finite value there is, at least one;
/// NaN equals NaN.
inline std::string difference(const gradus::Tensor& actual, const gradus::Tensor& expected) {
  using namespace gradus;
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

/// The worst over three orders of the emulated device's threads and streams.
template <class Compute>
std::string difference_in_orders(const gradus::Tensor& expected, Compute compute) {
  for (const uint64_t seed : {0, 7, 23}) {
    const emulated::Seed order(seed);
    if (const std::string text = difference(compute(), expected); !text.empty())
      return text + " under seed " + std::to_string(seed);
  }
  return "";
}

}  // namespace near_cpu
