// Whole models against recorded PyTorch values, on the device of the tests (device.h): three steps of training, then
// evaluation. The models are those of the examples and the bench in small, and layers that these leave out.
// tests/golden/record_models.py has the same models under the same names.
#include <gradus/gradus.h>

#include <cmath>
#include <fstream>
#include <functional>
#include <memory>
#include <set>

#include <nlohmann/json.hpp>

#include "catch.h"
#include "device.h"
#include "golden/generate.h"

using namespace gradus;

namespace {

constexpr int64_t steps = 3;

// ---- values from names
Tensor uniform(const std::string& name, const Shape& shape) {
  const uint64_t index = golden::index_of(name);
  const Tensor x = empty(shape, {.dtype = float64});
  for (int64_t i = 0; i < x.numel(); ++i) x.mutable_data<double>()[i] = 2 * golden::uniform_at(index, i) - 1;
  return x.to(test_device());
}

std::string of_step(const char* name, int64_t step) { return std::string(name) + '/' + std::to_string(step); }

Tensor real(const char* name, int64_t step, const Shape& shape, Dtype dtype) {
  return uniform(of_step(name, step), shape).to(dtype);
}

Tensor classes(const char* name, int64_t step, const Shape& shape, int64_t count) {
  const uint64_t index = golden::index_of(of_step(name, step));
  const Tensor x = empty(shape, {.dtype = int64});
  for (int64_t i = 0; i < x.numel(); ++i)
    x.mutable_data<int64_t>()[i] = static_cast<int64_t>(static_cast<double>(count) * golden::uniform_at(index, i));
  return x.to(test_device());
}

// Matrices in +-1 / sqrt(fan in), scales around 1, the rest around 0.
void fill(nn::Module& model) {
  const NoGrad no_graph;
  for (const auto& [name, p] : model.parameters()) {
    const Tensor values = uniform(name, p.shape());
    const bool scale = name.ends_with("weight");
    p.copy_(p.rank() > 1 ? values / std::sqrt(static_cast<double>(p.numel() / p.size(0)))
                         : values * 0.2 + (scale ? 1.0 : 0.0));
  }
}

// ---- models
struct Mlp : nn::Module {
  nn::Linear fc1{12, 9}, fc2{9, 7}, fc3{7, 4};
  Tensor forward(const Tensor& x) { return fc3(relu(fc2(relu(fc1(x))))); }  // (B, 12) -> (B, 4)
  GRADUS_MODULE(fc1, fc2, fc3)
};

struct ConvNet : nn::Module {
  nn::Conv2d conv1{1, 4, 3, {.padding = 1}}, conv2{4, 6, 3, {.padding = 1}};
  nn::Linear fc1{6 * 2 * 2, 8}, fc2{8, 5};
  Tensor forward(Tensor x) {              // (B, 1, 8, 8)
    x = max_pool2d(relu(conv1(x)), 2);    // (B, 4, 4, 4)
    x = max_pool2d(relu(conv2(x)), 2);    // (B, 6, 2, 2)
    return fc2(relu(fc1(x.flatten(1))));  // (B, 5)
  }
  GRADUS_MODULE(conv1, conv2, fc1, fc2)
};

struct FashionNet : nn::Module {
  nn::Conv2d conv1{1, 4, 3, {.padding = 1, .bias = false}}, conv2{4, 6, 3, {.padding = 1, .bias = false}},
      conv3{6, 8, 3, {.padding = 1, .bias = false}};
  nn::BatchNorm2d norm1{4}, norm2{6}, norm3{8};
  nn::Linear head{8, 10};
  Tensor forward(Tensor x) {                   // (B, 1, 12, 12)
    x = max_pool2d(relu(norm1(conv1(x))), 2);  // (B, 4, 6, 6)
    x = max_pool2d(relu(norm2(conv2(x))), 2);  // (B, 6, 3, 3)
    x = max_pool2d(relu(norm3(conv3(x))), 2);  // (B, 8, 1, 1)
    return head(x.flatten(1));                 // (B, 10)
  }
  GRADUS_MODULE(conv1, conv2, conv3, norm1, norm2, norm3, head)
};

struct Residual : nn::Module {
  nn::Conv2d conv1{3, 6, 3, {.stride = 2, .padding = 1, .bias = false}},
      conv2{6, 6, 3, {.padding = 1, .groups = 2, .bias = false}}, shortcut{3, 6, 1, {.stride = 2, .bias = false}};
  nn::BatchNorm2d norm1{6, {.momentum = 0.3}}, norm2{6, {.momentum = 0.3}}, norm3{6, {.eps = 1e-3}};
  nn::Linear head{6, 4};
  Tensor forward(const Tensor& x) {  // (B, 3, 6, 6)
    Tensor h = norm2(conv2(relu(norm1(conv1(x)))));
    h = relu(h + norm3(shortcut(x)));                   // (B, 6, 3, 3)
    return head(adaptive_avg_pool2d(h, 1).flatten(1));  // (B, 4)
  }
  GRADUS_MODULE(conv1, conv2, shortcut, norm1, norm2, norm3, head)
};

struct Block : nn::Module {
  nn::LayerNorm norm1, norm2;
  nn::Linear qkv, proj, up, down;
  int64_t heads;
  Block(int64_t width, int64_t heads_)
      : norm1(width),
        norm2(width),
        qkv(width, 3 * width),
        proj(width, width),
        up(width, 4 * width),
        down(4 * width, width),
        heads(heads_) {}
  Tensor forward(Tensor x) {  // (B, T, C)
    const int64_t b = x.size(0), t = x.size(1), c = x.size(2);
    const Tensor parts = qkv(norm1(x)).view({b, t, 3, heads, c / heads}).permute({2, 0, 3, 1, 4});  // (3, B, H, T, D)
    const Tensor seen = scaled_dot_product_attention(parts[0], parts[1], parts[2], {.causal = true});  // (B, H, T, D)
    x = x + proj(seen.transpose(1, 2).reshape({b, t, c}));
    return x + down(gelu(up(norm2(x)), GeluApproximation::tanh));
  }
  GRADUS_MODULE(norm1, norm2, qkv, proj, up, down, heads)
};

struct Gpt : nn::Module {
  nn::Embedding tokens{11, 8}, positions{6, 8};
  nn::ModuleList<Block> blocks{2, [] { return Block(8, 2); }};
  nn::LayerNorm norm{8};
  nn::Linear head{8, 11, {.bias = false}};
  Tensor forward(const Tensor& x) {  // (B, T)
    const Tensor places = arange(x.size(1), {.device = x.device()});
    Tensor h = tokens(x) + positions(places);  // (B, T, C)
    for (Block& block : blocks) h = block(h);
    return head(norm(h));  // (B, T, V)
  }
  GRADUS_MODULE(tokens, positions, blocks, norm, head)
};

// An encoder layer of each kind, the second causal, and attention of a target to what they made of the source.
struct Transformer : nn::Module {
  nn::TransformerEncoderLayer after{8, 2, {.dim_feedforward = 12, .dropout = 0}},
      before{8,
             4,
             {.dim_feedforward = 12,
              .dropout = 0,
              .activation = nn::Activation::gelu,
              .layer_norm_eps = 1e-3,
              .norm_first = true}};
  nn::MultiheadAttention cross{8, 2};
  // (B, S, E), (B, T, E), boolean (B, 1, 1, S) -> (B, T, E)
  Tensor forward(const Tensor& source, const Tensor& target, const Tensor& seen) {
    const Tensor memory = before(after(source), nn::AttentionMask{.causal = true});
    return cross(target, memory, memory, nn::AttentionMask{.mask = seen});
  }
  GRADUS_MODULE(after, before, cross)
};

// ---- training
const nlohmann::json& recorded(const char* model) {
  static const nlohmann::json values = [] {
    std::ifstream file("tests/golden/models.json");
    return nlohmann::json::parse(file);
  }();
  return values.at(model);
}

double tolerance(Dtype dtype) { return 256 * (dtype == float64 ? 0x1p-52 : 0x1p-23); }

// Norm and weighted sum.
std::pair<double, double> traits(const Tensor& tensor) {
  const Tensor x = on_cpu(tensor).to(float64).contiguous();
  double squares = 0, sum = 0;
  for (int64_t i = 0; i < x.numel(); ++i) {
    const double value = x.data<double>()[i];
    squares += value * value;
    sum += golden::weight_at(i) * value;
  }
  return {std::sqrt(squares), sum};
}

// Both traits, to within the tolerance times what rounding errors can come from: the tensor itself and `others`.
void check_traits(const Tensor& x, const nlohmann::json& want, double others, double tolerance) {
  const double want_norm = want.at(0), want_sum = want.at(1);
  const auto [norm, sum] = traits(x);
  CHECK(std::fabs(norm - want_norm) <= tolerance * (others + want_norm));
  CHECK(std::fabs(sum - want_sum) <= tolerance * (others + want_norm));
}

struct Training {
  const char* name;
  std::function<std::unique_ptr<optim::Optimizer>(const NamedTensors&)> make_optimizer;
  double max_norm;
  double max_lr = 0;  // of a OneCycle schedule; 0: none
};

// Takes the recorded steps with a Net in both dtypes. `forward(net, step, dtype)` computes an output from the batch of
// that step, `loss(output, step)` its loss.
template <class Net, class Forward, class Loss>
void follow(const Training& training, Forward forward, Loss loss_of) {
  const nlohmann::json& want = recorded(training.name);
  for (const Dtype dtype : {float64, float32}) {
    Net net;
    net.to(test_device()).to(dtype);
    fill(net);
    const NamedTensors parameters = net.parameters();
    const auto optimizer = training.make_optimizer(parameters);
    std::optional<optim::OneCycle> schedule;
    if (training.max_lr > 0) schedule.emplace(*optimizer, optim::OneCycleOptions{training.max_lr, steps + 1});
    const double near = tolerance(dtype);
    for (int64_t step = 0; step < steps; ++step) {
      INFO(training.name << " in " << name(dtype) << ", step " << step);
      const nlohmann::json& values = want.at("steps").at(static_cast<size_t>(step));
      const auto number = [&](const char* key) { return want.at(key).at(static_cast<size_t>(step)).get<double>(); };

      const Tensor loss = loss_of(forward(net, step, dtype), step);
      optimizer->zero_grad();
      loss.backward();
      const double norm = optim::clip_grad_norm(parameters, training.max_norm);
      CHECK(loss.item<double>() == Approx(number("loss")).epsilon(near));
      CHECK(norm == Approx(number("norm")).epsilon(near));
      for (const auto& [key, p] : parameters) {
        INFO("gradient of " << key);
        check_traits(p.grad(), values.at(key + ".grad"), number("norm"), near);
      }
      optimizer->step();
      if (schedule) schedule->step();
      const NamedTensors state = net.state_dict();
      CHECK(state.size() + parameters.size() == values.size());
      for (const auto& [key, x] : state) {
        INFO(key);
        check_traits(x, values.at(key), 1, near);
      }
    }
    net.eval();
    INFO(training.name << " in " << name(dtype) << ", evaluation");
    check_traits(forward(net, steps, dtype), want.at("output"), 1, near);
  }
}

template <class Net>
void follow_images(const Training& training, const Shape& shape, int64_t count, const CrossEntropyParams& params = {}) {
  follow<Net>(
      training, [&](Net& net, int64_t step, Dtype dtype) { return net(real("x", step, shape, dtype)); },
      [&](const Tensor& y, int64_t step) { return cross_entropy(y, classes("y", step, {shape[0]}, count), params); });
}

template <class Optimizer, class Options>
auto with(const Options& options) {
  return [options](const NamedTensors& parameters) -> std::unique_ptr<optim::Optimizer> {
    return std::make_unique<Optimizer>(parameters, options);
  };
}

}  // namespace

TEST_CASE("a multilayer perceptron trains as in PyTorch") {
  follow_images<Mlp>({"mlp", with<optim::AdamW>(optim::AdamWOptions{.lr = 0.01}), 0.5}, {5, 12}, 4);
}

TEST_CASE("the convolutional network of the bench trains as in PyTorch") {
  const optim::AdamOptions options{.lr = 0.01, .betas = {0.8, 0.9}, .eps = 1e-6, .weight_decay = 0.1};
  follow_images<ConvNet>({"convnet", with<optim::Adam>(options), 100}, {3, 1, 8, 8}, 5);
}

TEST_CASE("the network of examples/fashion_mnist trains as in PyTorch") {
  const optim::AdamWOptions options{.eps = 1e-4, .weight_decay = 0.01};
  follow_images<FashionNet>({"fashion", with<optim::AdamW>(options), 1, 0.02}, {4, 1, 12, 12}, 10);
}

TEST_CASE("a residual block with batch norm trains as in PyTorch") {
  const optim::SGDOptions options{.lr = 0.1, .momentum = 0.8, .weight_decay = 0.01, .nesterov = true};
  follow_images<Residual>({"residual", with<optim::SGD>(options), 0.7}, {4, 3, 6, 6}, 4, {.label_smoothing = 0.1});
}

TEST_CASE("the language model of examples/char_lm trains as in PyTorch") {
  const optim::AdamWOptions options{.betas = {0.9, 0.95}, .eps = 1e-4, .weight_decay = 0.1};
  follow<Gpt>(
      {"gpt", with<optim::AdamW>(options), 0.8, 0.02},
      [](Gpt& net, int64_t step, Dtype) {
        return net(classes("x", step, {3, 6}, 11)).flatten(0, 1);
      },
      [](const Tensor& y, int64_t step) { return cross_entropy(y, classes("y", step, {3 * 6}, 11)); });
}

TEST_CASE("encoder layers and attention with masks train as in PyTorch") {
  const optim::RMSpropOptions options{.lr = 0.01, .alpha = 0.9, .eps = 1e-3, .momentum = 0.5};
  const Tensor seen = ones({2, 1, 1, 5}, on_test_device(boolean));
  seen[1].select(-1, 4).fill_(false);
  follow<Transformer>(
      {"transformer", with<optim::RMSprop>(options), 0.3},
      [&](Transformer& net, int64_t step, Dtype dtype) {
        return net(real("source", step, {2, 5, 8}, dtype), real("target", step, {2, 3, 8}, dtype), seen);
      },
      [](const Tensor& y, int64_t step) {
        return mse_loss(y, real("y", step, {2, 3, 8}, y.dtype()));
      });
}
