// Normalisations. Each is a fused kernel forward and backward; derivatives of higher order go through the composite
// twin written in public ops.
#include <gradus/autograd/autograd.h>
#include <gradus/autograd/detail/twin.h>
#include <gradus/autograd/ops.h>
#include <gradus/core/detail/check.h>
#include <gradus/core/kernels.h>

namespace gradus {
namespace {

// ---- checks and shapes

void check_eps(const char* op, double eps) {
  GRADUS_CHECK(eps >= 0 && eps < 1e300, ValueError, "{}: eps is {}; want a small number, 0 or more", op, eps);
}

// A weight, bias or running statistic: absent, or of the wanted shape beside x.
void check_parameter(const char* op, const char* name, const Tensor& parameter, const Shape& want, const Tensor& x) {
  if (!parameter.defined()) return;
  GRADUS_CHECK(parameter.shape() == want, ShapeError, "{}: {} is {}; want {} for x {}", op, name, parameter.shape(),
               want, x.shape());
  GRADUS_CHECK(parameter.device() == x.device(), DeviceError, "{}: {} on {}, x on {}; move one with x.to(device)", op,
               name, parameter.device(), x.device());
}

void check_factor(const char* op, const char* name, const Tensor& parameter, const Shape& want, const Tensor& x) {
  check_parameter(op, name, parameter, want, x);
  GRADUS_CHECK(!parameter.defined() || parameter.dtype() == x.dtype(), DtypeError,
               "{}: {} is {}, x {}; convert one with x.to({})", op, name, parameter.dtype(), x.dtype(), x.dtype());
}

// Checks that x ends in the dims `normalized`, and returns x's shape as {rows, elements of a row}.
Shape normalized_rows(const char* op, const Tensor& x, const Shape& normalized) {
  detail::check_floating(op, "x", x);
  const int lead = x.rank() - normalized.rank();
  bool fits = normalized.rank() > 0 && lead >= 0;
  for (int d = 0; fits && d < normalized.rank(); ++d) fits = normalized[d] == x.shape()[lead + d];
  GRADUS_CHECK(fits, ShapeError, "{}: x {} does not end in the normalized dims {}", op, x.shape(), normalized);
  int64_t rows = 1;
  for (int d = 0; d < lead; ++d) rows *= x.shape()[d];
  return {rows, normalized.numel()};
}

// Checks [N, C, ...] and returns it as {N, C, elements of a channel}.
Shape channel_shape(const char* op, const Tensor& x) {
  detail::check_floating(op, "x", x);
  GRADUS_CHECK(x.rank() >= 2, ShapeError, "{}: x is {}; want [N, C, ...]", op, x.shape());
  int64_t length = 1;
  for (int d = 2; d < x.rank(); ++d) length *= x.shape()[d];
  return {x.size(0), x.size(1), length};
}

// Seen with another shape, for a kernel; an absent tensor stays absent.
Tensor seen_as(const Tensor& x, const Shape& shape) { return x.defined() ? reshaped(dense(x), shape) : x; }

// Statistics of 16-bit tensors are float32.
Tensor statistics(const Shape& shape, const Tensor& x) {
  return empty(shape, {.dtype = x.dtype() == float64 ? float64 : float32, .device = x.device()});
}

// Room for the gradient of input i, which was saved as tensor i, when it is wanted.
Tensor gradient_of(const Saved& s, size_t i) { return s.needs(i) ? empty_like(s[i]) : Tensor(); }

// The last dims of x, as many as `normalized` has.
Dims last_dims(const Shape& normalized) {
  Shape dims;
  for (int d = normalized.rank(); d > 0; --d) dims.push_back(-d);
  return dims;
}

// [C] so that it broadcasts against [N, C, ...] of this rank; an absent one stays absent.
Tensor by_channel(const Tensor& parameter, int rank) {
  if (!parameter.defined()) return parameter;
  Shape shape;
  for (int d = 1; d < rank; ++d) shape.push_back(1);
  shape[0] = parameter.numel();
  return parameter.reshape(shape);
}

Tensor scaled_and_shifted(Tensor x, const Tensor& weight, const Tensor& bias) {
  if (weight.defined()) x = x * weight;
  return bias.defined() ? x + bias : x;
}

// (x - mean) / sqrt(var + eps) over dims.
Tensor standardized(const Tensor& x, const Dims& dims, double eps) {
  return (x - mean(x, dims, keepdim)) * rsqrt(var(x, dims, 0, keepdim) + eps);
}

}  // namespace

// ---- y = (x - mean) / sqrt(var + eps) weight + bias, the moments over the last dims
Tensor layer_norm(const Tensor& x, const Shape& normalized, const Tensor& weight, const Tensor& bias, double eps) {
  const Shape rows = normalized_rows("layer_norm", x, normalized), row = {rows[1]};
  check_factor("layer_norm", "weight", weight, normalized, x);
  check_factor("layer_norm", "bias", bias, normalized, x);
  check_eps("layer_norm", eps);
  Tensor y = empty_like(x), mean = statistics({rows[0]}, x), rstd = statistics({rows[0]}, x);
  Tensor out = reshaped(y, rows);
  kernels::layer_norm(x.device(), out, mean, rstd, seen_as(x, rows), seen_as(weight, row), seen_as(bias, row), eps);
  return record("layer_norm", y, {&x, &weight, &bias}, save(x, weight, bias, mean, rstd),
                [normalized, rows, row, eps](const Tensor& g, const Saved& s) -> Grads {
                  if (grad_enabled())
                    return detail::twin_gradients<3>(g, s, [normalized, eps](std::span<const Tensor> in) {
                      return scaled_and_shifted(standardized(in[0], last_dims(normalized), eps), in[1], in[2]);
                    });
                  Tensor dx = gradient_of(s, 0), dweight = gradient_of(s, 1), dbias = gradient_of(s, 2);
                  Tensor dx_rows = seen_as(dx, rows), dweight_row = seen_as(dweight, row),
                         dbias_row = seen_as(dbias, row);
                  kernels::layer_norm_backward(g.device(), dx_rows, dweight_row, dbias_row, seen_as(g, rows),
                                               seen_as(s[0], rows), s[3], s[4], seen_as(s[1], row));
                  return {dx, dweight, dbias};
                });
}

// ---- y = x / sqrt(mean(x^2) + eps) weight, the mean over the last dims
Tensor rms_norm(const Tensor& x, const Shape& normalized, const Tensor& weight, double eps) {
  const Shape rows = normalized_rows("rms_norm", x, normalized), row = {rows[1]};
  check_factor("rms_norm", "weight", weight, normalized, x);
  check_eps("rms_norm", eps);
  Tensor y = empty_like(x), rstd = statistics({rows[0]}, x), out = reshaped(y, rows);
  kernels::rms_norm(x.device(), out, rstd, seen_as(x, rows), seen_as(weight, row), eps);
  return record("rms_norm", y, {&x, &weight}, save(x, weight, rstd),
                [normalized, rows, row, eps](const Tensor& g, const Saved& s) -> Grads {
                  if (grad_enabled())
                    return detail::twin_gradients<2>(g, s, [normalized, eps](std::span<const Tensor> in) {
                      const Tensor scale = rsqrt(mean(square(in[0]), last_dims(normalized), keepdim) + eps);
                      return scaled_and_shifted(in[0] * scale, in[1], {});
                    });
                  Tensor dx = gradient_of(s, 0), dweight = gradient_of(s, 1);
                  Tensor dx_rows = seen_as(dx, rows), dweight_row = seen_as(dweight, row);
                  kernels::rms_norm_backward(g.device(), dx_rows, dweight_row, seen_as(g, rows), seen_as(s[0], rows),
                                             s[2], seen_as(s[1], row));
                  return {dx, dweight};
                });
}

// ---- layer norm over the channels and elements of each group of one sample; weight and bias by channel
Tensor group_norm(const Tensor& x, int64_t groups, const Tensor& weight, const Tensor& bias, double eps) {
  const Shape channels = channel_shape("group_norm", x);
  GRADUS_CHECK(groups > 0 && channels[1] % groups == 0, ValueError,
               "group_norm: {} groups do not divide the {} channels of x {}", groups, channels[1], x.shape());
  check_factor("group_norm", "weight", weight, {channels[1]}, x);
  check_factor("group_norm", "bias", bias, {channels[1]}, x);
  check_eps("group_norm", eps);
  const Shape rows = {channels[0], groups};
  Tensor y = empty_like(x), mean = statistics(rows, x), rstd = statistics(rows, x), out = reshaped(y, channels);
  kernels::group_norm(x.device(), out, mean, rstd, seen_as(x, channels), seen_as(weight, {channels[1]}),
                      seen_as(bias, {channels[1]}), groups, eps);
  return record(
      "group_norm", y, {&x, &weight, &bias}, save(x, weight, bias, mean, rstd),
      [channels, groups, eps](const Tensor& g, const Saved& s) -> Grads {
        if (grad_enabled())
          return detail::twin_gradients<3>(g, s, [channels, groups, eps](std::span<const Tensor> in) {
            const Shape grouped = {channels[0], groups, channels[1] / groups * channels[2]};
            const Tensor normal = standardized(in[0].reshape(grouped), 2, eps).reshape(in[0].shape());
            return scaled_and_shifted(normal, by_channel(in[1], normal.rank()), by_channel(in[2], normal.rank()));
          });
        Tensor dx = gradient_of(s, 0), dweight = gradient_of(s, 1), dbias = gradient_of(s, 2);
        Tensor dx_channels = seen_as(dx, channels);
        kernels::group_norm_backward(g.device(), dx_channels, dweight, dbias, seen_as(g, channels),
                                     seen_as(s[0], channels), s[3], s[4], seen_as(s[1], {channels[1]}), groups);
        return {dx, dweight, dbias};
      });
}

namespace {

// running = keep running + share value, in place: a statistic is no part of the graph.
void move_running(const Tensor& running, double keep, const Tensor& value, double share) {
  if (!running.defined() || is_recomputing()) return;
  const NoGrad guard;
  running.mul_(keep);
  running.add_(value.to(running.dtype()), share);
}

// Batch norm with given statistics is one multiplication and one addition by channel.
Tensor batch_norm_frozen(const Tensor& x, const Tensor& running_mean, const Tensor& running_var, const Tensor& weight,
                         const Tensor& bias, double eps) {
  Tensor scale = rsqrt(running_var + eps);
  if (weight.defined()) scale = scale * weight.to(scale.dtype());
  Tensor shift = -running_mean * scale;
  if (bias.defined()) shift = shift + bias.to(shift.dtype());
  return x * by_channel(scale, x.rank()).to(x.dtype()) + by_channel(shift, x.rank()).to(x.dtype());
}

// With the moments of the batch; leaves them in mean and var [C].
Tensor batch_norm_training(const Tensor& x, const Shape& channels, const Tensor& weight, const Tensor& bias, double eps,
                           Tensor& mean, Tensor& var) {
  const Shape channel = {channels[1]};
  mean = statistics(channel, x);
  var = statistics(channel, x);
  Tensor y = empty_like(x), out = reshaped(y, channels);
  kernels::batch_norm(x.device(), out, mean, var, seen_as(x, channels), seen_as(weight, channel),
                      seen_as(bias, channel), eps);
  return record("batch_norm", y, {&x, &weight, &bias}, save(x, weight, bias, mean, var),
                [channels, channel, eps](const Tensor& g, const Saved& s) -> Grads {
                  if (grad_enabled())
                    return detail::twin_gradients<3>(g, s, [channels, eps](std::span<const Tensor> in) {
                      const Tensor normal = standardized(in[0].reshape(channels), {0, 2}, eps).reshape(in[0].shape());
                      return scaled_and_shifted(normal, by_channel(in[1], normal.rank()),
                                                by_channel(in[2], normal.rank()));
                    });
                  Tensor dx = gradient_of(s, 0), dweight = gradient_of(s, 1), dbias = gradient_of(s, 2);
                  Tensor dx_channels = seen_as(dx, channels);
                  kernels::batch_norm_backward(g.device(), dx_channels, dweight, dbias, seen_as(g, channels),
                                               seen_as(s[0], channels), s[3], s[4], seen_as(s[1], channel), eps);
                  return {dx, dweight, dbias};
                });
}

}  // namespace

// ---- (x - mean) / sqrt(var + eps) weight + bias, the moments by channel, over all samples and elements
Tensor batch_norm(const Tensor& x, const Tensor& running_mean, const Tensor& running_var, const Tensor& weight,
                  const Tensor& bias, bool training, double momentum, double eps) {
  const Shape channels = channel_shape("batch_norm", x), channel = {channels[1]};
  check_parameter("batch_norm", "running_mean", running_mean, channel, x);
  check_parameter("batch_norm", "running_var", running_var, channel, x);
  check_factor("batch_norm", "weight", weight, channel, x);
  check_factor("batch_norm", "bias", bias, channel, x);
  check_eps("batch_norm", eps);
  GRADUS_CHECK(momentum >= 0 && momentum <= 1, ValueError, "batch_norm: momentum is {}; want 0 to 1", momentum);
  if (!training) {
    detail::check_defined("batch_norm", "running_mean", running_mean);
    detail::check_defined("batch_norm", "running_var", running_var);
    return batch_norm_frozen(x, running_mean, running_var, weight, bias, eps);
  }
  const int64_t count = channels[0] * channels[2];
  GRADUS_CHECK(count > 1 || channels[1] == 0, ShapeError,
               "batch_norm: {} value a channel in x {}; training wants more than one, use a larger batch", count,
               x.shape());
  Tensor mean, var;
  const Tensor y = batch_norm_training(x, channels, weight, bias, eps, mean, var);
  const double bessel = static_cast<double>(count) / static_cast<double>(count - 1);
  move_running(running_mean, 1 - momentum, mean, momentum);
  move_running(running_var, 1 - momentum, var, momentum * bessel);  // the unbiased variance
  return y;
}

}  // namespace gradus
