// The convolution kernels against the definition over a grid of geometries, equal bits for any number of threads.
#include <cmath>
#include <cstring>

#include "catch.h"

#include <gradus/core/kernels.h>
#include <gradus/core/parallel.h>
#include <gradus/core/random.h>
#include <gradus/gradus.h>

using namespace gradus;

namespace {

struct Geometry {
  Shape x, w;
  Pair stride = 1, padding = 0, dilation = 1;
  int64_t groups = 1;

  ConvArgs args() const {
    return {.window = {.kernel = {w[2], w[3]},
                       .stride = {stride.h, stride.w},
                       .padding = {padding.h, padding.w},
                       .dilation = {dilation.h, dilation.w}},
            .groups = groups};
  }
  Shape y() const {
    return {x[0], w[0], (x[2] + 2 * padding.h - dilation.h * (w[2] - 1) - 1) / stride.h + 1,
            (x[3] + 2 * padding.w - dilation.w * (w[3] - 1) - 1) / stride.w + 1};
  }
};

// Calls body(x index, w index, y index) for each product of the definition.
template <class Body>
void for_each_product(const Geometry& g, Body body) {
  const Shape &x = g.x, &w = g.w, y = g.y();
  for (int64_t n = 0; n < y[0]; ++n)
    for (int64_t o = 0; o < y[1]; ++o)
      for (int64_t c = 0; c < w[1]; ++c)
        for (int64_t i = 0; i < w[2]; ++i)
          for (int64_t j = 0; j < w[3]; ++j)
            for (int64_t oh = 0; oh < y[2]; ++oh)
              for (int64_t ow = 0; ow < y[3]; ++ow) {
                const int64_t h = oh * g.stride.h - g.padding.h + i * g.dilation.h,
                              v = ow * g.stride.w - g.padding.w + j * g.dilation.w;
                if (h < 0 || h >= x[2] || v < 0 || v >= x[3]) continue;
                const int64_t channel = o / (w[0] / g.groups) * w[1] + c;
                body(((n * x[1] + channel) * x[2] + h) * x[3] + v, ((o * w[1] + c) * w[2] + i) * w[3] + j,
                     ((n * y[1] + o) * y[2] + oh) * y[3] + ow);
              }
}

double worst_error(const Tensor& have, const std::vector<double>& want) {
  const Tensor x = have.to(float64);
  double worst = 0;
  for (size_t i = 0; i < want.size(); ++i) worst = std::max(worst, std::abs(x.data<double>()[i] - want[i]));
  return worst;
}

double unit(Dtype dtype) {
  return dtype == float64 ? 0x1p-52 : dtype == float32 ? 0x1p-23 : dtype == float16 ? 0x1p-10 : 0x1p-7;
}

std::vector<double> vector_of(int64_t n) { return std::vector<double>(static_cast<size_t>(n)); }

void check_geometry(const Geometry& geometry, Dtype dtype) {
  INFO("x " << to_string(geometry.x) << " w " << to_string(geometry.w) << " stride " << geometry.stride.h << " "
            << geometry.stride.w << " padding " << geometry.padding.h << " " << geometry.padding.w << " dilation "
            << geometry.dilation.h << " " << geometry.dilation.w << " groups " << geometry.groups << " "
            << name(dtype));
  const Tensor x = randn(geometry.x).to(dtype), w = randn(geometry.w).to(dtype), g = randn(geometry.y()).to(dtype),
               b = randn({geometry.w[0]}).to(dtype);
  const Tensor x64 = x.to(float64), w64 = w.to(float64), g64 = g.to(float64), b64 = b.to(float64);
  std::vector<double> y = vector_of(g.numel()), dx = vector_of(x.numel()), dw = vector_of(w.numel());
  const int64_t plane = g.size(2) * g.size(3);
  for (size_t i = 0; i < y.size(); ++i) y[i] = b64.data<double>()[static_cast<int64_t>(i) / plane % b.numel()];
  for_each_product(geometry, [&](int64_t ix, int64_t iw, int64_t iy) {
    y[static_cast<size_t>(iy)] += x64.data<double>()[ix] * w64.data<double>()[iw];
    dx[static_cast<size_t>(ix)] += g64.data<double>()[iy] * w64.data<double>()[iw];
    dw[static_cast<size_t>(iw)] += g64.data<double>()[iy] * x64.data<double>()[ix];
  });
  Tensor have_y = empty_like(g), have_dx = empty_like(x), have_dw = empty_like(w);
  kernels::conv2d(Device::cpu(), have_y, x, w, b, geometry.args());
  kernels::conv2d_backward_input(Device::cpu(), have_dx, g, w, geometry.args());
  kernels::conv2d_backward_weight(Device::cpu(), have_dw, g, x, geometry.args());
  const auto bound = [&](int64_t terms) { return unit(dtype) * (32 + 4 * static_cast<double>(terms)); };
  CHECK(worst_error(have_y, y) < bound(w.numel() / w.size(0)));
  CHECK(worst_error(have_dx, dx) < bound(w.numel() / w.size(1)));
  CHECK(worst_error(have_dw, dw) < bound(geometry.x[0] * plane));
}

bool same_bits(const Tensor& x, const Tensor& y) {
  return std::memcmp(x.raw_data(), y.raw_data(), static_cast<size_t>(x.nbytes())) == 0;
}

}  // namespace

TEST_CASE("convolution kernels equal the definition: stride, padding, dilation") {
  manual_seed(1);
  for (const int64_t stride : {1, 2, 3})
    for (const int64_t padding : {0, 1, 2})
      for (const int64_t dilation : {1, 2})
        for (const Dtype dtype : {float32, float64})
          check_geometry({.x = {3, 5, 9, 11},
                          .w = {7, 5, 3, 2},
                          .stride = {stride, 1},
                          .padding = {1, padding},
                          .dilation = {1, dilation}},
                         dtype);
}

TEST_CASE("convolution kernels equal the definition: channels and groups") {
  manual_seed(2);
  for (const Dtype dtype : {float32, float64, float16, bfloat16}) {
    for (const auto& [channels, outputs] :
         {std::pair<int64_t, int64_t>{1, 16}, {3, 32}, {16, 1}, {32, 3}, {16, 32}, {33, 17}})
      check_geometry({.x = {2, channels, 7, 6}, .w = {outputs, channels, 3, 3}, .padding = 1}, dtype);
    check_geometry({.x = {2, 8, 6, 6}, .w = {12, 2, 3, 3}, .padding = 1, .groups = 4}, dtype);
    check_geometry({.x = {2, 16, 6, 6}, .w = {16, 1, 3, 3}, .stride = 2, .padding = 1, .groups = 16}, dtype);
    check_geometry({.x = {2, 4, 6, 6}, .w = {8, 1, 3, 3}, .groups = 4}, dtype);
    check_geometry({.x = {2, 32, 5, 5}, .w = {16, 32, 1, 1}}, dtype);
    check_geometry({.x = {1, 6, 5, 5}, .w = {4, 6, 1, 1}, .stride = 2}, dtype);
    check_geometry({.x = {1, 2, 5, 5}, .w = {4, 2, 5, 5}, .padding = 4}, dtype);  // pixels that only padding touches
    check_geometry({.x = {1, 2, 5, 5}, .w = {4, 2, 2, 2}, .stride = 4}, dtype);   // pixels that nothing touches
  }
}

TEST_CASE("convolution: batches of any size, cut into pieces") {
  manual_seed(3);
  for (const int64_t batch : {1, 7, 16, 24, 61})
    check_geometry({.x = {batch, 8, 6, 7}, .w = {16, 8, 3, 3}, .padding = 1}, float32);
}

TEST_CASE("convolution: the same bits for any number of threads") {
  manual_seed(4);
  const int before = num_threads();
  const ConvArgs args{.window = {.kernel = {3, 3}, .padding = {1, 1}}};
  for (const Dtype dtype : {float32, float64, bfloat16}) {
    const Tensor x = randn({40, 12, 14, 14}).to(dtype), w = randn({20, 12, 3, 3}).to(dtype),
                 g = randn({40, 20, 14, 14}).to(dtype);
    std::vector<Tensor> results;
    for (const int threads : {1, 2, 5}) {
      set_num_threads(threads);
      Tensor y = empty_like(g), dx = empty_like(x), dw = empty_like(w);
      kernels::conv2d(Device::cpu(), y, x, w, {}, args);
      kernels::conv2d_backward_input(Device::cpu(), dx, g, w, args);
      kernels::conv2d_backward_weight(Device::cpu(), dw, g, x, args);
      if (results.empty()) results = {y, dx, dw};
      CHECK(same_bits(y, results[0]));
      CHECK(same_bits(dx, results[1]));
      CHECK(same_bits(dw, results[2]));
    }
  }
  set_num_threads(before);
}

TEST_CASE("an empty batch has no gradient of weights") {
  Tensor dw = full({4, 2, 3, 3}, 7.f);
  kernels::conv2d_backward_weight(Device::cpu(), dw, zeros({0, 4, 6, 6}), zeros({0, 2, 8, 8}),
                                  {.window = {.kernel = {3, 3}}});
  CHECK(sum(dw).item<float>() == 0);
}
