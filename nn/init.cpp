// Initialisers.
#include <gradus/nn/init.h>

#include <Eigen/QR>
#include <algorithm>
#include <cmath>

#include <gradus/autograd/grad_mode.h>
#include <gradus/core/detail/check.h>
#include <gradus/core/random.h>

namespace gradus::nn::init {
namespace {

TensorOptions like(const Tensor& x) { return {.dtype = x.dtype(), .device = x.device()}; }

const Tensor& assign(const Tensor& x, const Tensor& values) {
  const NoGrad no_graph;
  return x.copy_(values);
}

// The z with Phi(z) = p, by Newton's steps on Phi, whose derivative is the normal density; 0 < p < 1. Starting at 0 the
// steps never overshoot, because Phi is concave above 0 and convex below.
double inverse_normal(double p) {
  double z = 0;
  for (int i = 0; i < 100; ++i) {
    const double error = 0.5 * std::erfc(-z * M_SQRT1_2) - p;
    const double step = error * std::sqrt(2 * M_PI) * std::exp(0.5 * z * z);
    z -= step;
    if (std::fabs(step) < 1e-12 * (1 + std::fabs(z))) break;
  }
  return z;
}

double kaiming_std(const char* op, const Tensor& x, const KaimingOptions& options) {
  const Fan fan = fans(x);
  const int64_t n = options.mode == FanMode::fan_in ? fan.in : fan.out;
  GRADUS_CHECK(n > 0, ShapeError, "{}: {} has nothing to sum over", op, x.shape());
  return calculate_gain(options.nonlinearity, options.a) / std::sqrt(static_cast<double>(n));
}

double xavier_std(const char* op, const Tensor& x, double gain) {
  const Fan fan = fans(x);
  GRADUS_CHECK(fan.in + fan.out > 0, ShapeError, "{}: {} has no elements", op, x.shape());
  return gain * std::sqrt(2.0 / static_cast<double>(fan.in + fan.out));
}

// The uniform distribution on [-bound, bound] has standard deviation bound / sqrt(3).
const Tensor& uniform_with_std(const Tensor& x, double std) {
  return uniform_(x, -std::sqrt(3.0) * std, std::sqrt(3.0) * std);
}

}  // namespace

const Tensor& uniform_(const Tensor& x, double low, double high) {
  return assign(x, uniform(x.shape(), low, high, like(x)));
}
const Tensor& normal_(const Tensor& x, double mean, double std) {
  return assign(x, normal(x.shape(), mean, std, like(x)));
}
const Tensor& constant_(const Tensor& x, Scalar value) {
  const NoGrad no_graph;
  return x.fill_(value);
}
const Tensor& zeros_(const Tensor& x) { return constant_(x, 0); }
const Tensor& ones_(const Tensor& x) { return constant_(x, 1); }

const Tensor& eye_(const Tensor& x) {
  GRADUS_CHECK(x.rank() == 2, ShapeError, "eye_: want a matrix, got {}", x.shape());
  return assign(x, eye(x.size(0), x.size(1), like(x)));
}

const Tensor& trunc_normal_(const Tensor& x, double mean, double std, double low, double high) {
  GRADUS_CHECK(std > 0 && low < high, ValueError, "trunc_normal_: std {} and bounds [{}, {}]; want std > 0, low < high",
               std, low, high);
  const auto below = [&](double bound) { return 0.5 * std::erfc((mean - bound) / std * M_SQRT1_2); };
  const double from = below(low), to = below(high);
  GRADUS_CHECK(to - from > 1e-12, ValueError,
               "trunc_normal_: [{}, {}] lies too far from the mean {} for std {}: hardly a normal value falls there",
               low, high, mean, std);
  const Tensor values = rand(x.shape(), {.dtype = float64});
  double* v = values.mutable_data<double>();
  for (int64_t i = 0; i < values.numel(); ++i)
    v[i] = std::clamp(mean + std * inverse_normal(std::clamp(from + v[i] * (to - from), 1e-15, 1 - 1e-15)), low, high);
  return assign(x, values.to(x.device(), x.dtype()));
}

Fan fans(const Tensor& x) {
  GRADUS_CHECK(x.rank() >= 2, ShapeError, "init: {} has no fan_in and fan_out; want rank 2 or more", x.shape());
  int64_t field = 1;
  for (int64_t d = 2; d < x.rank(); ++d) field *= x.size(d);
  return {x.size(1) * field, x.size(0) * field};
}

double calculate_gain(Nonlinearity nonlinearity, double slope) {
  switch (nonlinearity) {
    case Nonlinearity::linear:
    case Nonlinearity::sigmoid: return 1;
    case Nonlinearity::tanh: return 5.0 / 3.0;
    case Nonlinearity::relu: return std::sqrt(2.0);
    case Nonlinearity::leaky_relu: return std::sqrt(2.0 / (1 + slope * slope));
    case Nonlinearity::selu: return 0.75;
  }
  return 1;
}

const Tensor& xavier_uniform_(const Tensor& x, double gain) {
  return uniform_with_std(x, xavier_std("xavier_uniform_", x, gain));
}
const Tensor& xavier_normal_(const Tensor& x, double gain) {
  return normal_(x, 0, xavier_std("xavier_normal_", x, gain));
}
const Tensor& kaiming_uniform_(const Tensor& x, const KaimingOptions& options) {
  return uniform_with_std(x, kaiming_std("kaiming_uniform_", x, options));
}
const Tensor& kaiming_normal_(const Tensor& x, const KaimingOptions& options) {
  return normal_(x, 0, kaiming_std("kaiming_normal_", x, options));
}

const Tensor& orthogonal_(const Tensor& x, double gain) {
  GRADUS_CHECK(x.rank() >= 2, ShapeError, "orthogonal_: {}; want rank 2 or more", x.shape());
  if (x.numel() == 0) return x;
  using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  const int64_t rows = x.size(0), columns = x.numel() / rows, large = std::max(rows, columns),
                small = std::min(rows, columns);
  const Tensor draw = randn({large, small}, {.dtype = float64});
  const Eigen::HouseholderQR<Matrix> qr(Eigen::Map<const Matrix>(draw.data<double>(), large, small));
  Matrix q = qr.householderQ() * Matrix::Identity(large, small);
  // The signs of R's diagonal make the factorisation unique, and with it the distribution uniform.
  for (int64_t i = 0; i < small; ++i)
    if (qr.matrixQR()(i, i) < 0) q.col(i) *= -1;
  const Tensor values = empty({rows, columns}, {.dtype = float64});
  Eigen::Map<Matrix> out(values.mutable_data<double>(), rows, columns);
  if (rows >= columns)
    out = gain * q;
  else
    out = gain * q.transpose();
  return assign(x, reshaped(values, x.shape()).to(x.device(), x.dtype()));
}

}  // namespace gradus::nn::init
