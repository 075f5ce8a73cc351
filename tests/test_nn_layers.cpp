// Layers: the values that they start with, the sizes that they refuse, and what they compute.
#include <cmath>

#include "modules.h"

using Catch::Matchers::ContainsSubstring;

namespace {

double std_of(const Tensor& x) { return stddev(x.detach().to(float64)).item<double>(); }

}  // namespace

// ---- first values
TEST_CASE("initialisers have the distributions they promise") {
  manual_seed(7);
  const Tensor x = empty({200, 50, 4});  // fan_in 200, fan_out 800
  CHECK(nn::init::fans(x).in == 200);
  CHECK(nn::init::fans(x).out == 800);
  const auto within = [&](double mean, double std) {
    CHECK(mean_of(x) == Approx(mean).margin(0.03 * std));
    CHECK(std_of(x) == Approx(std).epsilon(0.02));
  };
  const auto largest = [&] { return max(abs(x)).item<double>(); };
  nn::init::uniform_(x, -1, 3);
  within(1, 4 / std::sqrt(12.0));
  nn::init::normal_(x, 2, 0.5);
  within(2, 0.5);
  nn::init::xavier_uniform_(x, 2);
  within(0, 2 * std::sqrt(2.0 / 1000));
  CHECK(largest() <= 2 * std::sqrt(6.0 / 1000));
  nn::init::xavier_normal_(x);
  within(0, std::sqrt(2.0 / 1000));
  nn::init::kaiming_uniform_(x, {.a = std::sqrt(5.0)});
  within(0, 1 / std::sqrt(3.0 * 200));
  CHECK(largest() <= 1 / std::sqrt(200.0) * (1 + 1e-6));
  nn::init::kaiming_normal_(x, {.mode = nn::init::FanMode::fan_out, .nonlinearity = nn::init::Nonlinearity::relu});
  within(0, std::sqrt(2.0 / 800));
  nn::init::trunc_normal_(x, 1, 2, -1, 3);  // one standard deviation to each side
  within(1, 2 * std::sqrt(1 - 2 * 0.24197072451914337 / 0.6826894921370859));
  CHECK(min(x).item<double>() >= -1);
  CHECK(max(x).item<double>() <= 3);
  nn::init::ones_(x);
  CHECK(mean_of(x) == 1);
  CHECK_THROWS_AS(nn::init::fans(empty({3})), ShapeError);
  CHECK_THROWS_AS(nn::init::trunc_normal_(x, 0, 1, 50, 60), ValueError);
  CHECK_THROWS_AS(nn::init::eye_(x), ShapeError);
  CHECK(nn::init::calculate_gain(nn::init::Nonlinearity::leaky_relu, 2) == Approx(std::sqrt(0.4)));
}

TEST_CASE("orthogonal_ and eye_") {
  for (const Shape& shape : {Shape{6, 4}, Shape{4, 6}, Shape{4, 2, 3}}) {
    const Tensor x = empty(shape, {.dtype = float64});
    nn::init::orthogonal_(x, 2);
    Tensor m = x.reshape({shape[0], -1});
    if (m.size(0) > m.size(1)) m = m.t();
    CHECK(allclose(matmul(m, m.t()), 4.0 * eye(4, 4, {.dtype = float64}), 1e-12, 1e-12));
  }
  nn::Linear layer(3, 2);
  nn::init::eye_(layer.weight);
  CHECK(equal(layer.weight.detach(), eye(2, 3)));
  CHECK(layer.weight.requires_grad());
}

TEST_CASE("layers start with PyTorch's values") {
  manual_seed(3);
  nn::Linear linear(400, 300);
  CHECK(std_of(linear.weight) == Approx(1 / std::sqrt(3 * 400.0)).epsilon(0.02));
  CHECK(max(abs(linear.bias)).item<double>() <= 0.05);
  CHECK(std_of(linear.bias) == Approx(0.05 / std::sqrt(3.0)).epsilon(0.1));
  CHECK(std_of(nn::Embedding(300, 40).weight) == Approx(1).epsilon(0.02));
  nn::Embedding padded(4, 3, {.padding_idx = -1});
  CHECK(equal(padded.weight.detach()[3], zeros({3})));
  CHECK(*padded.padding_idx == 3);
  nn::MultiheadAttention attention(64, 4);
  CHECK(std_of(attention.in_proj_weight) == Approx(std::sqrt(2.0 / 256)).epsilon(0.03));
  CHECK(equal(attention.in_proj_bias.detach(), zeros({192})));
  CHECK(equal(attention.out_proj.bias.detach(), zeros({64})));
  CHECK(mean_of(nn::BatchNorm2d(3).weight) == 1);
  CHECK(names(nn::LayerNorm({2, 3}, {.bias = false}).parameters()) == Names{"weight"});
  CHECK(nn::RMSNorm(3, {.affine = false}).parameters().empty());
  CHECK(nn::BatchNorm1d(3, {.affine = false, .track_running_stats = false}).state_dict().empty());
}

TEST_CASE("nonsense sizes are refused by name") {
  CHECK_THROWS_WITH(nn::Linear(0, 3), ContainsSubstring("in_features is 0"));
  CHECK_THROWS_WITH(nn::Linear(3, -1), ContainsSubstring("out_features"));
  CHECK_THROWS_WITH(nn::Conv2d(3, 4, 3, {.groups = 2}), ContainsSubstring("groups 2"));
  CHECK_THROWS_WITH(nn::Conv2d(3, 4, 0), ContainsSubstring("kernel_size"));
  CHECK_THROWS_AS(nn::Conv2d(3, 4, 3, {.padding = -1}), ValueError);
  CHECK_THROWS_AS(nn::ConvTranspose2d(3, 4, 3, {.stride = 0}), ValueError);
  CHECK_THROWS_AS(nn::Embedding(3, 4, {.padding_idx = 3}), IndexError);
  CHECK_THROWS_AS(nn::BatchNorm2d(0), ValueError);
  CHECK_THROWS_AS(nn::GroupNorm(3, 4), ValueError);
  CHECK_THROWS_AS(nn::LayerNorm(-3), ValueError);
  CHECK_THROWS_AS(nn::Dropout(1.5), ValueError);
  CHECK_THROWS_AS(nn::MultiheadAttention(10, 3), ValueError);
  CHECK_THROWS_AS(nn::Parameter(zeros({2}, {.dtype = int64})), DtypeError);
  CHECK_THROWS_AS(nn::BatchNorm2d(3)(zeros({2, 3})), ShapeError);
  CHECK_THROWS_AS(nn::BatchNorm1d(3)(zeros({2, 3, 4, 4})), ShapeError);
  CHECK_THROWS_AS(nn::MultiheadAttention(8, 2)(zeros({2, 3, 4})), ShapeError);
}

// ---- layers against their definitions
TEST_CASE("layers compute what the ops compute") {
  const Tensor x = randn({2, 4, 6, 6});
  nn::Conv2d conv(4, 6, 3, {.stride = 2, .padding = 1, .groups = 2});
  CHECK(equal(conv(x).detach(), conv2d(x, conv.weight, conv.bias, {.stride = 2, .padding = 1, .groups = 2}).detach()));
  nn::ConvTranspose2d up(4, 2, 2, {.stride = 2});
  CHECK(up(x).shape() == Shape{2, 2, 12, 12});
  CHECK(equal(nn::MaxPool2d(2)(x), max_pool2d(x, 2)));
  CHECK(equal(nn::AvgPool2d(3, {.stride = 1, .padding = 1})(x), avg_pool2d(x, 3, {.stride = 1, .padding = 1})));
  CHECK(nn::AdaptiveAvgPool2d(1)(x).shape() == Shape{2, 4, 1, 1});
  CHECK(nn::Flatten{}(x).shape() == Shape{2, 144});
  CHECK(nn::Identity{}(x).is(x));
  CHECK(equal(nn::ReLU{}(x), relu(x)));
  CHECK(equal(nn::GELU{GeluApproximation::tanh}(x), gelu(x, GeluApproximation::tanh)));
  CHECK(equal(nn::SiLU{}(x), silu(x)));
  CHECK(equal(nn::Tanh{}(x), tanh(x)));
  CHECK(equal(nn::Sigmoid{}(x), sigmoid(x)));
  CHECK(equal(nn::LeakyReLU{0.2}(x), leaky_relu(x, 0.2)));
  CHECK(equal(nn::ELU{0.5}(x), elu(x, 0.5)));
  CHECK(equal(nn::Softmax{1}(x), softmax(x, 1)));
  CHECK(equal(nn::LogSoftmax{}(x), log_softmax(x, -1)));
  nn::GroupNorm group(2, 4);
  CHECK(allclose(mean(group(x).detach().reshape({2, 2, -1}), 2), zeros({2, 2}), 0, 1e-5));
  nn::LayerNorm layer({6, 6});
  CHECK(allclose(mean(layer(x).detach().reshape({2, 4, -1}), 2), zeros({2, 4}), 0, 1e-5));
  nn::RMSNorm rms(6);
  CHECK(allclose(mean(square(rms(x).detach()), -1), ones({2, 4, 6}), 0, 1e-3));
  nn::Dropout drop(0.5);
  CHECK(sum(drop(ones({1000})) == 0).item<int64_t>() > 400);
  drop.eval();
  CHECK(equal(drop(x), x));
}

TEST_CASE("batch norm trains on the batch and evaluates on what it saw") {
  nn::BatchNorm1d norm(3, {.momentum = 0.5});
  norm.to(float64);
  const Tensor x = randn({16, 3}, {.dtype = float64}) * 3.0 + 5.0;
  const Tensor y = norm(x).detach();
  CHECK(allclose(mean(y, 0), zeros({3}, {.dtype = float64}), 0, 1e-12));
  CHECK(allclose(var(y, 0, 0), ones({3}, {.dtype = float64}), 0, 1e-4));
  CHECK(allclose(norm.running_mean, mean(x, 0) * 0.5, 1e-12));
  CHECK(allclose(norm.running_var, 0.5 + var(x, 0) * 0.5, 1e-12));
  norm.eval();
  CHECK(allclose(norm(x).detach(), (x - norm.running_mean) / sqrt(norm.running_var + 1e-5), 1e-10, 1e-12));
}
