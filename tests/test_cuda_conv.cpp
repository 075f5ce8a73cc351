// Convolution on a CUDA device, against the CPU's.
#include "beside_cpu.h"

using namespace gradus;
using namespace beside_cpu;
using Catch::Matchers::ContainsSubstring;

namespace {

struct Problem {
  Shape x, w;
  Conv2dParams params;
};
const Problem problems[] = {
    {{2, 3, 5, 6}, {4, 3, 3, 3}, {.padding = 1}},
    {{1, 1, 1, 1}, {1, 1, 1, 1}, {}},
    {{3, 2, 7, 5}, {3, 2, 1, 1}, {.stride = 2}},
    {{2, 4, 8, 7}, {6, 2, 3, 2}, {.stride = {2, 1}, .padding = {2, 1}, .dilation = {1, 2}, .groups = 2}},
    {{5, 3, 6, 6}, {6, 1, 3, 3}, {.padding = 1, .groups = 3}},   // depthwise, more images than groups
    {{1, 3, 9, 9}, {2, 3, 3, 3}, {.stride = 4, .dilation = 2}},  // some pixels are never seen
    {{1, 2, 2, 3}, {2, 2, 3, 3}, {.padding = 3}},                // some outputs see padding alone
    {{0, 2, 4, 4}, {3, 2, 3, 3}, {}},
};

struct Results {
  Tensor y, dx, dw;
};
// Of the three slots, as a convolution and its derivatives call them.
Results run(Device device, const Tensor& x, const Tensor& w, const Tensor& bias, const Tensor& g,
            const ConvArgs& args) {
  const Tensor on_x = x.to(device), on_w = w.to(device), on_g = g.to(device);
  Results r{empty_like(on_g), empty_like(on_x), empty_like(on_w)};
  kernels::conv2d(device, r.y, on_x, on_w, bias.defined() ? bias.to(device) : bias, args);
  kernels::conv2d_backward_input(device, r.dx, on_g, on_w, args);
  kernels::conv2d_backward_weight(device, r.dw, on_g, on_x, args);
  return r;
}

void check(const Problem& problem, Dtype dtype, bool with_bias, std::initializer_list<uint64_t> seeds = {0, 7, 23}) {
  INFO(name(dtype) << ", bias " << with_bias << ", x [" << problem.x[0] << ", " << problem.x[1] << ", " << problem.x[2]
                   << ", " << problem.x[3] << "], kernel " << problem.w[2] << " x " << problem.w[3]);
  const auto& [stride, padding, dilation, groups] = problem.params;
  const ConvArgs args{.window = {.kernel = {problem.w[2], problem.w[3]},
                                 .stride = {stride.h, stride.w},
                                 .padding = {padding.h, padding.w},
                                 .dilation = {dilation.h, dilation.w}},
                      .groups = groups};
  const Tensor x = randn(problem.x).to(dtype), w = randn(problem.w).to(dtype);
  const Tensor bias = with_bias ? randn({problem.w[0]}).to(dtype) : Tensor();
  const Tensor g = randn(conv2d(x, w, {}, problem.params).shape()).to(dtype);
  const Results here = run(cpu, x, w, bias, g, args);
  for (const uint64_t seed : orders(seeds)) {
    INFO("seed " << seed);
    const emulated::Seed order(seed);
    const Results there = run(gpu, x, w, bias, g, args);
    CHECK(difference(there.y, here.y) == "");
    CHECK(difference(there.dx, here.dx) == "");
    CHECK(difference(there.dw, here.dw) == "");
  }
}

}  // namespace

TEST_CASE("convolution and its derivatives") {
  for (const Dtype dtype : floating)
    for (const Problem& problem : problems)
      for (const bool with_bias : {false, true}) check(problem, dtype, with_bias);
}

// The buffer of columns holds 32 MiB.
TEST_CASE("a batch whose columns are too many takes its images a few at a time") {
  check({{3, 1, 450, 451}, {1, 1, 3, 3}, {.padding = 1}}, float64, true, {0});
}
TEST_CASE("an image whose columns are too many is taken in parts") {
  check({{1, 4, 600, 605}, {2, 2, 3, 2}, {.padding = 1, .groups = 2}}, float64, true, {0});
}

TEST_CASE("transposed convolution") {
  for (const Dtype dtype : floating) {
    const ConvTranspose2dParams params{.stride = {2, 3}, .padding = 1, .output_padding = {1, 0}, .groups = 2};
    const Tensor x = randn({2, 4, 3, 5}).to(dtype), w = randn({4, 2, 3, 3}).to(dtype), bias = randn({4}).to(dtype);
    CHECK(difference(conv_transpose2d(x.to(gpu), w.to(gpu), bias.to(gpu), params),
                     conv_transpose2d(x, w, bias, params)) == "");
  }
}

TEST_CASE("two runs have the same bits") {
  const Tensor x = randn({4, 3, 9, 9}), w = randn({5, 3, 3, 3}), g = randn({4, 5, 7, 7});
  const ConvArgs args{.window = {.kernel = {3, 3}}};
  const Results first = run(gpu, x, w, {}, g, args);
  const emulated::Seed order(11);
  const Results second = run(gpu, x, w, {}, g, args);
  CHECK(equal(first.y.to(cpu), second.y.to(cpu)));
  CHECK(equal(first.dx.to(cpu), second.dx.to(cpu)));
  CHECK(equal(first.dw.to(cpu), second.dw.to(cpu)));
}

TEST_CASE("padding larger than a kernel can count is refused") {
  const Tensor x = ones({1, 1, 1, 1}).to(gpu), w = ones({1, 1, 1, 1}).to(gpu);
  std::string message;
  try {
    conv2d(x, w, {}, {.stride = 1 << 30, .padding = {1 << 30, 0}});
  } catch (const ShapeError& error) {
    message = error.what();
  }
  CHECK_THAT(message, ContainsSubstring("conv2d: an image's side with its padding is 2147483649"));
}
