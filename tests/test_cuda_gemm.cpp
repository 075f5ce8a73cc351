// Matrix products on a CUDA device, against the CPU's.
#include <unistd.h>

#include <cstdlib>

#include "beside_cpu.h"

using namespace gradus;
using namespace beside_cpu;
using Catch::Matchers::ContainsSubstring;

namespace {

// Matrices [batch, rows, columns] of random numbers that lie in their memory in one of these ways.
enum class Lie { dense, transposed, padded, padded_transposed, repeated };
Tensor view_of(const Tensor& memory, Lie lie, int64_t batch, int64_t rows, int64_t columns) {
  const int64_t odd = 3;  // elements between lines
  switch (lie) {
    case Lie::transposed: return as_strided(memory, {batch, rows, columns}, {rows * columns, 1, rows}, 0);
    case Lie::padded:
      return as_strided(memory, {batch, rows, columns}, {rows * (columns + odd), columns + odd, 1}, odd);
    case Lie::padded_transposed:
      return as_strided(memory, {batch, rows, columns}, {columns * (rows + odd), 1, rows + odd}, 1);
    case Lie::repeated: return as_strided(memory, {batch, rows, columns}, {0, columns, 1}, 0);
    default: return as_strided(memory, {batch, rows, columns}, {rows * columns, columns, 1}, 0);
  }
}

struct Sizes {
  int64_t batch, m, n, k;
};

// c from the gemm slot of the device.
Tensor product(Device device, const Sizes& s, Lie lie_a, Lie lie_b, const Tensor& a, const Tensor& b,
               const Tensor& bias, const Tensor& before) {
  Tensor c = before.clone().to(device);
  kernels::gemm(device, c, view_of(a.to(device), lie_a, s.batch, s.m, s.k),
                view_of(b.to(device), lie_b, s.batch, s.k, s.n), bias.defined() ? bias.to(device) : bias,
                !bias.defined());
  return c;
}

void check_gemm(Dtype dtype, const Sizes& s, Lie lie_a, Lie lie_b, bool with_bias) {
  const auto memory = [&](int64_t rows, int64_t columns) {
    return randn({s.batch * (rows + 4) * (columns + 4) + 8}).to(dtype);
  };
  const Tensor a = memory(s.m, s.k), b = memory(s.k, s.n), before = randn({s.batch, s.m, s.n}).to(dtype);
  const Tensor bias = with_bias ? randn({s.n}).to(dtype) : Tensor();
  const auto on = [&](Device device) { return product(device, s, lie_a, lie_b, a, b, bias, before); };
  const Tensor expected = on(cpu);
  under_seeds([&] { CHECK(difference(on(gpu), expected) == ""); });
}

}  // namespace

TEST_CASE("products of matrices in every layout") {
  const Sizes sizes = {3, 5, 7, 9};
  for (const Dtype dtype : floating)
    for (const Lie a : {Lie::dense, Lie::transposed, Lie::padded, Lie::padded_transposed, Lie::repeated})
      for (const Lie b : {Lie::dense, Lie::transposed, Lie::padded, Lie::padded_transposed, Lie::repeated})
        for (const bool with_bias : {false, true}) {
          INFO(name(dtype) << ", a " << static_cast<int>(a) << ", b " << static_cast<int>(b) << ", bias " << with_bias);
          check_gemm(dtype, sizes, a, b, with_bias);
        }
}

TEST_CASE("products of every size") {
  for (const Dtype dtype : floating)
    for (const Sizes& s :
         {Sizes{1, 1, 1, 1}, {1, 1, 33, 17}, {1, 33, 1, 17}, {2, 64, 48, 32}, {1, 129, 65, 31}, {7, 1, 1, 3}})
      for (const bool with_bias : {false, true}) {
        INFO(name(dtype) << " " << s.batch << " " << s.m << " " << s.n << " " << s.k << ", bias " << with_bias);
        check_gemm(dtype, s, Lie::dense, Lie::transposed, with_bias);
        check_gemm(dtype, s, Lie::dense, Lie::dense, with_bias);
      }
}

TEST_CASE("products that are empty") {
  for (const Dtype dtype : floating) {
    const Tensor nothing = zeros({0, 3}).to(dtype), bias = randn({5}).to(dtype);
    CHECK(matmul(nothing.to(gpu), zeros({3, 4}).to(dtype).to(gpu)).shape() == Shape{0, 4});
    CHECK(equal(matmul(zeros({4, 0}).to(dtype).to(gpu), zeros({0, 3}).to(dtype).to(gpu)).to(cpu),
                zeros({4, 3}).to(dtype)));
    // Without features a linear layer is its bias.
    const Tensor y = linear(zeros({3, 0}).to(dtype).to(gpu), zeros({5, 0}).to(dtype).to(gpu), bias.to(gpu));
    CHECK(equal(y.to(cpu), bias.expand({3, 5}).contiguous()));
    // What is there already stays.
    Tensor c = ones({1, 2, 2}).to(dtype).to(gpu);
    kernels::gemm(gpu, c, zeros({1, 2, 0}).to(dtype).to(gpu), zeros({1, 0, 2}).to(dtype).to(gpu), {}, true);
    CHECK(equal(c.to(cpu), ones({1, 2, 2}).to(dtype)));
  }
}

TEST_CASE("a NaN in c does not survive a product that is not added to it") {
  Tensor c = full({1, 2, 2}, std::nan("")).to(gpu);
  kernels::gemm(gpu, c, ones({1, 2, 3}).to(gpu), ones({1, 3, 2}).to(gpu), {}, false);
  CHECK(equal(c.to(cpu), full({1, 2, 2}, 3)));
}

TEST_CASE("more matrices than one call may have") {
  const Tensor x = randn({70000, 1, 2}), y = randn({70000, 2, 1});
  CHECK(difference(matmul(x.to(gpu), y.to(gpu)), matmul(x, y)) == "");
}

TEST_CASE("matmul and linear with their gradients") {
  struct Results {
    Tensor y, dx, dw;
  };
  const auto on = [](Device device, const Tensor& any_x, const Tensor& any_w, const auto& op) {
    Tensor x = any_x.detach().to(device), w = any_w.detach().to(device);
    x.requires_grad_();
    w.requires_grad_();
    const Tensor y = op(x, w);
    y.backward(ones_like(y));
    return Results{y, x.grad(), w.grad()};
  };
  const auto check = [&](const Tensor& x, const Tensor& w, const auto& op) {
    const Results here = on(cpu, x, w, op), there = on(gpu, x, w, op);
    CHECK(difference(there.y, here.y) == "");
    CHECK(difference(there.dx, here.dx) == "");
    CHECK(difference(there.dw, here.dw) == "");
  };
  for (const Dtype dtype : floating) {
    INFO(name(dtype));
    const Tensor x = randn({2, 3, 5}).to(dtype), w = randn({4, 5}).to(dtype), y = randn({2, 5, 4}).to(dtype);
    check(x, w, [](const Tensor& a, const Tensor& b) { return linear(a, b); });
    check(x, w, [](const Tensor& a, const Tensor& b) { return matmul(a, b.t()); });
    check(x, y, [](const Tensor& a, const Tensor& b) { return matmul(a, b); });
  }
}

TEST_CASE("each device has a handle of its own") {
  if (cuda::device_count() < 2) return emulated::skipped("one device");
  const Tensor x = randn({4, 4});
  for (const int index : {0, 1, 0}) {
    const Tensor y = x.to(Device::cuda(index));
    CHECK(difference(matmul(y, y), matmul(x, x)) == "");
  }
}

TEST_CASE("a product in another stream") {
  const Tensor x = randn({8, 8}), expected = matmul(x, x);
  const cuda::Stream stream;
  const cuda::UseStream use(stream);
  under_seeds([&] { CHECK(difference(matmul(x.to(gpu), x.to(gpu)), expected) == ""); });
}

TEST_CASE("the workspace goes back to the allocator") {
  const Tensor x = randn({8, 8}).to(gpu);
  const int64_t before = memory_stats(gpu).live;
  const Tensor y = matmul(x, x);
  CHECK(memory_stats(gpu).live - before < 4096);
}

// ---- what is decided once for a process has a process of its own
namespace {
int run_alone(const std::string& environment, const std::string& tag) {
  char self[4096] = {};
  REQUIRE(readlink("/proc/self/exe", self, sizeof self - 1) > 0);
  return std::system((environment + " '" + self + "' '" + tag + "'").c_str());
}
}  // namespace

TEST_CASE("float32 in TF32", "[.tf32]") {
  const Tensor x = randn({32, 32}), y = matmul(x.to(gpu), x.to(gpu)).to(cpu), exact = matmul(x, x);
  CHECK(allclose(y, exact, 0, 0.05));
  CHECK_FALSE(allclose(y, exact, 0, 1e-4));
  const Tensor wide = x.to(float64);
  CHECK(difference(matmul(wide.to(gpu), wide.to(gpu)), matmul(wide, wide)) == "");
}
TEST_CASE("TF32 is for those who ask") { CHECK(run_alone("GRADUS_TF32=1", "[.tf32]") == 0); }

TEST_CASE("products without cuBLASLt", "[.without_cublaslt]") {
  const Tensor x = ones({2, 2}).to(gpu);
  std::string message;
  try {
    matmul(x, x);
  } catch (const DeviceError& error) {
    message = error.what();
  }
  CHECK_THAT(message, ContainsSubstring("gemm on cuda:0") && ContainsSubstring("pip install nvidia-cublas"));
  CHECK(equal((x + x).to(cpu), full({2, 2}, 2)));  // the rest goes on
}
TEST_CASE("a missing cuBLASLt is said") {
  if (!emulated::hooks()) return emulated::skipped("the library is there");
  CHECK(run_alone("GRADUS_EMULATION_WITHOUT=cuBLASLt", "[.without_cublaslt]") == 0);
}
