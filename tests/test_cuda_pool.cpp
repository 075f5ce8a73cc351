// Pooling on a CUDA device, against the CPU's.
#include <cmath>

#include "beside_cpu.h"

using namespace gradus;
using namespace beside_cpu;
using Catch::Matchers::ContainsSubstring;

namespace {

struct Geometry {
  Shape x;
  Pair kernel;
  Pool2dParams params;
};
// Windows apart, side by side and over one another; padding, one row, planes of several bands, no image.
const Geometry geometries[] = {
    {{2, 3, 6, 8}, 2, {}},
    {{1, 2, 9, 7}, 3, {.stride = Pair(1), .padding = 1}},
    {{2, 1, 10, 5}, {3, 2}, {.stride = Pair{2, 3}, .padding = {1, 0}}},
    {{1, 1, 1, 40}, {1, 5}, {.stride = Pair(2), .padding = {0, 2}}},
    {{1, 2, 30, 31}, 5, {.stride = Pair(2), .padding = 2}},
    {{3, 1, 4, 4}, 4, {.stride = Pair(7)}},
    {{0, 3, 4, 4}, 2, {}},
};

// Whole numbers, so that windows have ties, unless `plain`.
Tensor image(const Shape& shape, Dtype dtype, bool plain = true) {
  const Tensor x = randn(shape);
  return (plain ? x : floor(x * 2)).to(dtype);
}

// y = op(x), and the gradient for x when y's is a random one.
template <class Op>
void check(const Tensor& x, Op op) {
  const Tensor g = randn(op(x).shape()).to(x.dtype());
  struct Results {
    Tensor y, dx;
  };
  const auto on = [&](Device device) {
    const Tensor in = x.detach().clone().to(device);
    in.requires_grad_();
    const Tensor y = op(in);
    y.backward(g.to(device));
    return Results{y.detach(), in.grad()};
  };
  const Results here = on(cpu);
  under_seeds([&] {
    const Results there = on(gpu);
    CHECK(difference(there.y, here.y) == "");
    CHECK(difference(there.dx, here.dx) == "");
  });
}

}  // namespace

TEST_CASE("pooling over windows, and its derivative") {
  for (const Dtype dtype : floating)
    for (const Geometry& geometry : geometries) {
      INFO(name(dtype) << ", kernel " << geometry.kernel.h << " x " << geometry.kernel.w << ", " << geometry.x.size());
      const auto& [shape, kernel, params] = geometry;
      for (const bool plain : {true, false})
        check(image(shape, dtype, plain), [&](const Tensor& x) { return max_pool2d(x, kernel, params); });
      for (const bool count_include_pad : {true, false}) {
        Pool2dParams with = params;
        with.count_include_pad = count_include_pad;
        check(image(shape, dtype), [&](const Tensor& x) { return avg_pool2d(x, kernel, with); });
      }
    }
}

TEST_CASE("maxima of windows with holes") {
  const Pool2dParams params{.stride = Pair{1, 2}, .padding = {2, 1}, .dilation = {3, 2}};
  for (const Dtype dtype : floating)
    check(image({2, 2, 9, 8}, dtype, false), [&](const Tensor& x) { return max_pool2d(x, {3, 2}, params); });
}

TEST_CASE("pooling to a given size, and its derivative") {
  for (const Dtype dtype : floating)
    for (const Pair out : {Pair(1), Pair{3, 4}, Pair{7, 5}, Pair{11, 9}}) {
      INFO(name(dtype) << ", to " << out.h << " x " << out.w);
      const Tensor x = image({2, 3, 7, 6}, dtype, false);
      check(x, [&](const Tensor& in) { return adaptive_max_pool2d(in, out); });
      check(x, [&](const Tensor& in) { return adaptive_avg_pool2d(in, out); });
    }
}

TEST_CASE("the place of a maximum: the first of equals, the last NaN") {
  Tensor x = image({1, 2, 6, 7}, float32, false);
  x.slice(3, 2, 3).fill_(std::nan(""));
  const Window2d window{.kernel = {3, 3}, .stride = {2, 2}, .padding = {1, 1}};
  const auto on = [&](Device device) {
    Tensor y = empty({1, 2, 3, 4}, {.device = device}), index = empty(y.shape(), {.dtype = int64, .device = device});
    kernels::max_pool2d(device, y, index, x.to(device), window);
    return std::pair{y.to(cpu), index.to(cpu)};
  };
  const auto [y, index] = on(cpu);
  const auto [device_y, device_index] = on(gpu);
  CHECK(difference(device_y, y) == "");
  CHECK(equal(device_index, index));
}

TEST_CASE("many outputs of one pixel are added in their order") {
  // One pixel is the maximum of all windows: float32 sums depend on the order.
  Tensor x = zeros({1, 1, 9, 9});
  x.slice(2, 4, 5).slice(3, 4, 5).fill_(1);
  const Pool2dParams params{.stride = Pair(1), .padding = 4};
  const Tensor g = randn({1, 1, 9, 9}) * 1e3;
  const auto gradient = [&](Device device) {
    const Tensor in = x.clone().to(device);
    in.requires_grad_();
    max_pool2d(in, 9, params).backward(g.to(device));
    return in.grad().to(cpu);
  };
  CHECK(equal(gradient(gpu), gradient(cpu)));
}

TEST_CASE("an index outside of the plane is left out") {
  const Tensor index = tensor({-1, 3, 4, int64_t{1} << 40}, {.dtype = int64}).reshape({1, 1, 2, 2});
  Tensor dx = empty({1, 1, 2, 2}, {.device = gpu});
  kernels::max_pool2d_backward(gpu, dx, ones({1, 1, 2, 2}).to(gpu), index.to(gpu));
  CHECK(equal(dx.to(cpu), tensor({0, 0, 0, 1}).reshape({1, 1, 2, 2})));
}

TEST_CASE("images larger than a kernel can count are refused") {
  const Tensor x = ones({1, 1, 1, 1}).to(gpu);
  const Pool2dParams params{.stride = Pair(1 << 30), .padding = 1 << 29};
  std::string message;
  try {
    avg_pool2d(x, 1 << 30, params);
  } catch (const ShapeError& error) {
    message = error.what();
  }
  CHECK_THAT(message, ContainsSubstring("avg_pool2d") && ContainsSubstring("padding"));
}
