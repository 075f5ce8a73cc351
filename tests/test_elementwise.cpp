// Elementwise kernels and their engine: layouts, broadcasting, dtypes, threads, instruction sets; and the arithmetic
// ops.
#include <cmath>
#include <vector>

#include <gradus/autograd/ops.h>
#include <gradus/core/parallel.h>
#include <gradus/core/random.h>

#include "catch.h"

using namespace gradus;

namespace {

// The elements in row-major order, as doubles.
std::vector<double> values(const Tensor& x) {
  const Tensor flat = dense(x.detach().to(float64));
  return {flat.data<double>(), flat.data<double>() + flat.numel()};
}

// Element `index` of x as broadcast to `shape`, the slow way.
double at(const Tensor& x, const Shape& shape, int64_t position) {
  int64_t offset = 0;
  for (int d = shape.rank(); d-- > 0; position /= shape[d]) {
    const int own = d - (shape.rank() - x.rank());
    if (own >= 0 && x.shape()[own] != 1) offset += position % shape[d] * x.strides()[own];
  }
  const Tensor one = as_strided(x.detach(), {}, {}, x.impl().offset + offset);
  return one.item<double>();
}

void check_sum(const Tensor& x, const Tensor& y) {
  const Tensor z = x + y;
  const std::vector<double> got = values(z);
  for (int64_t i = 0; i < z.numel(); ++i)
    REQUIRE(got[static_cast<size_t>(i)] == at(x, z.shape(), i) + at(y, z.shape(), i));
}

Tensor counting(const Shape& shape, Dtype dtype = float32) {
  return arange(0, shape.numel(), 1, {.dtype = dtype}).reshape(shape);
}

}  // namespace

TEST_CASE("every layout gives the sums that indexing gives") {
  const Tensor x = counting({6, 40, 130});
  SECTION("contiguous") { check_sum(x, x); }
  SECTION("transposed inputs") {
    check_sum(x.transpose(0, 2), x.transpose(0, 2));
    check_sum(x.transpose(1, 2), counting({6, 130, 40}));
    check_sum(x.permute({2, 0, 1}), counting({130, 6, 40}));
  }
  SECTION("rows and columns broadcast") {
    check_sum(x, counting({130}));
    check_sum(x, counting({40, 1}));
    check_sum(counting({6, 1, 1}), x);
    check_sum(counting({40, 1}), counting({1, 30}));
    check_sum(counting({1000, 3}), counting({3}));
  }
  SECTION("one value") {
    check_sum(x, counting({}));
    check_sum(counting({1, 1, 1}), x);
    check_sum(counting({}), counting({}));
  }
  SECTION("slices with steps") {
    check_sum(x.slice(2, 1, 129, 3), x.slice(2, 0, 128, 3));
    check_sum(x.slice(1, 2, 40, 2), counting({130}));
  }
  SECTION("nothing") { CHECK((counting({0, 3}) + counting({3})).shape() == Shape({0, 3})); }
}

TEST_CASE("copies keep every element whatever the layouts and dtypes") {
  const Shape order =
      GENERATE(Shape{0, 1, 2, 3}, Shape{0, 2, 1, 3}, Shape{3, 2, 1, 0}, Shape{0, 3, 1, 2}, Shape{2, 3, 0, 1});
  for (const Dtype from : {float32, float64, bfloat16, float16, int32, int64, uint8, boolean})
    for (const Dtype to : {float32, float64, bfloat16, float16, int32, int64, uint8, boolean}) {
      const Tensor x = (counting({5, 7, 18, 33}, int64)).to(uint8).slice(3, 0, 31).to(from).permute(order);
      const Tensor y = x.to(to).contiguous();
      REQUIRE(y.is_contiguous());
      for (int64_t i = 0; i < y.numel(); i += 13) {
        double want = at(x, x.shape(), i);
        if (to == boolean) want = want != 0;
        if (to == bfloat16) want = static_cast<float>(bf16(static_cast<float>(want)));
        REQUIRE(at(y, y.shape(), i) == want);
      }
    }
}

TEST_CASE("an output may be an input, and may overlap one") {
  const Tensor x = counting({70, 90});
  x.add_(x);
  CHECK(values(x)[4321] == 2 * 4321);
  x.t().mul_(Scalar(2));
  CHECK(values(x)[4321] == 4 * 4321);
  const Tensor line = counting({2000});
  line.slice(0, 1, 2000).add_(line.slice(0, 0, 1999));  // as if read before written
  const std::vector<double> result = values(line);
  for (int64_t i = 1; i < 2000; ++i) REQUIRE(result[static_cast<size_t>(i)] == double(2 * i - 1));
}
