// Random numbers: the published Philox words, that an element depends on seed and position alone, and the
// distributions. The cases tagged [device] are about the device of the tests (device.h).
#include <cmath>
#include <utility>
#include <vector>

#include <gradus/autograd/ops.h>
#include <gradus/core/philox.h>
#include <gradus/core/random.h>

#include "catch.h"
#include "device.h"

using namespace gradus;

namespace {

constexpr Dtype floating[] = {float32, float64, float16, bfloat16};

std::vector<double> values(const Tensor& x) {
  const Tensor flat = dense(x.detach().to(float64));
  return {flat.data<double>(), flat.data<double>() + flat.numel()};
}

// The mean of f over the elements.
template <class F>
double mean_of(const std::vector<double>& x, F f) {
  double sum = 0;
  for (const double v : x) sum += f(v);
  return sum / static_cast<double>(x.size());
}

// The largest distance between the distribution of the values and the one with the given function (Kolmogorov and
// Smirnov), times sqrt(n): above 1.95 once in a thousand draws.
template <class F>
double distance_from(std::vector<double> x, F distribution) {
  std::sort(x.begin(), x.end());
  const double n = static_cast<double>(x.size());
  double worst = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const double p = distribution(x[i]), rank = static_cast<double>(i);
    worst = std::max({worst, p - rank / n, (rank + 1) / n - p});
  }
  return worst * std::sqrt(n);
}

}  // namespace

TEST_CASE("the generator gives the published words") {
  const philox::Words zero = philox::philox(0, 0);  // the known answers of the Random123 library
  CHECK(zero.w[0] == 0x6627e8d5u);
  CHECK(zero.w[1] == 0xe169c58du);
  CHECK(zero.w[2] == 0xbc57ac4cu);
  CHECK(zero.w[3] == 0x9b00dbd8u);
}

TEST_CASE("element i is word i % 4 of counter offset + i / 4", "[device]") {
  const uint64_t seed = 0x123456789abcdefull, offset = (uint64_t{1} << 32) - 5;  // the counter's low word overflows
  for (const int64_t n : {1, 3, 4, 7, 511, 513, 70'001}) {
    Generator generator;
    generator.seek(seed, offset);
    const UseGenerator use(generator);
    const Tensor u = on_cpu(rand({n}, on_test_device()));
    CHECK(generator.offset() == offset + static_cast<uint64_t>(n + 3) / 4);
    generator.seek(seed, offset);
    const Tensor mask = on_cpu(dropout(ones({n}, on_test_device()), 0.25));
    generator.seek(seed, offset);
    const Tensor k = on_cpu(randint(1000, {n}, on_test_device(int64)));
    for (int64_t i = 0; i < n; ++i) {
      const uint32_t word = philox::philox(seed, offset + static_cast<uint64_t>(i / 4)).w[i % 4];
      const float want = static_cast<float>(word >> 8) * 0x1p-24f;
      REQUIRE(u.data<float>()[i] == want);
      REQUIRE(mask.data<float>()[i] == (want >= 0.25f ? 1 / 0.75f : 0));
      REQUIRE(k.data<int64_t>()[i] == static_cast<int64_t>(uint64_t{word} * 1000 >> 32));
    }
  }
}

TEST_CASE("the same seed gives the same numbers, whatever their count") {
  for (const Dtype dtype : floating) {
    const auto draw = [dtype](uint64_t seed, int64_t n) {
      manual_seed(seed);
      return normal({n}, 2, 5, {.dtype = dtype});
    };
    const Tensor x = draw(3, 10'000);
    CHECK(equal(draw(3, 10'000), x));
    for (const int64_t n : {1, 2, 17, 5001}) CHECK(equal(draw(3, n), x.slice(0, 0, n)));
    CHECK_FALSE(equal(draw(4, 10'000), x));
  }
}

TEST_CASE("normal numbers are those of Box and Muller in double precision", "[device]") {
  Generator generator;
  generator.seek(11, 0);
  const UseGenerator use(generator);
  const Tensor z = on_cpu(randn({100'000}, on_test_device()));
  generator.seek(11, 0);
  CHECK(allclose(on_cpu(randn({100'000}, on_test_device(float64))).to(float32), z, 1e-6, 1e-6));
  for (int64_t i = 0; i < z.numel(); i += 2) {
    const philox::Words words = philox::philox(11, static_cast<uint64_t>(i / 4));
    const double radius = std::sqrt(-2 * std::log(((words.w[i % 4] >> 8) + 1.0) * 0x1p-24));
    const double angle = 2 * M_PI * (words.w[i % 4 + 1] >> 8) * 0x1p-24;
    REQUIRE(z.data<float>()[i] == Approx(radius * std::cos(angle)).epsilon(1e-6).margin(1e-6));
    REQUIRE(z.data<float>()[i + 1] == Approx(radius * std::sin(angle)).epsilon(1e-6).margin(1e-6));
  }
}

TEST_CASE("random numbers have their distributions") {
  manual_seed(3);
  const int64_t n = 1'000'000;
  const std::vector<double> u = values(uniform({n}, 2, 5)), z = values(normal({n}, -1, 2)),
                            k = values(randint(-3, 4, {n}));
  CHECK(distance_from(u, [](double x) { return (x - 2) / 3; }) < 1.95);
  CHECK(distance_from(z, [](double x) { return 0.5 * std::erfc(-(x + 1) / (2 * std::sqrt(2.0))); }) < 1.95);

  const double error = 5 / std::sqrt(static_cast<double>(n));  // five standard errors
  const auto standard = [](double x) { return (x + 1) / 2; };
  CHECK(std::fabs(mean_of(z, standard)) < error);
  CHECK(std::fabs(mean_of(z, [&](double x) { return std::pow(standard(x), 2) - 1; })) < error * std::sqrt(2.0));
  CHECK(std::fabs(mean_of(z, [&](double x) { return std::pow(standard(x), 3); })) < error * std::sqrt(15.0));
  CHECK(std::fabs(mean_of(z, [&](double x) { return std::pow(standard(x), 4) - 3; })) < error * std::sqrt(96.0));
  for (int value = -3; value < 4; ++value)
    CHECK(std::fabs(mean_of(k, [&](double x) { return x == value; }) - 1 / 7.0) < error * std::sqrt(6 / 49.0));

  // Neighbours, the two halves of a pair among them, know nothing of each other, nor of each other's size.
  for (const size_t lag : {1u, 2u, 3u, 4u}) {
    double product = 0, of_squares = 0;
    for (size_t i = 0; i + lag < z.size(); ++i) {
      const double a = standard(z[i]), b = standard(z[i + lag]);
      product += a * b;
      of_squares += (a * a - 1) * (b * b - 1);
    }
    CHECK(std::fabs(product) / static_cast<double>(n) < error);
    CHECK(std::fabs(of_squares) / static_cast<double>(n) < error * 2);
  }
}

TEST_CASE("uniform numbers stay below the end in every dtype") {
  for (const Dtype dtype : floating) {
    const Tensor x = uniform({200'000}, 1, 1.25, {.dtype = dtype});
    CHECK(all(logical_and(x >= 1, x < 1.25)).item<bool>());
    CHECK(equal(uniform({9}, 2, 2, {.dtype = dtype}), full({9}, 2, {.dtype = dtype})));
    const Tensor negative = uniform({200'000}, -1.25, -1, {.dtype = dtype});
    CHECK(all(logical_and(negative >= -1.25, negative < -1)).item<bool>());
  }
}

TEST_CASE("dropout keeps its share, scales it, and masks the gradient alike") {
  for (const Dtype dtype : floating) {
    manual_seed(5);
    const Tensor x = ones({100, 1003}, {.dtype = dtype}).requires_grad_();
    const Tensor y = dropout(x, 0.25);
    const double kept = mean((y != 0).to(float64)).item<double>();
    CHECK(std::fabs(kept - 0.75) < 5 * std::sqrt(0.75 * 0.25 / 100'300));
    CHECK(equal(y.detach(), where(y.detach() != 0, full({}, 1 / 0.75, {.dtype = dtype}), 0)));
    y.backward(ones({100, 1003}, {.dtype = dtype}));
    CHECK(equal(x.grad(), y.detach()));
    CHECK(dropout(x, 0.25, false).is(x));
    CHECK(equal(dropout(x.detach(), 0), x.detach()));
    CHECK(equal(dropout(full({600}, INFINITY, {.dtype = dtype}), 1), zeros({600}, {.dtype = dtype})));
  }
}
