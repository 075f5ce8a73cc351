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

namespace {

Tensor row_added(const Tensor& y, const Tensor& index, const Tensor& source) {
  Tensor sum = y.clone();
  kernels::index_add(y.device(), sum, index, source);
  return sum;
}
Tensor added(const Tensor& y, const Tensor& index, const Tensor& source, int64_t dim) {
  Tensor sum = y.clone();
  kernels::scatter_add(y.device(), sum, index, source, dim);
  return sum;
}

}  // namespace

TEST_CASE("index_add adds in the order of the indices, as the CPU does") {
  for (const Dtype dtype : every_dtype)
    for (const auto& [outer, n, k, inner] : std::vector<std::array<int64_t, 4>>{{2, 5, 30, 32},
                                                                                {3, 4, 64, 3},
                                                                                {2, 7, 300, 16},
                                                                                {1, 500, 2100, 5},
                                                                                {2, 3, 0, 4},
                                                                                {0, 3, 5, 4},
                                                                                {2, 3, 5, 0}}) {
      CAPTURE(dtype, outer, n, k, inner);
      const Tensor y = values({outer, n, inner}, dtype), source = values({outer, k, inner}, dtype),
                   index = indices(n, {k}), want = row_added(y, index, source);
      const Tensor there = y.to(gpu), at = index.to(gpu), more = source.to(gpu);
      under_seeds([&] { CHECK(same_bits(row_added(there, at, more), want)); });
      CHECK(same_bits(row_added(there, at, shifted(more, 1)), want));
    }
  const Tensor y = values({1, 3, 600}, float32), source = values({1, 500, 600}, float32);  // wider than a block
  for (const Tensor& index : {indices(3, {500}), zeros({500}, {.dtype = int64})})
    CHECK(same_bits(row_added(y.to(gpu), index.to(gpu), source.to(gpu)), row_added(y, index, source)));
}

TEST_CASE("scatter_add adds in the order of the indices, as the CPU does") {
  for (const Dtype dtype : every_dtype)
    for (const auto& [outer, n, k, inner] : std::vector<std::array<int64_t, 4>>{
             {3, 5, 8, 4}, {2, 7, 40, 3}, {1, 50, 2500, 1}, {100, 2, 17, 170}, {2, 3, 0, 4}, {0, 3, 5, 4}}) {
      CAPTURE(dtype, outer, n, k, inner);
      const Tensor y = values({outer, n, inner}, dtype), source = values({outer, k, inner}, dtype),
                   index = indices(n, {outer, k, inner}), want = added(y, index, source, 1);
      const Tensor there = y.to(gpu), at = index.to(gpu), more = source.to(gpu);
      if (index.numel() < 100000)
        under_seeds([&] { CHECK(same_bits(added(there, at, more, 1), want)); });
      else
        CHECK(same_bits(added(there, at, more, 1), want));
    }
}

TEST_CASE("an index out of range adds nothing") {
  const std::vector<int64_t> wrong = {-1, 4, INT64_MAX, INT64_MIN, 4 + (int64_t{1} << 32)};
  for (const int64_t k : {20, 100, 2100}) {  // compared with each other, sorted by a block, sorted by digits
    CAPTURE(k);
    const Tensor y = values({1, 4, 8}, float32), source = values({1, k, 8}, float32), index = indices(4, {k});
    const Tensor nothing = source.clone();
    for (size_t i = 0; i < wrong.size(); ++i) {
      const int64_t at = static_cast<int64_t>(i) * 3 + 1;
      index.narrow(0, at, 1).fill_(wrong[i]);
      nothing.narrow(1, at, 1).zero_();
    }
    const Tensor valid = clamp(index, 0, 3);
    CHECK(same_bits(row_added(y.to(gpu), index.to(gpu), source.to(gpu)), row_added(y, valid, nothing)));
    const Tensor each = index.view({1, k, 1}).expand({1, k, 8}).contiguous(),
                 each_valid = valid.view({1, k, 1}).expand({1, k, 8}).contiguous();
    CHECK(same_bits(added(y.to(gpu), each.to(gpu), source.to(gpu), 1), added(y, each_valid, nothing, 1)));
    const Tensor few = each.narrow(1, 0, 16).contiguous(), few_valid = each_valid.narrow(1, 0, 16).contiguous(),
                 some = source.narrow(1, 0, 16).contiguous(), none = nothing.narrow(1, 0, 16).contiguous();
    CHECK(same_bits(added(y.to(gpu), few.to(gpu), some.to(gpu), 1), added(y, few_valid, none, 1)));
  }
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

namespace {

using ValuesAndIndex = std::pair<Tensor, Tensor>;

ValuesAndIndex outputs(const Tensor& x, int64_t k) {
  return {empty({x.size(0), k}, {.dtype = x.dtype(), .device = x.device()}),
          empty({x.size(0), k}, {.dtype = int64, .device = x.device()})};
}
ValuesAndIndex sorted(const Tensor& x, bool descending) {
  auto [values, index] = outputs(x, x.size(1));
  kernels::sort(x.device(), values, index, x, descending);
  return {values, index};
}
ValuesAndIndex best(const Tensor& x, int64_t k, bool largest) {
  auto [values, index] = outputs(x, k);
  kernels::topk(x.device(), values, index, x, largest);
  return {values, index};
}

// With both zeros, infinities, and NaNs of different bits, where the dtype has them.
Tensor to_sort(const Shape& shape, Dtype dtype) {
  Tensor x = values(shape, dtype);
  if (!is_floating(dtype) || x.numel() < 50) return x;
  const Tensor flat = x.view({-1});
  const std::vector<double> special = {0., -0., INFINITY, -INFINITY, NAN, -NAN, 0., -0.};
  for (size_t i = 0; i < special.size(); ++i) {
    const int64_t at = static_cast<int64_t>(i) * flat.numel() / 9 + 3;
    flat.narrow(0, at, 1).copy_(tensor(std::span(&special[i], 1)).to(dtype));
  }
  return x;
}

void check_pair(const ValuesAndIndex& got, const ValuesAndIndex& want) {
  CHECK(same_bits(got.first, want.first));
  CHECK(same_bits(got.second, want.second));
}

}  // namespace

TEST_CASE("rows are sorted as on the CPU: stable, NaN last") {
  const auto check = [](Dtype dtype, int64_t rows, int64_t n) {
    for (const bool descending : {false, true}) {
      CAPTURE(dtype, rows, n, descending);
      const Tensor x = to_sort({rows, n}, dtype), there = x.to(gpu);
      const ValuesAndIndex want = sorted(x, descending);
      under_seeds([&] { check_pair(sorted(there, descending), want); });
    }
  };
  for (const Dtype dtype : every_dtype) {
    check(dtype, 60, 7);
    check(dtype, 2, 100);
    check(dtype, 2, 2049);
  }
  for (const auto& [rows, n] :
       std::vector<std::array<int64_t, 2>>{{3, 1}, {5, 2}, {700, 3}, {2, 1024}, {1, 2048}, {0, 5}, {3, 0}})
    check(float32, rows, n);
  check(float32, 2, 9000);  // more than a tile each
}

TEST_CASE("the first k are the CPU's, also of equal values") {
  const auto check = [](const Tensor& x, int64_t k, bool largest) {
    CAPTURE(x.dtype(), x.shape(), k, largest);
    const Tensor there = x.to(gpu);
    const ValuesAndIndex want = best(x, k, largest);
    under_seeds([&] { check_pair(best(there, k, largest), want); });
  };
  for (const Dtype dtype : every_dtype)
    for (const bool largest : {true, false}) {
      check(to_sort({3, 60}, dtype), 5, largest);
      check(to_sort({2, 2100}, dtype), 70, largest);
    }
  check(to_sort({2, 2048}, float32), 2048, true);
  check(to_sort({2, 2100}, float32), 1, false);
  check(to_sort({17, 2100}, float32), 3, true);
  check(to_sort({1, 2100}, float32), 1025, true);  // too many to be sorted by one block
  check(to_sort({1, 2100}, float32), 0, true);
  check(randperm(3000).to(float32).view({1, 3000}), 20, true);  // settled before the last digit
  const Tensor same = zeros({1, 66000}), few = to_sort({1, 140000}, bfloat16);
  check_pair(best(same.to(gpu), 300, true), best(same, 300, true));  // settled by the upper digits of the position
  check_pair(best(few.to(gpu), 3, false), best(few, 3, false));      // one very long row
}
