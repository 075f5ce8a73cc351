// Pooling over windows of the last two dims. The gradient of a maximum goes to the pixel it came from; a mean is
// linear, so it and its gradient are each other's derivatives.
#include <gradus/autograd/detail/elementwise.h>

namespace gradus {
namespace {

void check_image(const char* op, const Tensor& x) {
  detail::check_floating(op, x);
  GRADUS_CHECK(x.rank() == 4, ShapeError, "{}: x is {}; want [N, C, H, W]{}", op, x.shape(),
               x.rank() == 3 ? ", add the batch with x.unsqueeze(0)" : "");
  GRADUS_CHECK(x.size(2) > 0 && x.size(3) > 0, ShapeError, "{}: x is {}; height and width may not be empty", op,
               x.shape());
}

// The limit keeps the arithmetic of sizes far from overflow.
void check_pair(const char* op, const char* name, Pair pair, int64_t low) {
  constexpr int64_t limit = int64_t{1} << 30;
  GRADUS_CHECK(pair.h >= low && pair.w >= low && pair.h <= limit && pair.w <= limit, ValueError,
               "{}: {} is ({}, {}); want {} or more", op, name, pair.h, pair.w, low);
}

Window2d checked_window(const char* op, const Tensor& x, Pair kernel, const Pool2dParams& params) {
  const Pair stride = params.stride.value_or(kernel);
  check_pair(op, "kernel", kernel, 1);
  check_pair(op, "stride", stride, 1);
  check_pair(op, "padding", params.padding, 0);
  check_pair(op, "dilation", params.dilation, 1);
  const Window2d window{.kernel = {kernel.h, kernel.w},
                        .stride = {stride.h, stride.w},
                        .padding = {params.padding.h, params.padding.w},
                        .dilation = {params.dilation.h, params.dilation.w}};
  for (const int d : {0, 1}) {
    const int64_t size = x.size(2 + d), reach = window.dilation[d] * (window.kernel[d] - 1) + 1;
    GRADUS_CHECK(window.padding[d] <= reach / 2, ValueError,
                 "{}: padding {} in dim {}; want at most half of the {} pixels that the kernel covers", op,
                 window.padding[d], 2 + d, reach);
    GRADUS_CHECK(size + 2 * window.padding[d] >= reach, ShapeError,
                 "{}: the kernel covers {} pixels in dim {}, x {} with padding {} has {}", op, reach, 2 + d, x.shape(),
                 window.padding[d], size + 2 * window.padding[d]);
    // Else a dilated kernel could see padding alone.
    GRADUS_CHECK(window.padding[d] == 0 || window.dilation[d] <= size, ShapeError,
                 "{}: dilation {} steps over dim {} of x {}; leave out the padding", op, window.dilation[d], 2 + d,
                 x.shape());
  }
  return window;
}

Shape pooled(const Tensor& x, const Window2d& window) {
  Shape shape = x.shape();
  for (const int d : {0, 1})
    shape[2 + d] =
        (shape[2 + d] + 2 * window.padding[d] - window.dilation[d] * (window.kernel[d] - 1) - 1) / window.stride[d] + 1;
  return shape;
}

Shape adapted(const char* op, const Tensor& x, Pair output) {
  check_pair(op, "output", output, 1);
  return {x.size(0), x.size(1), output.h, output.w};
}

Tensor like(const Tensor& x, const Shape& shape) { return empty(shape, {.dtype = x.dtype(), .device = x.device()}); }

// ---- maximum
Tensor at_maximum(const Tensor& g, const Tensor& index, const Shape& x_shape);

// The elements of x [N, C, H, W] at index [N, C, OH, OW], which counts within H W.
Tensor from_maximum(const Tensor& x, const Tensor& index) {
  return gather(x.reshape({x.size(0), x.size(1), x.size(2) * x.size(3)}), 2,
                index.reshape({index.size(0), index.size(1), index.size(2) * index.size(3)}))
      .reshape(index.shape());
}

// Zeros of x's shape with g added at the index of each maximum.
Tensor at_maximum(const Tensor& g, const Tensor& index, const Shape& x_shape) {
  Tensor dx = like(g, x_shape);
  kernels::max_pool2d_backward(g.device(), dx, dense(g), index);
  return record("max_pool2d_backward", std::move(dx), {&g}, save(index),
                [](const Tensor& gg, const Saved& s) -> Grads { return {from_maximum(gg, s[0])}; });
}

// y from kernel(y, index), the index being wanted for a gradient only.
template <class Kernel>
Tensor maximum_by(const char* op, const Tensor& x, const Shape& shape, Kernel kernel) {
  Tensor y = like(x, shape), index;
  if (grad_enabled() && x.requires_grad()) index = empty(shape, {.dtype = int64, .device = x.device()});
  kernel(y, index);
  return record(op, std::move(y), {&x}, save(index),
                [](const Tensor& g, const Saved& s) -> Grads { return {at_maximum(g, s[0], s.shape(0))}; });
}

// ---- mean
Tensor mean_gradient(const Tensor& g, const Shape& x_shape, const Window2d& window, bool count_include_pad);

Tensor mean_by(const Tensor& x, const Window2d& window, bool count_include_pad) {
  Tensor y = like(x, pooled(x, window));
  kernels::avg_pool2d(x.device(), y, dense(x), window, count_include_pad);
  return record("avg_pool2d", std::move(y), {&x}, save(),
                [window, count_include_pad](const Tensor& g, const Saved& s) -> Grads {
                  return {mean_gradient(g, s.shape(0), window, count_include_pad)};
                });
}
Tensor mean_gradient(const Tensor& g, const Shape& x_shape, const Window2d& window, bool count_include_pad) {
  Tensor dx = like(g, x_shape);
  kernels::avg_pool2d_backward(g.device(), dx, dense(g), window, count_include_pad);
  return record("avg_pool2d_backward", std::move(dx), {&g}, save(),
                [window, count_include_pad](const Tensor& gg, const Saved&) -> Grads {
                  return {mean_by(gg, window, count_include_pad)};
                });
}

Tensor adaptive_mean_gradient(const Tensor& g, const Shape& x_shape) {
  Tensor dx = like(g, x_shape);
  kernels::adaptive_avg_pool2d_backward(g.device(), dx, dense(g));
  return record("adaptive_avg_pool2d_backward", std::move(dx), {&g}, save(),
                [h = g.size(2), w = g.size(3)](const Tensor& gg, const Saved&) -> Grads {
                  return {adaptive_avg_pool2d(gg, {h, w})};
                });
}

}  // namespace

Tensor max_pool2d(const Tensor& x, Pair kernel, const Pool2dParams& params) {
  check_image("max_pool2d", x);
  const Window2d window = checked_window("max_pool2d", x, kernel, params);
  return maximum_by("max_pool2d", x, pooled(x, window),
                    [&](Tensor& y, Tensor& index) { kernels::max_pool2d(x.device(), y, index, dense(x), window); });
}

Tensor adaptive_max_pool2d(const Tensor& x, Pair output) {
  check_image("adaptive_max_pool2d", x);
  return maximum_by("adaptive_max_pool2d", x, adapted("adaptive_max_pool2d", x, output),
                    [&](Tensor& y, Tensor& index) { kernels::adaptive_max_pool2d(x.device(), y, index, dense(x)); });
}

Tensor avg_pool2d(const Tensor& x, Pair kernel, const Pool2dParams& params) {
  check_image("avg_pool2d", x);
  GRADUS_CHECK(params.dilation.h == 1 && params.dilation.w == 1, ValueError,
               "avg_pool2d: dilation is ({}, {}); a mean has none, use conv2d", params.dilation.h, params.dilation.w);
  return mean_by(x, checked_window("avg_pool2d", x, kernel, params), params.count_include_pad);
}

Tensor adaptive_avg_pool2d(const Tensor& x, Pair output) {
  check_image("adaptive_avg_pool2d", x);
  Tensor y = like(x, adapted("adaptive_avg_pool2d", x, output));
  kernels::adaptive_avg_pool2d(x.device(), y, dense(x));
  return record("adaptive_avg_pool2d", std::move(y), {&x}, save(),
                [](const Tensor& g, const Saved& s) -> Grads { return {adaptive_mean_gradient(g, s.shape(0))}; });
}

}  // namespace gradus
