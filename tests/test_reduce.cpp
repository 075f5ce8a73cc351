// Reductions: accuracy, the same bits for any threads and instruction set, NaN and empty, ties, what derivatives do
// where they are not smooth. Values and gradients in general come from the op table.
#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>

#include <unistd.h>

#include "catch.h"

#include <gradus/core/parallel.h>
#include <gradus/core/random.h>
#include <gradus/gradus.h>

using namespace gradus;

namespace {

const double nan_value = std::numeric_limits<double>::quiet_NaN(), infinity = std::numeric_limits<double>::infinity();

struct Threads {
  int before = num_threads();
  explicit Threads(int n) { set_num_threads(n); }
  ~Threads() { set_num_threads(before); }
};

// Shapes and dims that take every way through the kernels: one long row, short and long rows, few and many columns,
// more than one chunk and tile, several dims.
struct Case {
  Shape shape, dims;
};
const std::vector<Case> cases = {{{100003}, {0}},
                                 {{5, 7}, {1}},
                                 {{300, 3}, {0}},
                                 {{40000, 3}, {0}},
                                 {{64, 768}, {1}},
                                 {{64, 768}, {0}},
                                 {{777, 600}, {0}},
                                 {{3, 700, 11}, {1}},
                                 {{2, 9, 1300}, {1}},
                                 {{6, 20, 5, 33}, {0, 2}},
                                 {{4, 3, 40, 50}, {0, 2, 3}},
                                 {{33, 20000}, {1}},
                                 {{5, 17}, {1}},
                                 {{9, 40, 64}, {1}}};

Tensor sample(const Shape& shape, Dtype dtype = float32) {
  manual_seed(7);
  const Tensor x = randn(shape);
  if (is_floating(dtype)) return x.to(dtype);
  return dtype == boolean ? x > 0.5 : (x * 20.0 + 100.0).to(dtype);
}

bool same_bits(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() && a.dtype() == b.dtype() &&
         std::memcmp(a.raw_data(), b.raw_data(), static_cast<size_t>(a.nbytes())) == 0;
}

// All results of all cases, one after another.
std::vector<Tensor> everything() {
  std::vector<Tensor> results;
  for (const auto& [shape, dims] : cases)
    for (const Dtype dtype : {float32, bfloat16, float16, float64, int32, uint8, boolean}) {
      const Tensor x = sample(shape, dtype);
      results.push_back(sum(x, dims));
      results.push_back(prod(x, dims));
      results.push_back(any(x, dims));
      results.push_back(all(x, dims));
      results.push_back(argmax(x, dims[0]));
      results.push_back(min(x, dims[0]).first);
      results.push_back(max(x));
    }
  return results;
}

uint64_t checksum() {
  uint64_t hash = 1469598103934665603u;
  for (const Tensor& x : everything())
    for (int64_t i = 0; i < x.nbytes(); ++i)
      hash = (hash ^ static_cast<const uint8_t*>(x.raw_data())[i]) * 1099511628211u;
  return hash;
}

double value(const Tensor& x) { return x.to(float64).item<double>(); }

}  // namespace

TEST_CASE("float32 sums are as good as sums in float64") {
  for (const auto& [shape, dims] : cases) {
    const Tensor x = sample(shape), wide = x.to(float64), error = sum(x, dims).to(float64) - sum(wide, dims);
    CHECK(value(max(abs(error) / sum(abs(wide), dims))) < 2e-7);
  }
}

TEST_CASE("float64 sums agree with plain loops") {
  const Tensor x = sample({3, 500, 7}, float64), y = sum(x, 1);
  for (int64_t o = 0; o < 3; ++o)
    for (int64_t j = 0; j < 7; ++j) {
      double expected = 0;
      for (int64_t i = 0; i < 500; ++i) expected += x.data<double>()[(o * 500 + i) * 7 + j];
      CHECK(y.data<double>()[o * 7 + j] == Approx(expected).epsilon(1e-13));
    }
}

TEST_CASE("results do not depend on the number of threads") {
  std::vector<Tensor> one;
  {
    const Threads alone(1);
    one = everything();
  }
  for (const int n : {2, 3, 7}) {
    const Threads several(n);
    const std::vector<Tensor> many = everything();
    for (size_t i = 0; i < one.size(); ++i) {
      INFO(n << " threads, result " << i);
      CHECK(same_bits(one[i], many[i]));
    }
  }
}

TEST_CASE("print a checksum", "[.checksum]") {
  std::printf("checksum %llx\n", static_cast<unsigned long long>(checksum()));
}

TEST_CASE("results do not depend on the instruction set") {
  const auto run = [](const std::string& isa) {
    const std::string command = "GRADUS_ISA=" + isa + " /proc/" + std::to_string(getpid()) + "/exe '[.checksum]'";
    FILE* pipe = popen(command.c_str(), "r");
    REQUIRE(pipe);
    std::string found;
    std::array<char, 256> line;
    while (std::fgets(line.data(), static_cast<int>(line.size()), pipe))
      if (std::strncmp(line.data(), "checksum ", 9) == 0) found = line.data();
    pclose(pipe);
    return found;
  };
  const std::string baseline = run("baseline");
  REQUIRE(!baseline.empty());
  CHECK(run("avx2") == baseline);
  CHECK(run("avx512") == baseline);
}

TEST_CASE("16-bit sums are accumulated in float32 and rounded once") {
  CHECK(value(sum(ones({5000}, {.dtype = bfloat16}))) == 4992);   // 5000 rounded; adding in bfloat16 stays at 256
  CHECK(value(mean(full({70000}, 2, {.dtype = float16}))) == 2);  // the sum itself would overflow
  const Tensor x = ones({40, 3, 50}, {.dtype = bfloat16});
  CHECK(value(sum(x, {0, 2})[1]) == 2000);
  CHECK(value(norm(tensor({300, 400}).to(float16))) == 500);
  CHECK(value(stddev(tensor({0, 400}).to(float16))) == Approx(282.8).epsilon(1e-3));
}

TEST_CASE("sums of integers and booleans are int64") {
  const Tensor bytes = full({1000}, 255, {.dtype = uint8});
  CHECK(sum(bytes).dtype() == int64);
  CHECK(sum(bytes).item<int64_t>() == 255000);
  CHECK(sum(full({3}, 2'000'000'000, {.dtype = int32})).item<int64_t>() == 6'000'000'000);
  CHECK(prod(full({10}, 100, {.dtype = int32}), 0).item<int64_t>() != 0);
  CHECK(sum(ones({77}, {.dtype = boolean})).item<int64_t>() == 77);
  CHECK(sum(full({2}, std::numeric_limits<int64_t>::max(), {.dtype = int64})).item<int64_t>() == -2);  // wraps
}

TEST_CASE("reductions of nothing") {
  const Tensor none = zeros({2, 0});
  CHECK(value(sum(none)) == 0);
  CHECK(equal(sum(none, 1), zeros({2})));
  CHECK(sum(none, 0).shape() == Shape({0}));
  CHECK(value(prod(none)) == 1);
  CHECK(std::isnan(value(mean(none))));
  CHECK(std::isnan(value(var(none))));
  CHECK_FALSE(any(none).item<bool>());
  CHECK(all(none).item<bool>());
  CHECK(value(norm(none)) == 0);
  CHECK(value(logsumexp(none)) == -infinity);
  CHECK_THROWS_AS(max(none), ShapeError);
  CHECK_THROWS_AS(argmin(none), ShapeError);
  CHECK(max(none, 0).first.shape() == Shape({0}));
  const Tensor x = zeros({0, 3}).requires_grad_();
  sum(x).backward();
  CHECK(x.grad().shape() == Shape({0, 3}));
}

TEST_CASE("NaN goes through sums and wins extremes; infinities are ordinary") {
  for (const int64_t n : {3, 100, 50000}) {
    const Tensor x = zeros({n});
    x.select(0, n - 1).fill_(nan_value);
    CHECK(std::isnan(value(sum(x))));
    CHECK(std::isnan(value(max(x))));
    CHECK(std::isnan(value(min(x))));
    CHECK(argmax(x).item<int64_t>() == n - 1);
    CHECK(argmin(x).item<int64_t>() == n - 1);
    x.select(0, 1).fill_(nan_value);
    CHECK(argmax(x).item<int64_t>() == 1);  // the first one
    CHECK(any(x).item<bool>());             // a NaN is not zero
  }
  const Tensor y = tensor({1, infinity, -infinity, 2});
  CHECK(value(max(y)) == infinity);
  CHECK(argmin(y).item<int64_t>() == 2);
  CHECK(std::isnan(value(sum(y))));
  CHECK(value(max(full({100}, -infinity))) == -infinity);
}

TEST_CASE("argmax and argmin give the first of equals, over any dim, as a plain loop does") {
  for (const Dtype dtype : {float32, float64, float16, bfloat16, int32, int64, uint8, boolean}) {
    manual_seed(11);
    for (const Shape& shape : {Shape{70, 5}, {20000, 2}, {3, 400, 70}, {2, 300, 1100}, {130, 1}}) {
      const Tensor x = randint(0, 12, shape).to(dtype);  // many ties
      const Tensor wide = x.to(float64);
      for (int64_t dim = 0; dim < x.rank(); ++dim) {
        int64_t outer = 1, inner = 1;
        for (int64_t d = 0; d < x.rank(); ++d)
          if (d != dim) (d < dim ? outer : inner) *= shape[d];
        const auto [largest, at] = max(x, dim);
        const auto [smallest, low] = min(x, dim);
        const Tensor largest_wide = largest.to(float64), smallest_wide = smallest.to(float64);
        bool good = true;
        for (int64_t o = 0; o < outer; ++o)
          for (int64_t j = 0; j < inner; ++j) {
            const double* line = wide.data<double>() + o * shape[dim] * inner + j;
            int64_t best = 0, worst = 0;
            for (int64_t i = 1; i < shape[dim]; ++i) {
              if (line[i * inner] > line[best * inner]) best = i;
              if (line[i * inner] < line[worst * inner]) worst = i;
            }
            const int64_t k = o * inner + j;
            good = good && at.data<int64_t>()[k] == best && low.data<int64_t>()[k] == worst &&
                   largest_wide.data<double>()[k] == line[best * inner] &&
                   smallest_wide.data<double>()[k] == line[worst * inner];
          }
        INFO(std::string(name(dtype)) << " " << to_string(shape) << " dim " << dim);
        CHECK(good);
      }
    }
  }
}

TEST_CASE("permuted tensors are reduced as they lie in memory") {
  const Tensor x = sample({6, 7, 8});
  const Tensor permuted = x.permute({2, 0, 1});
  for (const Dims& dims : {Dims(), Dims(0), Dims(1), Dims(2), Dims({0, 2}), Dims({1, 2})}) {
    const Tensor plain = sum(permuted.contiguous(), dims);
    CHECK(sum(permuted, dims).is_contiguous());
    CHECK(allclose(sum(permuted, dims), plain, 1e-5, 1e-5));
    CHECK(allclose(max(permuted, 1).first, max(permuted.contiguous(), 1).first));
  }
  CHECK(allclose(sum(x.select(0, 1).unsqueeze(0).expand({5, 7, 8}), 0), x[1] * 5.0));
}

TEST_CASE("equal extremes of all elements share the gradient; along a dim the first takes it") {
  const Tensor x = tensor({1, 3, 3, 2}).requires_grad_();
  max(x).backward();
  CHECK(equal(x.grad(), tensor({0, 0.5, 0.5, 0})));
  x.set_grad({});
  max(x, 0).first.backward();
  CHECK(equal(x.grad(), tensor({0, 1, 0, 0})));
  const Tensor y = tensor({1, nan_value}).requires_grad_();
  min(y).backward();
  CHECK(equal(y.grad(), tensor({0, 1})));
}

TEST_CASE("derivatives at the corners: norms and deviations of 0, rows of -infinity, products with zeros") {
  for (const double p : {1.0, 2.0, 3.0, 1.5, infinity}) {
    const Tensor zero = zeros({4}).requires_grad_();
    norm(zero, p).backward();
    INFO("p = " << p);
    CHECK(all(isfinite(zero.grad())).item<bool>());
    CHECK(value(max(abs(zero.grad()))) == 0);
  }
  const Tensor flat = full({5}, 3).requires_grad_();
  stddev(flat).backward();
  CHECK(equal(flat.grad(), zeros({5})));

  const Tensor masked = full({2, 3}, -infinity).requires_grad_();
  const Tensor y = logsumexp(masked, 1);
  CHECK(value(y[0]) == -infinity);
  y.backward(ones({2}));
  CHECK(equal(masked.grad(), zeros({2, 3})));
  CHECK(value(logsumexp(tensor({1000, 1000}))) == Approx(1000 + std::log(2.0)));

  const Tensor factors = tensor({2, 0, 5, 3}).requires_grad_(), two_zeros = tensor({2, 0, 0, 3}).requires_grad_();
  prod(factors).backward();
  CHECK(equal(factors.grad(), tensor({0, 30, 0, 0})));
  prod(two_zeros).backward();
  CHECK(equal(two_zeros.grad(), zeros({4})));
}

TEST_CASE("variance does not lose what lies on a large mean") {
  const Tensor x = tensor({10000, 10001, 10002, 10003});
  CHECK(value(var(x)) == Approx(5.0 / 3));
  CHECK(std::isnan(value(var(tensor({1})))));  // no degree of freedom left
  CHECK(value(var(tensor({1}), {}, 0)) == 0);
}
