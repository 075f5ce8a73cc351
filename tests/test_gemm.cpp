// The gemm kernel and the ops on it: every layout and odd size against a float64 loop, equal bits for any number of
// threads.
#include <cmath>
#include <cstring>

#include "catch.h"

#include <gradus/core/kernels.h>
#include <gradus/core/parallel.h>
#include <gradus/core/random.h>
#include <gradus/gradus.h>

using namespace gradus;
using Catch::Matchers::ContainsSubstring;

namespace {

// c [batch, m, n] in float64, by definition.
std::vector<double> product(const Tensor& a, const Tensor& b, const Tensor& bias = {}) {
  const Tensor x = a.to(float64).contiguous(), y = b.to(float64).contiguous();
  const int64_t batch = x.size(0), m = x.size(1), k = x.size(2), n = y.size(2);
  std::vector<double> c(static_cast<size_t>(batch * m * n));
  for (int64_t i = 0; i < batch; ++i)
    for (int64_t r = 0; r < m; ++r)
      for (int64_t j = 0; j < n; ++j) {
        double sum = bias.defined() ? bias[j].to(float64).item<double>() : 0;
        for (int64_t t = 0; t < k; ++t)
          sum += x.data<double>()[(i * m + r) * k + t] * y.data<double>()[(i * k + t) * n + j];
        c[static_cast<size_t>((i * m + r) * n + j)] = sum;
      }
  return c;
}

double worst_error(const Tensor& c, const std::vector<double>& want) {
  const Tensor have = c.to(float64).contiguous();
  double worst = 0;
  for (size_t i = 0; i < want.size(); ++i) worst = std::max(worst, std::abs(have.data<double>()[i] - want[i]));
  return worst;
}

double unit(Dtype dtype) {
  return dtype == float64 ? 0x1p-52 : dtype == float32 ? 0x1p-23 : dtype == float16 ? 0x1p-10 : 0x1p-7;
}

bool near(const Tensor& x, const Tensor& y, double tolerance = 2e-5) {
  if (!(x.shape() == y.shape())) return false;
  const Tensor want = y.to(float64).contiguous();
  return worst_error(x, {want.data<double>(), want.data<double>() + want.numel()}) <= tolerance;
}

bool same_bits(const Tensor& x, const Tensor& y) {
  return x.shape() == y.shape() && std::memcmp(x.raw_data(), y.raw_data(), static_cast<size_t>(x.nbytes())) == 0;
}

// Random values in a [batch, rows, columns] that is stored transposed when asked, with a gap after each row.
Tensor stored(int64_t batch, int64_t rows, int64_t columns, bool transposed, Dtype dtype) {
  const Tensor whole = randn({batch, transposed ? columns : rows, (transposed ? rows : columns) + 3}).to(dtype);
  const Tensor x = whole.slice(2, 0, transposed ? rows : columns);
  return transposed ? x.transpose(1, 2) : x;
}

}  // namespace

TEST_CASE("gemm equals the definition for every layout, odd sizes and dtypes") {
  manual_seed(1);
  const int64_t sizes[][3] = {{1, 1, 1},    {1, 7, 5},    {5, 1, 9},     {3, 4, 1},    {17, 19, 23},
                              {33, 65, 31}, {16, 16, 16}, {130, 70, 64}, {29, 35, 900}};
  for (const Dtype dtype : {float32, float64, float16, bfloat16})
    for (const auto& [m, n, k] : sizes)
      for (const int layout : {0, 1, 2, 3})
        for (const int64_t batch : {1, 3}) {
          const Tensor a = stored(batch, m, k, layout & 1, dtype), b = stored(batch, k, n, layout & 2, dtype);
          Tensor c = empty({batch, m, n}, {.dtype = dtype});
          kernels::gemm(Device::cpu(), c, a, b, {}, false);
          INFO(name(dtype) << " " << m << " " << n << " " << k << " layout " << layout << " batch " << batch);
          CHECK(worst_error(c, product(a, b)) < unit(dtype) * (16 + 4 * static_cast<double>(k)));
          kernels::gemm(Device::cpu(), c, a, b, {}, true);
          CHECK(worst_error(c, product(a + a, b)) < 2 * unit(dtype) * (16 + 4 * static_cast<double>(k)));
        }
}

TEST_CASE("gemm: a batch stride of 0 and a bias") {
  manual_seed(2);
  for (const Dtype dtype : {float32, float64, bfloat16}) {
    const Tensor a = randn({4, 9, 12}).to(dtype), b = randn({12, 10}).to(dtype).expand({4, 12, 10}),
                 bias = randn({10}).to(dtype);
    Tensor c = empty({4, 9, 10}, {.dtype = dtype});
    kernels::gemm(Device::cpu(), c, a, b, bias, false);
    CHECK(worst_error(c, product(a, b, bias)) < 20 * unit(dtype));
    kernels::gemm(Device::cpu(), c, b.transpose(1, 2).slice(1, 0, 9), b, {}, false);
    CHECK(worst_error(c, product(b.transpose(1, 2).slice(1, 0, 9), b)) < 40 * unit(dtype));
  }
}

TEST_CASE("gemm: large products that are cut into tiles, the same bits for any number of threads") {
  manual_seed(3);
  const int before = num_threads();
  for (const int layout : {0, 1, 2, 3})
    for (const Dtype dtype : {float32, float64, bfloat16}) {
      const Tensor a = stored(1, 601, 310, layout & 1, dtype), b = stored(1, 310, 527, layout & 2, dtype),
                   bias = randn({527}).to(dtype);
      Tensor one = empty({1, 601, 527}, {.dtype = dtype}), two = empty_like(one), five = empty_like(one);
      set_num_threads(1);
      kernels::gemm(Device::cpu(), one, a, b, bias, false);
      set_num_threads(2);
      kernels::gemm(Device::cpu(), two, a, b, bias, false);
      set_num_threads(5);
      kernels::gemm(Device::cpu(), five, a, b, bias, false);
      CHECK(same_bits(one, two));
      CHECK(same_bits(one, five));
      const Tensor x = a.to(float64), y = b.to(float64);
      for (const auto& [i, j] : {std::pair{0, 0}, {600, 526}, {599, 3}, {2, 520}, {333, 272}}) {
        const double want = sum(x[0][i] * y[0].select(1, j)).item<double>() + bias[j].to(float64).item<double>();
        CHECK(std::abs(one[0][i][j].to(float64).item<double>() - want) < 1000 * unit(dtype));
      }
    }
  set_num_threads(before);
}

TEST_CASE("matmul: vectors, batches that broadcast, views, empty dims") {
  manual_seed(4);
  const auto by_sum = [](const Tensor& x, const Tensor& y) {  // [..., m, k], [..., k, n]
    return sum(x.unsqueeze(-1) * y.unsqueeze(-3), -2);
  };
  const Tensor v = randn({5}), w = randn({5}), m = randn({4, 5});
  CHECK(matmul(v, w).shape() == Shape{});
  CHECK(near(matmul(v, w), sum(v * w)));
  CHECK(near(matmul(m, v), sum(m * v, 1)));
  CHECK(near(matmul(w, m.t()), sum(m * w, 1)));
  const Tensor x = randn({2, 1, 4, 5}), y = randn({3, 5, 6});
  CHECK(matmul(x, y).shape() == Shape{2, 3, 4, 6});
  CHECK(near(matmul(x, y), by_sum(x, y)));
  CHECK(near(matmul(x, v), sum(x * v, -1)));
  const Tensor heads = randn({2, 7, 3, 8}), other = randn({2, 7, 3, 8});  // [B, T, H, D], the way attention sees them
  const Tensor q = heads.transpose(1, 2), k = other.permute({0, 2, 3, 1});
  CHECK(near(matmul(q, k), by_sum(q, k)));
  const Tensor big = randn({2, 64, 3, 64}), q2 = big.transpose(1, 2), k2 = big.permute({0, 2, 3, 1});
  CHECK(near(matmul(q2, k2), by_sum(q2, k2), 2e-4));
  CHECK(near(matmul(m.expand({3, 4, 5}), y), by_sum(m.expand({3, 4, 5}), y)));
  CHECK(near(matmul(m.unsqueeze(1).expand({4, 3, 5}), randn({5, 2}) * 0), zeros({4, 3, 2})));
  CHECK(near(matmul(zeros({3, 0}), zeros({0, 2})), zeros({3, 2})));
  CHECK(matmul(zeros({0, 3, 4}), zeros({4, 5})).shape() == Shape{0, 3, 5});
  CHECK(matmul(zeros({0, 3}), zeros({3, 4})).shape() == Shape{0, 4});
}

TEST_CASE("linear keeps what a frozen weight does not need, and adds its bias once") {
  manual_seed(5);
  const Tensor x = randn({2, 3, 4}), w = randn({5, 4}), b = randn({5});
  CHECK(near(linear(x, w, b), matmul(x, w.t()) + b));
  CHECK(near(linear(x.transpose(0, 1), w), matmul(x, w.t()).transpose(0, 1)));
  CHECK(linear(x[0][0], w, b).shape() == Shape{5});
  const Tensor input = randn({8, 4}), frozen = randn({5, 4});
  b.requires_grad_();
  const Tensor y = linear(input, frozen, b);
  input.zero_();  // nobody saved it
  sum(y).backward();
  CHECK(near(b.grad(), full({5}, 8.f)));
}
