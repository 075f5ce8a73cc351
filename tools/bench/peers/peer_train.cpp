// LibTorch's side of the training figures: peer_train [--threads N] [--seconds S] train/mlp|convnet|gpt-s|gpt-m...
// OpenBLAS does not always follow at::set_num_threads: tools/bench/run sets its variables too.
#include <torch/torch.h>

#include "synthetic.h"
#include "workloads.h"

namespace {

namespace nn = torch::nn;
namespace F = torch::nn::functional;
using torch::Tensor;

struct MlpImpl : nn::Module {
  nn::Linear fc1{784, 256}, fc2{256, 128}, fc3{128, bench::image_classes};
  MlpImpl() {
    register_module("fc1", fc1);
    register_module("fc2", fc2);
    register_module("fc3", fc3);
  }
  Tensor forward(const Tensor& x) { return fc3(torch::relu(fc2(torch::relu(fc1(x))))); }  // (B, 784) -> (B, 10)
};
TORCH_MODULE(Mlp);

struct ConvNetImpl : nn::Module {
  nn::Conv2d conv1{nn::Conv2dOptions(1, 16, 3).padding(1)}, conv2{nn::Conv2dOptions(16, 32, 3).padding(1)};
  nn::Linear fc1{32 * 7 * 7, 128}, fc2{128, bench::image_classes};
  ConvNetImpl() {
    register_module("conv1", conv1);
    register_module("conv2", conv2);
    register_module("fc1", fc1);
    register_module("fc2", fc2);
  }
  Tensor forward(Tensor x) {                          // (B, 1, 28, 28)
    x = torch::max_pool2d(torch::relu(conv1(x)), 2);  // (B, 16, 14, 14)
    x = torch::max_pool2d(torch::relu(conv2(x)), 2);  // (B, 32, 7, 7)
    return fc2(torch::relu(fc1(x.flatten(1))));       // (B, 10)
  }
};
TORCH_MODULE(ConvNet);

struct BlockImpl : nn::Module {
  int64_t heads;
  nn::LayerNorm norm1{nullptr}, norm2{nullptr};
  nn::Linear qkv{nullptr}, proj{nullptr}, up{nullptr}, down{nullptr};
  BlockImpl(int64_t width, int64_t head_count) : heads(head_count) {
    norm1 = register_module("norm1", nn::LayerNorm(nn::LayerNormOptions({width})));
    qkv = register_module("qkv", nn::Linear(width, 3 * width));
    proj = register_module("proj", nn::Linear(width, width));
    norm2 = register_module("norm2", nn::LayerNorm(nn::LayerNormOptions({width})));
    up = register_module("up", nn::Linear(width, 4 * width));
    down = register_module("down", nn::Linear(4 * width, width));
  }
  // LibTorch 1.13 has no fused attention to train with on the CPU: the T x T scores are what it has to do.
  Tensor attention(const Tensor& x, const Tensor& future) {
    const int64_t batch = x.size(0), context = x.size(1), width = x.size(2), head = width / heads;
    const Tensor t = qkv(x).view({batch, context, 3, heads, head}).permute({2, 0, 3, 1, 4});  // (3, B, H, T, D)
    Tensor scores = torch::matmul(t[0], t[1].transpose(-2, -1)) * (1 / std::sqrt(double(head)));
    scores = torch::softmax(scores.masked_fill(future, -1e9), -1);  // (B, H, T, T)
    return proj(torch::matmul(scores, t[2]).transpose(1, 2).reshape({batch, context, width}));
  }
  Tensor forward(Tensor x, const Tensor& future) {  // (B, T, C)
    x = x + attention(norm1(x), future);
    return x + down(torch::gelu(up(norm2(x)), "tanh"));
  }
};
TORCH_MODULE(Block);

struct GptImpl : nn::Module {
  nn::Embedding token{nullptr}, position{nullptr};
  nn::ModuleList blocks;
  nn::LayerNorm norm{nullptr};
  nn::Linear head{nullptr};
  Tensor future, positions;
  explicit GptImpl(const bench::GptSize& size) {
    token = register_module("token", nn::Embedding(size.vocabulary, size.width));
    position = register_module("position", nn::Embedding(size.context, size.width));
    for (int64_t i = 0; i < size.layers; ++i) blocks->push_back(Block(size.width, size.heads));
    register_module("blocks", blocks);
    norm = register_module("norm", nn::LayerNorm(nn::LayerNormOptions({size.width})));
    head = register_module("head", nn::Linear(nn::LinearOptions(size.width, size.vocabulary).bias(false)));
    future = torch::triu(torch::ones({size.context, size.context}, torch::kBool), 1);  // (T, T)
    positions = torch::arange(size.context);
  }
  Tensor forward(const Tensor& tokens) {  // (B, T) -> (B, T, V)
    Tensor x = token(tokens) + position(positions);
    for (const auto& block : *blocks) x = block->as<BlockImpl>()->forward(x, future);
    return head(norm(x));
  }
};
TORCH_MODULE(Gpt);

std::span<float> floats(const Tensor& t) { return {t.data_ptr<float>(), size_t(t.numel())}; }
std::span<int64_t> integers(const Tensor& t) { return {t.data_ptr<int64_t>(), size_t(t.numel())}; }

Tensor normal(torch::IntArrayRef shape, uint64_t seed) {
  Tensor t = torch::empty(shape);
  bench::fill_normal(floats(t), seed);
  return t;
}

Tensor classes(torch::IntArrayRef shape, uint64_t seed, int64_t count) {
  Tensor t = torch::empty(shape, torch::kLong);
  bench::fill_classes(integers(t), seed, count);
  return t;
}

void initialise(nn::Module& model) {
  torch::NoGradGuard no_grad;
  for (const auto& parameter : model.named_parameters()) {
    bench::fill_parameter(parameter.key(), parameter.value().sizes(), floats(parameter.value()));
  }
}

// One whole step: the loss of `predict()` against `target`, its gradient, AdamW.
template <class Predict>
std::function<double()> training_step(nn::Module& model, Predict predict, Tensor target) {
  auto optimizer =
      std::make_shared<torch::optim::AdamW>(model.parameters(), torch::optim::AdamWOptions(bench::learning_rate));
  return [=]() mutable {
    optimizer->zero_grad();
    Tensor loss = F::cross_entropy(predict(), target);
    loss.backward();
    optimizer->step();
    return loss.item<double>();
  };
}

std::function<double()> mlp_step() {
  Mlp model;
  initialise(*model);
  const Tensor x = normal({bench::image_batch, 784}, 1);
  const auto predict = [=]() mutable { return model->forward(x); };
  return training_step(*model, predict, classes({bench::image_batch}, 2, bench::image_classes));
}

std::function<double()> convnet_step(torch::MemoryFormat format) {
  ConvNet model;
  initialise(*model);
  for (Tensor& parameter : model->parameters()) {
    if (parameter.dim() == 4) parameter.set_data(parameter.contiguous(format));
  }
  const Tensor x = normal({bench::image_batch, 1, 28, 28}, 1).contiguous(format);
  const auto predict = [=]() mutable { return model->forward(x); };
  return training_step(*model, predict, classes({bench::image_batch}, 2, bench::image_classes));
}

// The peer gets its better memory format, found by a short trial of both.
std::function<double()> best_convnet_step() {
  const auto milliseconds = [](torch::MemoryFormat format) {
    const auto step = convnet_step(format);
    for (int i = 0; i < 3; ++i) step();
    return bench::measure(0.05, step).wall;
  };
  const bool last = milliseconds(torch::MemoryFormat::ChannelsLast) < milliseconds(torch::MemoryFormat::Contiguous);
  return convnet_step(last ? torch::MemoryFormat::ChannelsLast : torch::MemoryFormat::Contiguous);
}

std::function<double()> gpt_step(const bench::GptSize& size) {
  Gpt model(size);
  initialise(*model);
  const Tensor tokens = classes({size.batch, size.context}, 1, size.vocabulary);
  const auto predict = [=]() mutable { return model->forward(tokens).view({-1, size.vocabulary}); };
  return training_step(*model, predict, classes({size.batch * size.context}, 2, size.vocabulary));
}

std::function<double()> make_step(const std::string& id) {
  if (id == "train/mlp") return mlp_step();
  if (id == "train/convnet") return best_convnet_step();
  if (id == "train/gpt-s") return gpt_step(bench::gpt_s);
  if (id == "train/gpt-m") return gpt_step(bench::gpt_m);
  bench::unknown_id(id);
}

}  // namespace

int main(int argc, char** argv) {
  const bench::Options options = bench::parse_options(argc, argv);
  at::set_num_threads(options.threads);
  for (const std::string& id : options.ids) {
    bench::time_training(bench::split_id(id)[1], options.seconds, make_step(id));
  }
}
