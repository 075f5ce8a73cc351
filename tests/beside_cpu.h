// What the suites of kernels on a device share: inputs of every dtype, and comparisons with the CPU's results.
#pragma once

#include <cstring>
#include <vector>

#include <gradus/core/kernels.h>
#include <gradus/core/random.h>
#include <gradus/gradus.h>

#include "catch.h"
#include "emulated_device.h"

namespace beside_cpu {

using namespace gradus;

inline const Device gpu = Device::cuda(), cpu = Device::cpu();
inline const std::vector<Dtype> every_dtype = {float32, float64, float16, bfloat16, int32, int64, uint8, boolean};
inline const std::vector<Dtype> floating = {float32, float64, float16, bfloat16};

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

/// Calls f under several orders of threads.
template <class F>
void under_seeds(F f) {
  for (const uint64_t seed : {0u, 1u, 2u}) {
    const emulated::Seed order(seed);
    CAPTURE(seed);
    f();
  }
}

}  // namespace beside_cpu
