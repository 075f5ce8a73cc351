// Indexing, joining, sorting and scans beyond what the op table samples: sizes that take the parallel ways, every
// dtype, the same bits for any number of threads, checks of indices, memory that views share.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <tuple>

#include "catch.h"

#include <gradus/core/parallel.h>
#include <gradus/core/random.h>
#include <gradus/gradus.h>

using namespace gradus;
using Catch::Matchers::ContainsSubstring;

namespace {

const std::vector<Dtype> numeric = {float32, float64, float16, bfloat16, int32, int64, uint8};

struct Threads {
  int before = num_threads();
  explicit Threads(int n) { set_num_threads(n); }
  ~Threads() { set_num_threads(before); }
};

bool same_bits(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() && a.dtype() == b.dtype() &&
         std::memcmp(a.raw_data(), b.raw_data(), static_cast<size_t>(a.nbytes())) == 0;
}

// The result of f, which must be the same for one thread and for several.
template <class F>
Tensor on_any_threads(F f) {
  Tensor one;
  {
    const Threads alone(1);
    one = f();
  }
  for (const int n : {2, 5}) {
    const Threads several(n);
    CHECK(same_bits(one, f()));
  }
  return one;
}

Tensor indices(std::initializer_list<int64_t> values) {
  return tensor(std::span<const int64_t>(values.begin(), values.size()));
}

}  // namespace

TEST_CASE("an index out of range is found anywhere, with its position and the range") {
  const Tensor x = arange(100).to(float32);
  Tensor at = zeros({3, 40000}, {.dtype = int64});
  at[2].select(0, 39999).fill_(100);
  CHECK_THROWS_WITH(x[at], ContainsSubstring("index[2, 39999] is 100; want -100 to 99"));
  at[1].select(0, 7).fill_(-101);
  CHECK_THROWS_WITH(x[at], ContainsSubstring("index[1, 7] is -101"));
  CHECK_THROWS_AS(index_select(x, 0, indices({std::numeric_limits<int64_t>::min()})), IndexError);
  CHECK_THROWS_AS(gather(x, 0, indices({std::numeric_limits<int64_t>::max()})), IndexError);
  CHECK_THROWS_AS(index_select(zeros({0}), 0, indices({0})), IndexError);
  CHECK(index_select(zeros({0}), 0, indices({})).shape() == Shape({0}));
}

TEST_CASE("int32 indices are converted; other dtypes are refused") {
  const Tensor x = arange(10), at = indices({3, 1}), narrow = at.to(int32);
  CHECK(equal(x[narrow], at));
  CHECK(equal(index_select(x, 0, narrow), at));
  CHECK(equal(gather(x, 0, narrow), at));
  CHECK(equal(embedding(narrow, eye(4)), one_hot(at, 4).to(float32)));
  CHECK_THROWS_WITH(x[at.to(uint8)], ContainsSubstring("boolean"));
}

TEST_CASE("numbers, slices and new dims share memory; tensors copy") {
  const Tensor x = arange(24).reshape({2, 3, 4});
  const Tensor view = index(x, {1, Slice{0, 2}, NewDim{}, Slice{{}, {}, 3}});
  CHECK(view.shape() == Shape({2, 1, 2}));
  view.fill_(-1);
  CHECK(x[1][1][3].item<int64_t>() == -1);
  const Tensor copy = x[indices({1})];
  copy.fill_(7);
  CHECK(x[1][0][1].item<int64_t>() == 13);
}

TEST_CASE("index tensors land where NumPy puts them") {
  const Tensor x = arange(120).reshape({2, 3, 4, 5}), i = indices({0, 1}), j = indices({3, 0});
  const Tensor together = index(x, {Slice{}, i, j});
  CHECK(together.shape() == Shape({2, 2, 5}));
  CHECK(together[1][0][4].item<int64_t>() == x[1][0][3][4].item<int64_t>());
  const Tensor apart = index(x, {i, Slice{}, j});
  CHECK(apart.shape() == Shape({2, 3, 5}));
  CHECK(apart[1][2][4].item<int64_t>() == x[1][2][0][4].item<int64_t>());
  const Tensor mask = x[0][0] > 10;
  CHECK(index(x, {1, Slice{}, mask}).shape() == Shape({3, 9}));
  CHECK(equal(x[x > 100], arange(101, 120)));
}

TEST_CASE("additions by index agree with a plain loop, for every dtype, sizes and threads") {
  manual_seed(3);
  for (const Dtype dtype : numeric)
    for (const auto& [n, k, inner] : {std::tuple{50, 3000, 17}, {1000000, 40, 3}, {7, 5000, 1}, {300, 900, 600}}) {
      if (n > 100000 && dtype != float32) continue;  // the way of few indices in many rows
      INFO(std::string(name(dtype)) << " " << n << " " << k << " " << inner);
      const Tensor at = randint(n, {k}), source = randint(0, 4, {k, inner}).to(dtype);
      const Tensor x = ones({n, inner}, {.dtype = dtype});
      const Tensor y = on_any_threads([&] { return index_add(x, 0, at, source); });
      Tensor expected = ones({n, inner}, {.dtype = float64});
      const Tensor wide = source.to(float64);
      for (int64_t i = 0; i < k; ++i)
        for (int64_t j = 0; j < inner; ++j)
          expected.mutable_data<double>()[at.data<int64_t>()[i] * inner + j] += wide.data<double>()[i * inner + j];
      if (!is_floating(dtype)) expected = expected.to(int64);  // whose conversion wraps as the sums do
      CHECK(equal(y, expected.to(dtype)));  // sums of small integers, so exact before the rounding to dtype
    }
}

TEST_CASE("scatter_add agrees with a plain loop and adds in order") {
  manual_seed(4);
  for (const Dtype dtype : numeric)
    for (const auto& [shape, dim] :
         {std::pair{Shape{40, 50, 30}, 1}, {Shape{5000}, 0}, {Shape{300, 200}, 0}, {Shape{2000, 9}, 1}}) {
      INFO(std::string(name(dtype)) << " " << to_string(shape));
      const Tensor at = randint(shape[dim], shape), source = randint(0, 3, shape).to(dtype);
      const Tensor y = on_any_threads(
          [&, shape = shape, dim = dim] { return scatter_add(zeros(shape, {.dtype = dtype}), dim, at, source); });
      int64_t inner = 1;
      for (int64_t d = dim + 1; d < shape.rank(); ++d) inner *= shape[d];
      Tensor expected = zeros(shape, {.dtype = float64});
      const Tensor wide = source.to(float64);
      for (int64_t i = 0; i < source.numel(); ++i) {
        const int64_t line = i / (shape[dim] * inner) * shape[dim] * inner + i % inner;
        expected.mutable_data<double>()[line + at.data<int64_t>()[i] * inner] += wide.data<double>()[i];
      }
      CHECK(equal(y, expected.to(dtype)));
    }
  // 0.1 added ten thousand times in float16 would stop growing.
  const Tensor many = index_add(zeros({1}, {.dtype = float16}), 0, zeros({10000}, {.dtype = int64}),
                                full({10000}, 0.1, {.dtype = float16}));
  CHECK(many.to(float32).item<float>() == Approx(1000).epsilon(1e-3));
}

TEST_CASE("the gradient of embedding is the same for any threads and leaves the padding row out") {
  manual_seed(5);
  const Tensor at = randint(100, {16, 64}), g = randn({16, 64, 48});
  const Tensor dw = on_any_threads([&] {
    const Tensor weight = zeros({100, 48}).requires_grad_();
    embedding(at, weight, -3).backward(g);
    return weight.grad();
  });
  CHECK(equal(dw[97], zeros({48})));
  CHECK(allclose(dw[at[0][0].item<int64_t>()], sum(where((at == at[0][0]).unsqueeze(-1), g, 0), {0, 1}), 1e-4, 1e-5));
}

TEST_CASE("sort is stable and puts NaN last; descending turns it round") {
  const double nan_value = std::numeric_limits<double>::quiet_NaN(), infinity = std::numeric_limits<double>::infinity();
  const Tensor x = tensor({2, nan_value, -1, 0.0, 2, -0.0, infinity, -infinity, -1});
  for (const Dtype dtype : {float32, float64, float16, bfloat16}) {
    const auto [up, at] = sort(x.to(dtype));
    CHECK(equal(at, indices({7, 2, 8, 3, 5, 0, 4, 6, 1})));
    CHECK(isnan(up[8]).item<bool>());
    CHECK(equal(sort(x.to(dtype), 0, true).second, indices({1, 6, 0, 4, 3, 5, 2, 8, 7})));
  }
}

TEST_CASE("sort and topk agree with the standard library for every dtype and length") {
  manual_seed(6);
  for (const Dtype dtype : {float32, float64, float16, bfloat16, int32, int64, uint8, boolean})
    for (const int64_t n : {1, 2, 63, 1500, 40000})
      for (const bool descending : {false, true}) {
        INFO(std::string(name(dtype)) << " " << n << (descending ? " descending" : ""));
        const Tensor x = dtype == boolean ? randn({2, n}) > 0.0 : (randn({2, n}) * 1000.0).to(dtype);
        const Tensor wide = x.to(float64);
        const auto [values, at] = sort(x, 1, descending);
        const int64_t k = std::min<int64_t>(n, 70);
        const auto [best, best_at] = topk(x, k, 1, descending);
        for (int64_t row = 0; row < 2; ++row) {
          const double* p = wide.data<double>() + row * n;
          std::vector<int64_t> order(static_cast<size_t>(n));
          std::iota(order.begin(), order.end(), 0);
          std::stable_sort(order.begin(), order.end(),
                           [&](int64_t a, int64_t b) { return descending ? p[a] > p[b] : p[a] < p[b]; });
          CHECK(std::equal(order.begin(), order.end(), at.data<int64_t>() + row * n));
          CHECK(std::equal(order.begin(), order.begin() + k, best_at.data<int64_t>() + row * k));
        }
        CHECK(equal(values, gather(x, 1, at)));
        CHECK(equal(best, gather(x, 1, best_at)));
      }
}

TEST_CASE("cumulative sums of long rows and many columns") {
  manual_seed(8);
  for (const Shape& shape : {Shape{3, 70000}, {500, 700}, {40000, 2}}) {
    const Tensor x = randn(shape);
    for (const int64_t dim : {0, 1}) {
      const Tensor y = on_any_threads([&] { return cumsum(x, dim); });
      CHECK(allclose(y, cumsum(x.to(float64), dim).to(float32), 1e-6, 1e-6));
      CHECK(allclose(y.select(dim, shape[dim] - 1), sum(x, dim), 1e-4, 1e-3));
    }
  }
  CHECK(equal(cumsum(ones({5}, {.dtype = boolean}), 0), arange(1, 6)));
}

TEST_CASE("nonzero finds every position, in order") {
  manual_seed(9);
  const Tensor x = randn({70, 1000}) > 1.0;
  const Tensor at = on_any_threads([&] { return nonzero(x); });
  CHECK(at.size(0) == sum(x).item<int64_t>());
  CHECK(all(index(x, {at.select(1, 0), at.select(1, 1)})).item<bool>());
  const Tensor flat = at.select(1, 0) * 1000 + at.select(1, 1);
  CHECK(all(flat.slice(0, 1) > flat.slice(0, 0, -1)).item<bool>());
  CHECK(nonzero(scalar_tensor(3)).shape() == Shape({1, 0}));
  CHECK(nonzero(scalar_tensor(0)).shape() == Shape({0, 0}));
}

TEST_CASE("split, chunk and unbind are views") {
  const Tensor x = arange(12).reshape({3, 4});
  split(x, 2, 1)[1].fill_(-1);
  CHECK(x[0][3].item<int64_t>() == -1);
  CHECK(split(x, 3, 1).back().shape() == Shape({3, 1}));
  CHECK(chunk(x, 2).front().shape() == Shape({2, 4}));
  CHECK(unbind(x, 1).size() == 4);
  CHECK(split(zeros({0, 2}), 3).size() == 1);
  CHECK(unbind(zeros({0, 2})).empty());
}

TEST_CASE("joining and moving work for every dtype and on strided tensors") {
  for (const Dtype dtype : {float32, float64, float16, bfloat16, int32, int64, uint8, boolean}) {
    const Tensor x = arange(6).reshape({2, 3}).to(dtype), t = x.t();
    CHECK(cat({t, t}, 1).shape() == Shape({3, 4}));
    CHECK(equal(cat({t, t}, 1).slice(1, 2), t.contiguous()));
    CHECK(equal(flip(flip(t, {0, 1}), {1, 0}), t.contiguous()));
    CHECK(equal(roll(t, 1, 0)[0], t[2].contiguous()));
    CHECK(equal(tril(x), where(tril(ones({2, 3})) > 0, x, zeros_like(x))));
    CHECK(equal(pad(t, {0, 1}, 1).select(1, 2), ones({3}, {.dtype = dtype})));
    CHECK(equal(stack({t, t})[1], t.contiguous()));
  }
}

TEST_CASE("only the parts that want a gradient get one") {
  const Tensor x = ones({2}).requires_grad_(), y = ones({3});
  sum(cat({y, x, y}) * arange(8).to(float32)).backward();
  CHECK(equal(x.grad(), tensor({3, 4})));
  CHECK_FALSE(y.grad().defined());
}
