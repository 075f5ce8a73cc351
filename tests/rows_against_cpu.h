// What the suites of row kernels share: a slot is called with the same tensors on the CPU and on a CUDA device, and
// what it leaves behind is compared element by element.
#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include <gradus/core/kernels.h>
#include <gradus/core/random.h>
#include <gradus/gradus.h>

#include "beside_cpu.h"
#include "catch.h"

namespace rows_against_cpu {

using namespace gradus;
using Tensors = std::vector<Tensor>;

using beside_cpu::every_dtype;
inline const std::vector<Dtype>& floats = beside_cpu::floating;

/// One unit in the last place, with room for another order of a few thousand additions.
inline double tolerance(Dtype dtype) {
  switch (dtype) {
    case float64: return 1e-12;
    case float32: return 2e-5;
    case float16: return 2e-3;
    case bfloat16: return 1.6e-2;
    default: return 0;
  }
}

/// Normal numbers, or small integers.
inline Tensor sample(const Shape& shape, Dtype dtype, uint64_t seed = 1) {
  manual_seed(seed);
  const Tensor x = randn(shape);
  if (is_floating(dtype)) return x.to(dtype);
  return dtype == boolean ? x > 0.5 : (x * 5.0 + (dtype == uint8 ? 100.0 : 0.0)).to(dtype);
}
inline Tensor moved(const Tensor& x, Device device) { return x.defined() ? x.to(device) : x; }
inline Tensors moved(const Tensors& tensors, Device device) {
  Tensors result;
  for (const Tensor& x : tensors) result.push_back(moved(x, device));
  return result;
}
/// Like x, but not at a multiple of 16 bytes.
inline Tensor misaligned(const Tensor& x) {
  const Tensor memory = empty({x.numel() + 1}, {.dtype = x.dtype(), .device = x.device()});
  const Tensor y = as_strided(memory, x.shape(), contiguous_strides(x.shape()), 1);
  y.copy_(x);
  return y;
}

/// Empty, or the first element that is not as it should be.
inline std::string difference(const Tensor& actual, const Tensor& expected, double factor = 1) {
  if (!expected.defined() || expected.numel() == 0) return "";
  const Tensor x = actual.to(Device::cpu()).to(float64), y = expected.to(float64);
  const double *have = x.data<double>(), *want = y.data<double>();
  for (int64_t i = 0; i < y.numel(); ++i) {
    const double limit = factor * tolerance(expected.dtype()) * std::max(1.0, std::fabs(want[i]));
    const bool same = std::isfinite(want[i]) ? std::fabs(have[i] - want[i]) <= limit
                                             : (std::isnan(want[i]) ? std::isnan(have[i]) : have[i] == want[i]);
    if (!same)
      return "element " + std::to_string(i) + " is " + std::to_string(have[i]) + ", want " + std::to_string(want[i]);
  }
  return "";
}

/// `compute` fills the outputs from the inputs, which lie on one device. Outputs begin as sevens, or as either truth:
/// one that is not written is seen.
template <class Compute>
void check_slot(const Tensors& outputs, const Tensors& inputs, Compute compute, double factor = 1) {
  const auto results = [&](Device device, bool shifted) {
    Tensors out = moved(outputs, device), in = moved(inputs, device);
    for (const Tensor& y : out)
      if (y.defined()) y.fill_(y.dtype() == boolean ? shifted : 7);
    if (shifted)
      for (Tensors* all : {&out, &in})
        for (Tensor& x : *all)
          if (x.defined()) x = misaligned(x);
    compute(device, out, in);
    return out;
  };
  const Tensors expected = results(Device::cpu(), false);
  for (const bool shifted : {false, true}) {
    const Tensors actual = results(Device::cuda(), shifted);
    for (size_t i = 0; i < expected.size(); ++i) {
      INFO("output " << i << (shifted ? ", misaligned" : ""));
      CHECK(difference(actual[i], expected[i], factor) == "");
    }
  }
}

}  // namespace rows_against_cpu
