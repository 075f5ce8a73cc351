// Image transforms against their definitions, pixel by pixel.
#include <cmath>
#include <set>

#include "catch.h"

#include <gradus/gradus.h>

using namespace gradus;
using Catch::Matchers::ContainsSubstring;

namespace {

/// Pictures whose pixels all differ: 1, 2, 3, ...
Tensor counted(const Shape& shape, Dtype dtype = float32) {
  return (arange(shape.numel()) + 1).reshape(shape).to(dtype);
}

double at(const Tensor& x, int64_t n, int64_t c, int64_t h, int64_t w) { return x[n][c][h][w].item<double>(); }

}  // namespace

TEST_CASE("pixels become standardised floats, with a mean for all channels or one for each") {
  const Tensor bytes = tensor({0, 51, 255}).to(uint8).reshape({1, 3, 1, 1});
  CHECK(allclose(data::to_float()(bytes).flatten(), tensor({0, 0.2, 1})));
  CHECK(allclose(data::standardize({0.5}, {0.25})(bytes).flatten(), tensor({-2, -1.2, 2})));
  CHECK(allclose(data::standardize({0, 0.2, 0.5}, {1, 2, 0.5})(bytes).flatten(), tensor({0, 0, 1})));
  CHECK(allclose(data::normalize({0, 0.2, 0.5}, {1, 2, 0.5})(data::to_float()(bytes)).flatten(), tensor({0, 0, 1}),
                 1e-5, 1e-6));
  const Tensor large = randint(256, {4, 3, 100, 101}).to(uint8);
  const Tensor once = data::standardize({0.1, 0.2, 0.3}, {0.4, 0.5, 0.6})(large);
  CHECK(allclose(once, data::normalize({0.1, 0.2, 0.3}, {0.4, 0.5, 0.6})(data::to_float()(large)), 1e-5, 1e-6));
  CHECK(at(once, 3, 2, 99, 100) == Approx((at(large.to(float32), 3, 2, 99, 100) / 255 - 0.3) / 0.6));
  CHECK(data::to_float()(zeros({0, 3, 2, 2}, {.dtype = uint8})).shape() == Shape({0, 3, 2, 2}));
}

TEST_CASE("a flip mirrors whole pictures, with its probability, for any dtype") {
  for (const Dtype dtype : {uint8, float32, float64}) {
    const Tensor x = counted({2, 2, 2, 5}, dtype);
    CHECK(equal(data::random_horizontal_flip(1)(x), flip(x, {3})));
    CHECK(equal(data::random_horizontal_flip(0)(x), x));
  }
  manual_seed(1);
  const Tensor x = counted({1, 1, 1, 3}).expand({4000, 1, 1, 3});
  const Tensor y = data::random_horizontal_flip(0.3)(x);
  const double flipped = sum((y.select(3, 0) == 3).to(float32)).item<double>();
  CHECK(std::abs(flipped - 1200) < 5 * std::sqrt(4000 * 0.3 * 0.7));
  CHECK(x[0][0][0][0].item<float>() == 1);  // the input is as it was
}

TEST_CASE("a crop is a window of the padded picture, and every place is reached") {
  const Tensor x = counted({1, 2, 4, 5});
  const Tensor middle = data::center_crop(2, 2)(x);
  CHECK(at(middle, 0, 1, 0, 0) == at(x, 0, 1, 1, 1));
  CHECK(equal(data::center_crop(4, 5)(x), x));
  CHECK(equal(data::random_crop(4, 5)(x), x));

  manual_seed(2);
  const Tensor many = counted({1, 1, 2, 2}).expand({500, 1, 2, 2});
  const Tensor y = data::random_crop(2, 2, 1)(many);
  const Tensor padded = pad(counted({1, 1, 2, 2}), {1, 1, 1, 1});
  std::set<std::pair<int64_t, int64_t>> seen;
  for (int64_t n = 0; n < 500; ++n)
    for (int64_t r = 0; r < 3; ++r)
      for (int64_t c = 0; c < 3; ++c)
        if (equal(y[n], padded[0].slice(1, r, r + 2).slice(2, c, c + 2))) seen.insert({r, c});
  CHECK(seen.size() == 9);
  CHECK(data::random_crop(3, 3, 2)(counted({5, 3, 2, 2}, uint8)).shape() == Shape({5, 3, 3, 3}));
  const Tensor far = data::random_crop(1, 1, 50)(counted({20, 1, 1, 1}));  // windows with nothing but padding
  CHECK(sum(far).item<double>() <= 210);
}

TEST_CASE("resizing is bilinear with pixel centres half a pixel inside") {
  const Tensor x = counted({1, 1, 2, 2});  // 1 2 / 3 4
  const Tensor y = data::resize(4, 4)(x);
  const double row[] = {1, 1.25, 1.75, 2};
  for (int64_t c = 0; c < 4; ++c) {
    CHECK(at(y, 0, 0, 0, c) == Approx(row[c]));
    CHECK(at(y, 0, 0, 1, c) == Approx(row[c] + 0.5));
    CHECK(at(y, 0, 0, 3, c) == Approx(row[c] + 2));
  }
  CHECK(equal(data::resize(2, 2)(x), x));
  CHECK(at(data::resize(1, 1)(x), 0, 0, 0, 0) == Approx(2.5));
  const Tensor ramp = arange(0, 30, 1, {.dtype = float32}).reshape({1, 1, 1, 30}).expand({2, 3, 7, 30});
  const Tensor half = data::resize(3, 15)(ramp);
  CHECK(half.shape() == Shape({2, 3, 3, 15}));
  CHECK(at(half, 1, 2, 1, 4) == Approx(8.5));
}

TEST_CASE("erasing takes its share of the picture, in one rectangle, with its probability") {
  manual_seed(3);
  const Tensor x = ones({300, 2, 20, 30});
  const Tensor y = data::random_erasing(0.5, 0.1)(x);
  int64_t erased = 0;
  for (int64_t n = 0; n < 300; ++n) {
    const Tensor gone = y[n] == 0;  // (2, 20, 30)
    const int64_t pixels = sum(gone[0]).item<int64_t>();
    CHECK(equal(gone[0], gone[1]));
    erased += pixels > 0;
    if (pixels == 0) continue;
    CHECK(std::abs(static_cast<double>(pixels) - 60) <= 16);  // both sides are rounded
    const int64_t rows = sum(any(gone[0], 1)).item<int64_t>(), columns = sum(any(gone[0], 0)).item<int64_t>();
    CHECK(rows * columns == pixels);
  }
  CHECK(std::abs(static_cast<double>(erased) - 150) < 5 * std::sqrt(300 * 0.25));
  CHECK(equal(data::random_erasing(0)(x), x));
}

TEST_CASE("transforms follow one another, and draw from the generator of their thread") {
  const data::Transform both = data::compose({data::to_float(), data::random_crop(3, 3, 1), data::center_crop(1, 1)});
  const Tensor x = randint(256, {50, 1, 3, 3}).to(uint8);
  manual_seed(4);
  const Tensor first = both(x), second = both(x);
  manual_seed(4);
  CHECK(equal(both(x), first));
  CHECK_FALSE(equal(first, second));
  CHECK(equal(data::compose({})(x), x));
}

TEST_CASE("nonsense is refused by name") {
  CHECK_THROWS_WITH(data::random_horizontal_flip(1.5), ContainsSubstring("random_horizontal_flip: p is 1.5"));
  CHECK_THROWS_AS(data::random_horizontal_flip(NAN), ValueError);
  CHECK_THROWS_AS(data::random_crop(0, 1), ValueError);
  CHECK_THROWS_AS(data::random_crop(1, 1, -1), ValueError);
  CHECK_THROWS_AS(data::center_crop(1, -1), ValueError);
  CHECK_THROWS_AS(data::resize(0, 0), ValueError);
  CHECK_THROWS_AS(data::random_erasing(0.5, 1), ValueError);
  CHECK_THROWS_AS(data::normalize({}, {}), ValueError);
  CHECK_THROWS_AS(data::normalize({0}, {0}), ValueError);
  CHECK_THROWS_AS(data::standardize({0, 0}, {1}), ValueError);
  CHECK_THROWS_AS(data::compose({data::Transform()}), ValueError);
  CHECK_THROWS_WITH(data::to_float()(ones({1, 1, 2, 2})), ContainsSubstring("to_float: images are float32"));
  CHECK_THROWS_AS(data::normalize({0}, {1})(ones({1, 1, 2, 2}, {.dtype = uint8})), DtypeError);
  CHECK_THROWS_AS(data::normalize({0, 0}, {1, 1})(ones({1, 3, 2, 2})), ShapeError);
  CHECK_THROWS_AS(data::resize(2, 2)(ones({1, 1, 2, 2}, {.dtype = uint8})), DtypeError);
  CHECK_THROWS_AS(data::resize(2, 2)(ones({1, 1, 0, 2})), ShapeError);
  CHECK_THROWS_WITH(data::center_crop(3, 3)(ones({1, 1, 2, 2})), ContainsSubstring("too small for 3 x 3"));
  CHECK_THROWS_AS(data::random_crop(3, 3)(ones({1, 1, 2, 2})), ShapeError);
  for (const data::Transform& transform :
       {data::random_horizontal_flip(), data::random_crop(1, 1), data::center_crop(1, 1), data::resize(1, 1),
        data::random_erasing(), data::to_float()}) {
    CHECK_THROWS_AS(transform(Tensor()), Error);
    CHECK_THROWS_AS(transform(ones({2, 2})), Error);
  }
}
