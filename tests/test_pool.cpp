// Pooling: which pixel wins, that the vector loop and the general one agree, what is kept for backward.
#include <cmath>
#include <limits>

#include "catch.h"

#include <gradus/core/kernels.h>
#include <gradus/core/random.h>
#include <gradus/gradus.h>

using namespace gradus;

TEST_CASE("the 2 x 2 maximum equals the general one, index included, for every width and dtype") {
  manual_seed(1);
  for (const Dtype dtype : {float32, float64, bfloat16})
    for (int64_t width = 2; width < 75; ++width) {
      Tensor x = randn({1, 2, 5, width}).to(dtype);
      if (width % 3 == 0) x.slice(3, width / 2, width / 2 + 1).fill_(std::nan(""));
      if (width % 4 == 0) x = (x * 2).to(int64).to(dtype);  // ties
      const Tensor y = empty({1, 2, 2, width / 2}, {.dtype = dtype});
      Tensor fast = empty_like(y), index = empty(y.shape(), {.dtype = int64}), none;
      kernels::max_pool2d(Device::cpu(), fast, index, x, {.kernel = {2, 2}, .stride = {2, 2}});
      Tensor alone = empty_like(y);
      kernels::max_pool2d(Device::cpu(), alone, none, x, {.kernel = {2, 2}, .stride = {2, 2}});
      // The same windows by way of the general loop.
      Tensor general = empty_like(y), places = empty(y.shape(), {.dtype = int64});
      const Tensor even = x.slice(2, 0, 4).slice(3, 0, width / 2 * 2).contiguous();
      kernels::adaptive_max_pool2d(Device::cpu(), general, places, even);
      for (int64_t i = 0; i < y.numel(); ++i) {
        const double a = fast.to(float64).data<double>()[i], b = general.to(float64).data<double>()[i],
                     c = alone.to(float64).data<double>()[i];
        const int64_t at = places.data<int64_t>()[i], row = at / even.size(3), column = at % even.size(3);
        INFO(name(dtype) << " width " << width << " output " << i);
        REQUIRE(((std::isnan(a) && std::isnan(b)) || a == b));
        REQUIRE(((std::isnan(a) && std::isnan(c)) || a == c));
        if (!std::isnan(a)) REQUIRE(index.data<int64_t>()[i] == row * width + column);
      }
    }
}

TEST_CASE("the first of equal pixels gets the gradient; minus infinity is a value like any other") {
  const Tensor x = zeros({1, 1, 2, 2}, {.requires_grad = true});
  sum(max_pool2d(x, 2)).backward();
  CHECK(x.grad().reshape({4})[0].item<float>() == 1);
  CHECK(sum(x.grad()).item<float>() == 1);
  const float low = -std::numeric_limits<float>::infinity();
  const Tensor y = full({1, 1, 3, 3}, low, {.requires_grad = true});
  const Tensor z = max_pool2d(y, 3, {.stride = 1, .padding = 1});
  CHECK(z.reshape({9})[4].item<float>() == low);
  sum(z).backward();
  CHECK(sum(y.grad()).item<float>() == 9);
}

TEST_CASE("means count the padding, or not") {
  const Tensor x = ones({1, 1, 2, 2});
  CHECK(avg_pool2d(x, 2, {.stride = 2, .padding = 1}).reshape({4})[0].item<float>() == 0.25f);
  CHECK(avg_pool2d(x, 2, {.stride = 2, .padding = 1, .count_include_pad = false}).reshape({4})[0].item<float>() == 1);
  CHECK(adaptive_avg_pool2d(arange(35).to(float32).reshape({1, 1, 5, 7}), 1).item<float>() == 17);
}
