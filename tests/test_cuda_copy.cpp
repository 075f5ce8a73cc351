// Copies on a CUDA device between layouts and dtypes, constant and counting values, against the CPU's.
#include <limits>

#include "beside_cpu.h"

using namespace gradus;
using namespace beside_cpu;

namespace {

// Ordinary values, and those that an integer cannot hold.
Tensor mixed(int64_t n, Dtype dtype) {
  const Tensor x = values({n}, dtype);
  if (!is_floating(dtype)) return x;
  const double huge = dtype == float16 ? 6e4 : 1e30, infinity = std::numeric_limits<double>::infinity();
  const Tensor edges = tensor({0.0, -0.0, 0.5, -0.5, huge, -huge, infinity, -infinity, NAN}, {.dtype = float64});
  return cat({x, edges.to(dtype)});
}

}  // namespace

TEST_CASE("every dtype becomes every other") {
  const auto striped = [](const Tensor& x) { return x.slice(0, 1, {}, 3); };
  for (const Dtype from : every_dtype)
    for (const Dtype to : every_dtype) {
      INFO(name(from) << " to " << name(to));
      const Tensor x = mixed(531, from), there = x.to(gpu);
      CHECK(same_bits(there.to(to), x.to(to)));
      CHECK(same_bits(shifted(there, 1).to(to), x.to(to)));
      CHECK(same_bits(striped(there).to(to).contiguous(), striped(x).to(to).contiguous()));
    }
}

TEST_CASE("transposed tensors become contiguous") {
  const auto matrix = [](const Tensor& x) { return x.transpose(-1, -2); };
  const auto rotated = [](const Tensor& x) { return x.permute({2, 0, 1}); };
  for (const Dtype dtype : every_dtype) {
    const Tensor flat = values({65, 34}, dtype), tall = values({3, 17, 40}, dtype), small = values({7, 5}, dtype);
    under_seeds([&] {
      INFO(name(dtype));
      CHECK(same_bits(matrix(flat.to(gpu)).contiguous(), matrix(flat).contiguous()));
      CHECK(same_bits(matrix(tall.to(gpu)).contiguous(), matrix(tall).contiguous()));
      CHECK(same_bits(rotated(tall.to(gpu)).contiguous(), rotated(tall).contiguous()));
      CHECK(same_bits(matrix(small.to(gpu)).contiguous(), matrix(small).contiguous()));
    });
  }
}

TEST_CASE("a copy may overlap its source") {
  const NoGrad no_graph;
  const auto moved = [](const Tensor& x) {
    x.slice(0, 3).copy_(x.slice(0, 0, -3));
    return x;
  };
  const Tensor x = values({200}, int32);
  CHECK(same_bits(moved(x.to(gpu)), moved(x.clone())));
}

TEST_CASE("constant and counting values of every dtype") {
  for (const Dtype dtype : every_dtype) {
    INFO(name(dtype));
    CHECK(same_bits(full({37}, 1, {.dtype = dtype, .device = gpu}), full({37}, 1, {.dtype = dtype})));
    const auto striped = [dtype](Device device) {
      const Tensor x = zeros({20, 7}, {.dtype = dtype, .device = device});
      x.slice(1, 1, {}, 3).fill_(1);
      return x;
    };
    CHECK(same_bits(striped(gpu), striped(cpu)));
    if (dtype == boolean) continue;
    CHECK(same_bits(arange(2, 90, 3, {.dtype = dtype, .device = gpu}), arange(2, 90, 3, {.dtype = dtype})));
  }
}
