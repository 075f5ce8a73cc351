// Gradus's side of the training figures: bench_gradus_train [--threads N] [--seconds S]
// train/mlp|convnet|gpt-s|gpt-m... The same models as peers/peer_train.cpp, parameter by parameter and name by name.
#include <gradus/gradus.h>

#include <memory>

#include "synthetic.h"
#include "workloads.h"

namespace {

namespace nn = gradus::nn;
using gradus::Tensor;

struct Mlp : nn::Module {
  nn::Linear fc1{784, 256}, fc2{256, 128}, fc3{128, bench::image_classes};
  Tensor forward(const Tensor& x) { return fc3(relu(fc2(relu(fc1(x))))); }  // (B, 784) -> (B, 10)
  GRADUS_MODULE(fc1, fc2, fc3)
};

struct ConvNet : nn::Module {
  nn::Conv2d conv1{1, 16, 3, {.padding = 1}}, conv2{16, 32, 3, {.padding = 1}};
  nn::Linear fc1{32 * 7 * 7, 128}, fc2{128, bench::image_classes};
  Tensor forward(Tensor x) {              // (B, 1, 28, 28)
    x = max_pool2d(relu(conv1(x)), 2);    // (B, 16, 14, 14)
    x = max_pool2d(relu(conv2(x)), 2);    // (B, 32, 7, 7)
    return fc2(relu(fc1(x.flatten(1))));  // (B, 10)
  }
  GRADUS_MODULE(conv1, conv2, fc1, fc2)
};

struct Block : nn::Module {
  int64_t heads;
  nn::LayerNorm norm1, norm2;
  nn::Linear qkv, proj, up, down;
  Block(int64_t width, int64_t head_count)
      : heads(head_count),
        norm1(width),
        norm2(width),
        qkv(width, 3 * width),
        proj(width, width),
        up(width, 4 * width),
        down(4 * width, width) {}
  Tensor forward(Tensor x) {  // (B, T, C)
    x = x + proj(self_attention(qkv(norm1(x)), heads, {.causal = true}));
    return x + down(gelu(up(norm2(x)), gradus::GeluApproximation::tanh));
  }
  GRADUS_MODULE(heads, norm1, norm2, qkv, proj, up, down)
};

struct Gpt : nn::Module {
  nn::Embedding token, position;
  nn::ModuleList<Block> blocks;
  nn::LayerNorm norm;
  nn::Linear head;
  nn::Buffer positions;
  explicit Gpt(const bench::GptSize& size)
      : token(size.vocabulary, size.width),
        position(size.context, size.width),
        blocks(size.layers, [&] { return Block(size.width, size.heads); }),
        norm(size.width),
        head(size.width, size.vocabulary, {.bias = false}),
        positions(gradus::arange(size.context), false) {}
  Tensor forward(const Tensor& tokens) {  // (B, T) -> (B, T, V)
    Tensor x = token(tokens) + position(positions);
    for (Block& block : blocks) x = block(x);
    return head(norm(x));
  }
  GRADUS_MODULE(token, position, blocks, norm, head, positions)
};

template <class T>
std::span<T> values(const Tensor& t) {
  return {t.mutable_data<T>(), size_t(t.numel())};
}

Tensor normal(const gradus::Shape& shape, uint64_t seed) {
  const Tensor t = gradus::empty(shape);
  bench::fill_normal(values<float>(t), seed);
  return t;
}

Tensor classes(const gradus::Shape& shape, uint64_t seed, int64_t count) {
  const Tensor t = gradus::empty(shape, {.dtype = gradus::int64});
  bench::fill_classes(values<int64_t>(t), seed, count);
  return t;
}

// One whole step: the loss of `predict(model)` against `target`, its gradient, AdamW.
template <class Model, class Predict>
std::function<double()> training_step(std::shared_ptr<Model> model, Predict predict, Tensor target) {
  for (const auto& [name, parameter] : model->parameters()) {
    bench::fill_parameter(name, {parameter.shape().begin(), parameter.shape().size()}, values<float>(parameter));
  }
  auto optimizer = std::make_shared<gradus::optim::AdamW>(model->parameters(),
                                                          gradus::optim::AdamWOptions{.lr = bench::learning_rate});
  return [=] {
    optimizer->zero_grad();
    const Tensor loss = cross_entropy(predict(*model), target);
    loss.backward();
    optimizer->step();
    return loss.item<double>();
  };
}

template <class Model>
std::function<double()> image_step(const gradus::Shape& shape) {
  const Tensor x = normal(shape, 1);
  const auto predict = [=](Model& model) { return model(x); };
  return training_step(std::make_shared<Model>(), predict, classes({bench::image_batch}, 2, bench::image_classes));
}

std::function<double()> gpt_step(const bench::GptSize& size) {
  const Tensor tokens = classes({size.batch, size.context}, 1, size.vocabulary);
  const auto predict = [=](Gpt& model) { return model(tokens).view({-1, size.vocabulary}); };
  return training_step(std::make_shared<Gpt>(size), predict, classes({size.batch * size.context}, 2, size.vocabulary));
}

std::function<double()> make_step(const std::string& id) {
  if (id == "train/mlp") return image_step<Mlp>({bench::image_batch, 784});
  if (id == "train/convnet") return image_step<ConvNet>({bench::image_batch, 1, 28, 28});
  if (id == "train/gpt-s") return gpt_step(bench::gpt_s);
  if (id == "train/gpt-m") return gpt_step(bench::gpt_m);
  bench::unknown_id(id);
}

}  // namespace

int main(int argc, char** argv) {
  const bench::Options options = bench::parse_options(argc, argv);
  gradus::set_num_threads(options.threads);
  for (const std::string& id : options.ids) {
    bench::time_training(bench::split_id(id)[1], options.seconds, make_step(id));
  }
}
