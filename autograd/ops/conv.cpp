// Convolution and its transpose. A convolution is bilinear in x and w, so each of its two gradients is an op of the
// same kind, and the derivatives of the three are one another: every order exists.
#include <gradus/autograd/detail/elementwise.h>

namespace gradus {
namespace {

Tensor convolve(const Tensor& x, const Tensor& w, const Tensor& b, const ConvArgs& args);
Tensor input_gradient(const Tensor& g, const Tensor& w, const Shape& x_shape, const ConvArgs& args);
Tensor weight_gradient(const Tensor& g, const Tensor& x, const Shape& w_shape, const ConvArgs& args);

int64_t convolved_size(int64_t size, const Window2d& window, int d) {
  return (size + 2 * window.padding[d] - window.dilation[d] * (window.kernel[d] - 1) - 1) / window.stride[d] + 1;
}

// y [N, O, OH, OW] from x [N, C, H, W], w [O, C / groups, kh, kw], b [O] or undefined.
Tensor convolve(const Tensor& x, const Tensor& w, const Tensor& b, const ConvArgs& args) {
  Tensor y = empty(
      {x.size(0), w.size(0), convolved_size(x.size(2), args.window, 0), convolved_size(x.size(3), args.window, 1)},
      {.dtype = x.dtype(), .device = x.device()});
  kernels::conv2d(x.device(), y, dense(x), dense(w), b.defined() ? dense(b) : b, args);
  return record("conv2d", std::move(y), {&x, &w, &b}, save(detail::wanted_by(w, x), detail::wanted_by(x, w)),
                [args, x_shape = x.shape(), w_shape = w.shape()](const Tensor& g, const Saved& s) -> Grads {
                  return {s.needs(0) ? input_gradient(g, s[1], x_shape, args) : Tensor(),
                          s.needs(1) ? weight_gradient(g, s[0], w_shape, args) : Tensor(),
                          s.needs(2) ? sum(g, {0, 2, 3}) : Tensor()};
                });
}

// sum_o w_o * g_o, every output spread back over the pixels that it came from.
Tensor input_gradient(const Tensor& g, const Tensor& w, const Shape& x_shape, const ConvArgs& args) {
  Tensor dx = empty(x_shape, {.dtype = g.dtype(), .device = g.device()});
  kernels::conv2d_backward_input(g.device(), dx, dense(g), dense(w), args);
  return record("conv2d_backward_input", std::move(dx), {&g, &w},
                save(detail::wanted_by(w, g), detail::wanted_by(g, w)),
                [args, w_shape = w.shape()](const Tensor& gg, const Saved& s) -> Grads {
                  return {s.needs(0) ? convolve(gg, s[1], {}, args) : Tensor(),
                          s.needs(1) ? weight_gradient(s[0], gg, w_shape, args) : Tensor()};
                });
}

Tensor weight_gradient(const Tensor& g, const Tensor& x, const Shape& w_shape, const ConvArgs& args) {
  Tensor dw = empty(w_shape, {.dtype = g.dtype(), .device = g.device()});
  kernels::conv2d_backward_weight(g.device(), dw, dense(g), dense(x), args);
  return record("conv2d_backward_weight", std::move(dw), {&g, &x},
                save(detail::wanted_by(x, g), detail::wanted_by(g, x)),
                [args, x_shape = x.shape()](const Tensor& gg, const Saved& s) -> Grads {
                  return {s.needs(0) ? convolve(s[1], gg, {}, args) : Tensor(),
                          s.needs(1) ? input_gradient(s[0], gg, x_shape, args) : Tensor()};
                });
}

// What both convolutions want of their operands; `channels_dim` is the dim of the weight that meets x's channels.
void check_operands(const char* op, const Tensor& x, const Tensor& weight, const Tensor& bias) {
  detail::check_floating(op, x);
  detail::check_defined(op, "weight", weight);
  detail::check_same(op, x, weight);
  GRADUS_CHECK(x.rank() == 4, ShapeError, "{}: x is {}; want [N, C, H, W]{}", op, x.shape(),
               x.rank() == 3 ? ", add the batch with x.unsqueeze(0)" : "");
  GRADUS_CHECK(weight.rank() == 4, ShapeError, "{}: weight is {}; want four dims, the last two being the kernel", op,
               weight.shape());
  GRADUS_CHECK(x.numel() > 0 || (x.size(0) == 0 && x.size(1) > 0 && x.size(2) > 0 && x.size(3) > 0), ShapeError,
               "{}: x is {}; only the batch may be empty", op, x.shape());
  GRADUS_CHECK(weight.numel() > 0, ShapeError, "{}: weight is {}; no dim may be empty", op, weight.shape());
  if (bias.defined()) detail::check_same(op, x, bias);
}

// The limits keep the arithmetic of sizes far from overflow.
ConvArgs checked_args(const char* op, const Tensor& weight, Pair stride, Pair padding, Pair dilation, int64_t groups) {
  constexpr int64_t limit = int64_t{1} << 30;
  const auto within = [](Pair pair, int64_t low) {
    return pair.h >= low && pair.w >= low && pair.h <= limit && pair.w <= limit;
  };
  GRADUS_CHECK(within(stride, 1), ValueError, "{}: stride is ({}, {}); want 1 or more", op, stride.h, stride.w);
  GRADUS_CHECK(within(padding, 0), ValueError, "{}: padding is ({}, {}); want 0 or more", op, padding.h, padding.w);
  GRADUS_CHECK(within(dilation, 1), ValueError, "{}: dilation is ({}, {}); want 1 or more", op, dilation.h, dilation.w);
  GRADUS_CHECK(groups >= 1 && weight.size(0) % groups == 0, ValueError,
               "{}: groups is {}; want a divisor of the {} channels in dim 0 of weight {}", op, groups, weight.size(0),
               weight.shape());
  return {.window = {.kernel = {weight.size(2), weight.size(3)},
                     .stride = {stride.h, stride.w},
                     .padding = {padding.h, padding.w},
                     .dilation = {dilation.h, dilation.w}},
          .groups = groups};
}

}  // namespace

Tensor conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias, const Conv2dParams& params) {
  check_operands("conv2d", x, weight, bias);
  const ConvArgs args = checked_args("conv2d", weight, params.stride, params.padding, params.dilation, params.groups);
  GRADUS_CHECK(x.size(1) == weight.size(1) * params.groups, ShapeError,
               "conv2d: x {} has {} channels; weight {} with {} groups wants {}", x.shape(), x.size(1), weight.shape(),
               params.groups, weight.size(1) * params.groups);
  for (const int d : {0, 1}) {
    const int64_t reach = args.window.dilation[d] * (args.window.kernel[d] - 1) + 1;
    GRADUS_CHECK(x.size(2 + d) + 2 * args.window.padding[d] >= reach, ShapeError,
                 "conv2d: the kernel covers {} pixels in dim {}, x {} with padding {} has {}", reach, 2 + d, x.shape(),
                 args.window.padding[d], x.size(2 + d) + 2 * args.window.padding[d]);
  }
  GRADUS_CHECK(!bias.defined() || bias.shape() == Shape{weight.size(0)}, ShapeError,
               "conv2d: bias is {}; weight {} wants [{}]", bias.shape(), weight.shape(), weight.size(0));
  return convolve(x, weight, bias, args);
}

Tensor conv_transpose2d(const Tensor& x, const Tensor& weight, const Tensor& bias,
                        const ConvTranspose2dParams& params) {
  constexpr char op[] = "conv_transpose2d";
  check_operands(op, x, weight, bias);
  const ConvArgs args = checked_args(op, weight, params.stride, params.padding, params.dilation, params.groups);
  GRADUS_CHECK(x.size(1) == weight.size(0), ShapeError, "{}: x {} has {} channels; weight {} wants {}", op, x.shape(),
               x.size(1), weight.shape(), weight.size(0));
  const int64_t outputs = weight.size(1) * params.groups;
  GRADUS_CHECK(!bias.defined() || bias.shape() == Shape{outputs}, ShapeError, "{}: bias is {}; weight {} wants [{}]",
               op, bias.shape(), weight.shape(), outputs);
  const int64_t extra[2] = {params.output_padding.h, params.output_padding.w};
  Shape shape = {x.size(0), outputs, 0, 0};
  for (const int d : {0, 1}) {
    const Window2d& window = args.window;
    GRADUS_CHECK(extra[d] >= 0 && extra[d] < std::max(window.stride[d], window.dilation[d]), ValueError,
                 "{}: output_padding is ({}, {}); want less than stride or dilation, which are {} and {} in dim {}", op,
                 extra[0], extra[1], window.stride[d], window.dilation[d], 2 + d);
    shape[2 + d] = (x.size(2 + d) - 1) * window.stride[d] - 2 * window.padding[d] +
                   window.dilation[d] * (window.kernel[d] - 1) + extra[d] + 1;
    GRADUS_CHECK(shape[2 + d] > 0, ShapeError, "{}: padding {} leaves nothing of dim {} of x {}", op, window.padding[d],
                 2 + d, x.shape());
  }
  const Tensor y = input_gradient(x, weight, shape, args);
  return bias.defined() ? y + bias.reshape({outputs, 1, 1}) : y;
}

}  // namespace gradus
