// Random values and dropout on a device: the CPU's, to the last bit.
#include "beside_cpu.h"

using namespace beside_cpu;

namespace {

const std::vector<int64_t> sizes = {0, 1, 3, 4, 5, 15, 16, 17, 4099};

Tensor drawn(Device device, int64_t n, Dtype dtype, Distribution distribution, double a, double b, PhiloxState state) {
  Tensor y = empty({n}, {.dtype = dtype, .device = device});
  kernels::random(device, y, distribution, a, b, state);
  return y;
}
Tensor dropped(const Tensor& x, double p, PhiloxState state) {
  Tensor y = empty_like(x);
  kernels::dropout(x.device(), y, x, p, state);
  return y;
}

// A GPU's logarithm and sine in double differ from the CPU's in the last digits.
bool is_same(const Tensor& y, const Tensor& want, Distribution distribution) {
  if (emulated::hooks() || y.dtype() != float64 || distribution != Distribution::normal) return same_bits(y, want);
  return all(le(abs(sub(y.to(cpu), want)), 1e-13)).item<bool>();
}

}  // namespace

TEST_CASE("a seed gives a device the CPU's numbers") {
  const PhiloxState state = {.seed = 0x1234567890abcdef, .offset = 0xfffffffe};  // the counter's upper half counts too
  for (const int64_t n : sizes) {
    CAPTURE(n);
    const auto check = [&](Dtype dtype, Distribution distribution, double a, double b) {
      CAPTURE(dtype, distribution, a, b);
      const Tensor want = drawn(cpu, n, dtype, distribution, a, b, state);
      under_seeds([&] { CHECK(is_same(drawn(gpu, n, dtype, distribution, a, b, state), want, distribution)); });
    };
    for (const Dtype dtype : floating) {
      check(dtype, Distribution::uniform, -0.1, 0.7);
      check(dtype, Distribution::uniform, 1, 1 + 1e-3);  // few values: rounding would reach the upper end
      check(dtype, Distribution::normal, 0.3, 2);
    }
    for (const Dtype dtype : every_dtype) {
      const bool unsign = dtype == uint8 || dtype == boolean;
      check(dtype, Distribution::integer, unsign ? 0 : -3, dtype == boolean ? 2 : 97);
    }
    check(int64, Distribution::integer, -2147483648., 2147483648.);
  }
}

TEST_CASE("a tensor that is not aligned gets the same numbers") {
  const PhiloxState state = {.seed = 5, .offset = 9};
  for (const Dtype dtype : floating) {
    CAPTURE(dtype);
    const Tensor want = drawn(cpu, 77, dtype, Distribution::normal, 0, 1, state);
    Tensor y = shifted(zeros({77}, {.dtype = dtype, .device = gpu}), 1);
    kernels::random(gpu, y, Distribution::normal, 0, 1, state);
    CHECK(is_same(y, want, Distribution::normal));
    const Tensor x = values({77}, dtype);
    CHECK(same_bits(dropped(shifted(x.to(gpu), 1), 0.4, state), dropped(x, 0.4, state)));
  }
}

TEST_CASE("dropout leaves out what the CPU does") {
  const PhiloxState state = {.seed = 3, .offset = 0xffffffff};
  for (const Dtype dtype : floating)
    for (const int64_t n : sizes)
      for (const double p : {0., 0.1, 0.5, 0.999}) {
        CAPTURE(dtype, n, p);
        const Tensor x = values({n}, dtype), want = dropped(x, p, state);
        under_seeds([&] { CHECK(same_bits(dropped(x.to(gpu), p, state), want)); });
      }
}

TEST_CASE("functions that draw give the same on both devices") {
  manual_seed(11);
  const Tensor here = randn({1000}), more = rand({7});
  manual_seed(11);
  const Tensor there = randn({1000}, {.device = gpu}), rest = rand({7}, {.device = gpu});
  CHECK(same_bits(there, here));
  CHECK(same_bits(rest, more));
}
