// What the suites of fused kernels share: deterministic samples, comparison with values in double, equal bits for any
// number of threads.
#pragma once

#include <cmath>
#include <cstring>
#include <functional>
#include <vector>

#include <gradus/core/parallel.h>
#include <gradus/gradus.h>

#include "catch.h"

namespace gradus {

inline double epsilon(Dtype dtype) {
  return dtype == float64 ? 0x1p-52 : dtype == float32 ? 0x1p-23 : dtype == float16 ? 0x1p-10 : 0x1p-7;
}

inline std::vector<double> values(const Tensor& x) {
  const Tensor wide = dense(x.detach().to(float64));
  return {wide.data<double>(), wide.data<double>() + wide.numel()};
}

/// Deterministic values in [-2, 2), already rounded to the dtype.
inline Tensor sample(const Shape& shape, Dtype dtype, uint64_t seed = 1) {
  const Tensor x = empty(shape, {.dtype = float64});
  for (int64_t i = 0; i < x.numel(); ++i) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    x.mutable_data<double>()[i] = static_cast<double>(seed >> 40) * 0x1p-22 - 2;
  }
  return x.to(dtype);
}

/// Each element within `tolerance` of what is wanted, relative to max(1, |wanted|). NaN and infinities must be equal.
inline void check_close(const Tensor& x, const std::vector<double>& want, double tolerance) {
  const std::vector<double> have = values(x);
  REQUIRE(have.size() == want.size());
  for (size_t i = 0; i < want.size(); ++i) {
    const bool same = std::isfinite(want[i])
                          ? std::fabs(have[i] - want[i]) <= tolerance * std::max(1.0, std::fabs(want[i]))
                          : (std::isnan(want[i]) ? std::isnan(have[i]) : have[i] == want[i]);
    if (!same) FAIL_CHECK("element " << i << " is " << have[i] << ", want " << want[i]);
  }
}

/// The bits of every tensor that `compute` returns must not depend on the number of threads.
inline void check_threads(const std::function<std::vector<Tensor>()>& compute) {
  const int before = num_threads();
  set_num_threads(1);
  const std::vector<Tensor> one = compute();
  set_num_threads(2);
  const std::vector<Tensor> two = compute();
  set_num_threads(before);
  for (size_t i = 0; i < one.size(); ++i) {
    INFO("result " << i);
    CHECK(std::memcmp(one[i].raw_data(), two[i].raw_data(), static_cast<size_t>(one[i].nbytes())) == 0);
  }
}

inline const std::vector<Dtype> floating_dtypes = {float64, float32, float16, bfloat16};

}  // namespace gradus
