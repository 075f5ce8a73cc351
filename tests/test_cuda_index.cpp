// Reading and adding by index, positions, sorting and selecting on a device: bit for bit what the CPU gives.
#include "beside_cpu.h"

using namespace beside_cpu;

namespace {

Tensor gathered(const Tensor& x, const Tensor& index, int64_t dim) {
  Tensor y = empty(index.shape(), {.dtype = x.dtype(), .device = x.device()});
  kernels::gather(x.device(), y, x, index, dim);
  return y;
}
Tensor selected(const Tensor& x, const Tensor& index) {
  Tensor y = empty({x.size(0), index.numel(), x.size(2)}, {.dtype = x.dtype(), .device = x.device()});
  kernels::index_select(x.device(), y, x, index);
  return y;
}

}  // namespace

TEST_CASE("gather reads as the CPU does") {
  for (const Dtype dtype : every_dtype)
    for (const auto& [outer, n, k, inner] : std::vector<std::array<int64_t, 4>>{
             {3, 7, 5, 4}, {1, 40, 700, 1}, {9, 1, 3, 33}, {2, 5, 0, 3}, {0, 5, 2, 3}}) {
      CAPTURE(dtype, outer, n, k, inner);
      const Tensor x = values({outer, n, inner}, dtype), index = indices(n, {outer, k, inner});
      const Tensor want = gathered(x, index, 1);
      under_seeds([&] { CHECK(same_bits(gathered(x.to(gpu), index.to(gpu), 1), want)); });
    }
  const Tensor x = values({6, 4}, float32), first = indices(6, {3, 4}), last = indices(4, {6, 2});
  CHECK(same_bits(gathered(x.to(gpu), first.to(gpu), 0), gathered(x, first, 0)));
  CHECK(same_bits(gathered(x.to(gpu), last.to(gpu), 1), gathered(x, last, 1)));
}

TEST_CASE("index_select reads as the CPU does, by words of every width") {
  for (const Dtype dtype : every_dtype)
    for (const auto& [outer, n, k, inner] : std::vector<std::array<int64_t, 4>>{
             {1, 50, 30, 64}, {3, 7, 5, 6}, {2, 9, 400, 1}, {2, 9, 11, 3}, {2, 4, 0, 3}, {0, 4, 2, 3}, {2, 4, 3, 0}}) {
      CAPTURE(dtype, outer, n, k, inner);
      const Tensor x = values({outer, n, inner}, dtype), index = indices(n, {k});
      const Tensor want = selected(x, index), there = x.to(gpu);
      under_seeds([&] { CHECK(same_bits(selected(there, index.to(gpu)), want)); });
      CHECK(same_bits(selected(shifted(there, 1), index.to(gpu)), want));
      CHECK(same_bits(selected(shifted(there, 2), index.to(gpu)), want));
    }
}

TEST_CASE("an index out of range reads a zero") {
  const std::vector<int64_t> some = {0, 3, -1, 2, 4, INT64_MAX, INT64_MIN, 1};
  const Tensor at = tensor(some), clean = at.clone(), x = add(values({2, 4, 3}, float32), 100);
  Tensor want = selected(x, clamp(at, 0, 3)), y = selected(x.to(gpu), at.to(gpu));
  for (const int64_t bad : {2, 4, 5, 6}) want.select(1, bad).zero_();
  CHECK(same_bits(y, want));
  const Tensor index = at.view({1, 8, 1}).expand({2, 8, 3}).contiguous();
  CHECK(same_bits(gathered(x.to(gpu), index.to(gpu), 1), want));
}

TEST_CASE("nonzero gives the positions of what is true") {
  const auto check = [](const Tensor& mask) {
    const Tensor want = kernels::nonzero(cpu, mask), there = mask.to(gpu);
    under_seeds([&] { CHECK(same_bits(kernels::nonzero(gpu, there), want)); });
    CHECK(same_bits(kernels::nonzero(gpu, shifted(there, 3)), want));
  };
  for (const int64_t n : {0, 1, 15, 16, 17, 4095, 4096, 4097, 20000}) {
    CAPTURE(n);
    check(values({n}, boolean));
    check(zeros({n}, {.dtype = boolean}));
    check(ones({n}, {.dtype = boolean}));
  }
  Tensor sparse = zeros({3, 7000}, {.dtype = boolean});
  sparse[1].select(0, 6999).fill_(true);
  check(sparse);
}
