// Normalisations against plain loops in double: large means, sizes around the vector length, 16-bit types, running
// statistics, equal bits for any number of threads. The op table has their recorded values and gradchecks.
#include <cmath>

#include "fused_reference.h"

using namespace gradus;

namespace {

// Moments over groups of elements: element i belongs to group(i) and is scaled by the parameters of column(i).
struct Reference {
  std::vector<double> y, dx, dweight, dbias;
};

Reference reference_norm(const Tensor& x, const Tensor& g, const Tensor& weight, const Tensor& bias, size_t groups,
                         const std::function<size_t(size_t)>& group, const std::function<size_t(size_t)>& column,
                         double eps, bool centered = true) {
  const std::vector<double> xs = values(x), gs = values(g), ws = values(weight),
                            bs = bias.defined() ? values(bias) : std::vector<double>(ws.size(), 0.0);
  std::vector<double> count(groups), mean(groups), rstd(groups), slope(groups), offset(groups);
  for (size_t i = 0; i < xs.size(); ++i) count[group(i)] += 1, mean[group(i)] += centered ? xs[i] : 0;
  for (size_t k = 0; k < groups; ++k) mean[k] /= count[k];
  for (size_t i = 0; i < xs.size(); ++i) rstd[group(i)] += (xs[i] - mean[group(i)]) * (xs[i] - mean[group(i)]);
  for (size_t k = 0; k < groups; ++k) rstd[k] = 1 / std::sqrt(rstd[k] / count[k] + eps);
  const auto normal = [&](size_t i) { return (xs[i] - mean[group(i)]) * rstd[group(i)]; };

  Reference r{std::vector<double>(xs.size()), std::vector<double>(xs.size()), std::vector<double>(ws.size()),
              std::vector<double>(ws.size())};
  for (size_t i = 0; i < xs.size(); ++i) {
    const size_t c = column(i), k = group(i);
    r.y[i] = normal(i) * ws[c] + bs[c];
    r.dweight[c] += gs[i] * normal(i);
    r.dbias[c] += gs[i];
    slope[k] += gs[i] * ws[c] * normal(i) / count[k];
    offset[k] += centered ? gs[i] * ws[c] / count[k] : 0;
  }
  for (size_t i = 0; i < xs.size(); ++i) {
    const size_t k = group(i);
    r.dx[i] = rstd[k] * (gs[i] * ws[column(i)] - offset[k] - normal(i) * slope[k]);
  }
  return r;
}

// The loops of the reference round too, which shows in float64.
double tolerance(Dtype dtype) { return dtype == float64 ? 1e-12 : 24 * epsilon(dtype); }

// Forward and backward of `norm(x, weight, bias)` against the reference; bias may be undefined.
void check_norm(const std::function<Tensor(const Tensor&, const Tensor&, const Tensor&)>& norm, const Tensor& x,
                const Tensor& g, const Tensor& weight, const Tensor& bias, const Reference& want, double tolerance) {
  const Tensor leaf = x.detach().requires_grad_(), w = weight.detach().requires_grad_();
  const Tensor b = bias.defined() ? bias.detach().requires_grad_() : bias;
  const Tensor y = norm(leaf, w, b);
  check_close(y, want.y, tolerance);
  y.backward(g);
  check_close(leaf.grad(), want.dx, tolerance);
  check_close(w.grad(), want.dweight, tolerance);
  if (b.defined()) check_close(b.grad(), want.dbias, tolerance);
}

}  // namespace

TEST_CASE("layer_norm and rms_norm of every width and dtype") {
  for (Dtype dtype : floating_dtypes)
    for (int64_t n : {1, 2, 15, 16, 33, 128, 1000}) {
      INFO(name(dtype) << ", n = " << n);
      const Tensor x = sample({7, n}, dtype), g = sample({7, n}, dtype, 2);
      const Tensor weight = sample({n}, dtype, 3), bias = sample({n}, dtype, 4);
      const size_t width = static_cast<size_t>(n);
      const auto row = [=](size_t i) { return i / width; };
      const auto column = [=](size_t i) { return i % width; };
      // A row of one or two values can have a variance near zero, which magnifies every rounding.
      const double eps = n < 15 ? 0.1 : 1e-5;
      check_norm([&](auto& a, auto& w, auto& b) { return layer_norm(a, {n}, w, b, eps); }, x, g, weight, bias,
                 reference_norm(x, g, weight, bias, 7, row, column, eps), tolerance(dtype));
      check_norm([&](auto& a, auto& w, auto&) { return rms_norm(a, {n}, w, eps); }, x, g, weight, {},
                 reference_norm(x, g, weight, {}, 7, row, column, eps, false), tolerance(dtype));
    }
}

TEST_CASE("batch_norm and group_norm of images and vectors in every dtype") {
  for (Dtype dtype : floating_dtypes)
    for (const Shape& shape :
         {Shape{3, 4, 5, 7}, Shape{2, 6, 3}, Shape{9, 34}, Shape{2, 4, 16}, Shape{40, 2, 30, 17}}) {
      INFO(name(dtype) << ", x " << to_string(shape));
      const int64_t channels = shape[1];
      const Tensor x = sample(shape, dtype), g = sample(shape, dtype, 2);
      const Tensor weight = sample({channels}, dtype, 3), bias = sample({channels}, dtype, 4);
      const size_t c = static_cast<size_t>(channels), length = static_cast<size_t>(x.numel() / shape[0] / channels);
      const auto column = [=](size_t i) { return i / length % c; };
      check_norm([&](auto& a, auto& w, auto& b) { return batch_norm(a, {}, {}, w, b); }, x, g, weight, bias,
                 reference_norm(x, g, weight, bias, c, column, column, 1e-5), tolerance(dtype));
      const auto group = [=](size_t i) { return i / (length * c / 2); };
      check_norm([&](auto& a, auto& w, auto& b) { return group_norm(a, 2, w, b); }, x, g, weight, bias,
                 reference_norm(x, g, weight, bias, static_cast<size_t>(2 * shape[0]), group, column, 1e-5),
                 tolerance(dtype));
    }
}

TEST_CASE("a mean far larger than the deviation does not spoil the variance") {
  const Tensor x = sample({4, 256}, float64) + 1000, low = x.to(float32), exact = low.to(float64);
  check_close(layer_norm(low, {256}), values(layer_norm(exact, {256})), 2e-4);
  check_close(group_norm(low, 2), values(group_norm(exact, 2)), 2e-4);
  check_close(batch_norm(low, {}, {}), values(batch_norm(exact, {}, {})), 2e-4);
  // Equal values have no variance: zeros, and finite gradients.
  const Tensor flat = full({2, 64}, 3e4f).requires_grad_();
  const Tensor y = layer_norm(flat, {64});
  check_close(y, std::vector<double>(128, 0.0), 0);
  y.backward(sample({2, 64}, float32));
  CHECK(all(isfinite(flat.grad())).item<bool>());
}

TEST_CASE("batch_norm moves running statistics and uses them") {
  const Tensor x = sample({6, 2, 5}, float64), running_mean = zeros({2}, {.dtype = float64}),
               running_var = ones({2}, {.dtype = float64});
  const Tensor learned = sample({2}, float64, 3).requires_grad_();
  batch_norm(x, running_mean, running_var, learned, {}, true, 0.25);
  check_close(running_mean, values(0.25 * mean(x, {0, 2})), 1e-14);
  check_close(running_var, values(0.75 + 0.25 * var(x, {0, 2}, 1)), 1e-14);
  CHECK_FALSE(running_mean.requires_grad());

  const Tensor scale = rsqrt(running_var + 1e-5).reshape({2, 1}), centered = x - running_mean.reshape({2, 1});
  const Tensor y = batch_norm(x, running_mean, running_var, learned, {}, false);
  check_close(y, values(centered * scale * learned.detach().reshape({2, 1})), 1e-14);
  check_close(running_mean, values(0.25 * mean(x, {0, 2})), 1e-14);
  sum(y).backward();
  check_close(learned.grad(), values(sum(centered * scale, {0, 2})), 1e-13);
  // Statistics may be float32 beside 16-bit activations.
  const Tensor half = x.to(bfloat16), mean32 = zeros({2}), var32 = ones({2});
  CHECK(batch_norm(half, mean32, var32).dtype() == bfloat16);
  CHECK(mean32.dtype() == float32);
  CHECK(batch_norm(half, mean32, var32, {}, {}, false).dtype() == bfloat16);
}

TEST_CASE("a NaN in a channel shows in its running statistics, and in no other's") {
  const Tensor x = sample({6, 2, 5}, float32), running_mean = zeros({2}), running_var = ones({2});
  x.select(0, 3).select(0, 1).select(0, 2).fill_(NAN);
  batch_norm(x, running_mean, running_var);
  CHECK(std::isfinite(running_var.data<float>()[0]));
  CHECK(std::isnan(running_var.data<float>()[1]));
  CHECK(std::isnan(running_mean.data<float>()[1]));
}

TEST_CASE("a frozen input or parameter gets no gradient") {
  const Tensor x = sample({8, 4}, float32).requires_grad_(), weight = ones({4}), bias = zeros({4}).requires_grad_();
  sum(layer_norm(x, {4}, weight, bias)).backward();
  CHECK(x.grad().defined());
  CHECK_FALSE(weight.grad().defined());
  CHECK(bias.grad().defined());
  const Tensor data = sample({8, 4}, float32);
  sum(batch_norm(data, {}, {}, weight.requires_grad_(), {})).backward();
  CHECK_FALSE(data.grad().defined());
  CHECK(weight.grad().defined());
}

TEST_CASE("norms give the same bits for any number of threads") {
  for (Dtype dtype : {float32, float16}) {
    const Tensor rows = sample({3000, 72}, dtype), images = sample({16, 8, 30, 30}, dtype);
    check_threads([&] {
      const Tensor a = rows.detach().requires_grad_(), b = images.detach().requires_grad_();
      const Tensor w = sample({72}, dtype, 3).requires_grad_(), c = sample({8}, dtype, 4).requires_grad_();
      const std::vector<Tensor> outputs = {layer_norm(a, {72}, w, w), rms_norm(a, {72}, w), batch_norm(b, {}, {}, c, c),
                                           group_norm(b, 4, c, c)};
      for (const Tensor& y : outputs) y.backward(sample(y.shape(), dtype, 5));
      return std::vector<Tensor>{outputs[0], outputs[1], outputs[2], outputs[3],
                                 a.grad(),   b.grad(),   w.grad(),   c.grad()};
    });
  }
}
