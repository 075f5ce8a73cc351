// Modules: names and state from one list of fields, clones, freezing, hooks, containers, initialisers, summary, layers.
#include <gradus/gradus.h>

#include <cmath>
#include <set>

#include "catch.h"

using namespace gradus;
using Catch::Matchers::ContainsSubstring;

namespace {

struct Net : nn::Module {
  nn::Conv2d conv1{1, 4, 3, {.padding = 1}};
  nn::BatchNorm2d norm{4};
  nn::Linear fc{4 * 4 * 4, 3, {.bias = false}};
  nn::Dropout drop{0.5};
  float slope = 0.1f;
  Tensor forward(const Tensor& x) {                              // (B, 1, 8, 8)
    const Tensor h = max_pool2d(relu(norm(conv1(x))), 2);        // (B, 4, 4, 4)
    return fc(drop(h.flatten(1))) * static_cast<double>(slope);  // (B, 3)
  }
  GRADUS_MODULE(conv1, norm, fc, drop, slope)
};

struct Tied : nn::Module {
  nn::Embedding embedding{5, 3};
  nn::Linear head{3, 5, {.bias = false}};
  nn::Parameter scale{ones({1})};
  nn::Buffer table{arange(4)};
  nn::Buffer scratch{zeros({2}), false};
  Tied() { head.weight = embedding.weight; }
  Tensor forward(const Tensor& index) { return head(embedding(index)) * scale; }
  GRADUS_MODULE(embedding, head, scale, table, scratch)
};

struct Block : nn::Module {
  nn::Linear fc;
  std::optional<nn::Linear> shortcut;
  Block(int64_t n, bool with_shortcut) : fc(n, n) {
    if (with_shortcut) shortcut.emplace(n, n);
  }
  Tensor forward(const Tensor& x) { return relu(fc(x)) + (shortcut ? (*shortcut)(x) : x); }
  GRADUS_MODULE(fc, shortcut)
};

struct Stack : nn::Module {
  nn::ModuleList<Block> blocks{2, [] { return Block(3, false); }};
  nn::Sequential tail{nn::Linear{3, 3}, nn::Tanh{}, nn::Sequential{nn::Linear{3, 2}}};
  Tensor forward(Tensor x) {
    for (Block& block : blocks) x = block(x);
    return tail(x);
  }
  GRADUS_MODULE(blocks, tail)
};

// Forgot that inherited members need a list of their own.
struct Careless : Block {
  nn::Linear more{3, 3};
  Careless() : Block(3, false) {}
};

struct Pairs : nn::Module {
  nn::Linear fc{2, 2};
  std::pair<Tensor, int> forward(const Tensor& x, int n) { return {fc(x), n}; }
  GRADUS_MODULE(fc)
};

// A low-rank adapter (Hu et al., arXiv 2106.09685).
struct Lora : nn::Module {
  nn::Parameter a, b;  // [rank, in], [out, rank]
  Lora(int64_t in, int64_t out, int64_t rank) : a(randn({rank, in})), b(zeros({out, rank})) {}
  Tensor forward(const Tensor& x, const Tensor& y) { return y + linear(linear(x, a), b); }
  GRADUS_MODULE(a, b)
};

std::vector<std::string> names(const NamedTensors& tensors) {
  std::vector<std::string> found;
  for (const auto& [name, x] : tensors) found.push_back(name);
  return found;
}
using Names = std::vector<std::string>;

NamedTensors cloned(const NamedTensors& state) {
  NamedTensors copy;
  for (const auto& [name, x] : state) copy.push_back({name, x.clone()});
  return copy;
}

void set(const Tensor& x, Scalar value) {
  const NoGrad no_graph;
  x.fill_(value);
}

double mean_of(const Tensor& x) { return mean(x.detach().to(float64)).item<double>(); }
double std_of(const Tensor& x) { return stddev(x.detach().to(float64)).item<double>(); }

}  // namespace

// ---- names, state
TEST_CASE("names are PyTorch's") {
  Net net;
  CHECK(names(net.parameters()) == Names{"conv1.weight", "conv1.bias", "norm.weight", "norm.bias", "fc.weight"});
  CHECK(names(net.buffers()) == Names{"norm.running_mean", "norm.running_var", "norm.num_batches_tracked"});
  CHECK(names(net.state_dict()).size() == 8);
  CHECK(net.num_parameters() == 4 * 9 + 4 + 4 + 4 + 64 * 3);
  CHECK(net.state_name() == std::string("model"));

  Stack stack;
  CHECK(names(stack.parameters()) == Names{"blocks.0.fc.weight", "blocks.0.fc.bias", "blocks.1.fc.weight",
                                           "blocks.1.fc.bias", "tail.0.weight", "tail.0.bias", "tail.2.0.weight",
                                           "tail.2.0.bias"});
  Names modules;
  for (const auto& [name, module] : stack.named_modules()) modules.push_back(name);
  CHECK(modules == Names{"", "blocks", "blocks.0", "blocks.0.fc", "blocks.1", "blocks.1.fc", "tail", "tail.0", "tail.1",
                         "tail.2", "tail.2.0"});
  CHECK(names(Block(3, true).parameters()) == Names{"fc.weight", "fc.bias", "shortcut.weight", "shortcut.bias"});
}

TEST_CASE("layouts of weights are PyTorch's") {
  CHECK(nn::Linear(5, 7).weight.shape() == Shape{7, 5});
  CHECK(nn::Conv2d(6, 4, {3, 5}, {.groups = 2}).weight.shape() == Shape{4, 3, 3, 5});
  CHECK(nn::ConvTranspose2d(6, 4, 3, {.groups = 2}).weight.shape() == Shape{6, 2, 3, 3});
  CHECK(nn::Embedding(10, 3).weight.shape() == Shape{10, 3});
  nn::MultiheadAttention attention(8, 2);
  CHECK(names(attention.parameters()) == Names{"in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias"});
  CHECK(attention.in_proj_weight.shape() == Shape{24, 8});
  CHECK(names(nn::TransformerEncoderLayer(8, 2).parameters()) ==
        Names{"self_attn.in_proj_weight", "self_attn.in_proj_bias", "self_attn.out_proj.weight",
              "self_attn.out_proj.bias", "linear1.weight", "linear1.bias", "linear2.weight", "linear2.bias",
              "norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias"});
}

TEST_CASE("tied tensors count once, and are saved under all their names") {
  Tied net;
  CHECK(names(net.parameters()) == Names{"embedding.weight", "scale"});
  CHECK(names(net.buffers()) == Names{"table", "scratch"});
  CHECK(names(net.state_dict()) == Names{"embedding.weight", "head.weight", "scale", "table"});
  // One of the names is enough to load.
  NamedTensors state = cloned(net.state_dict());
  std::erase_if(state, [](const NamedTensor& e) { return e.name == "head.weight"; });
  state[0].tensor.fill_(2);
  net.load_state_dict(state);
  CHECK(mean_of(net.head.weight) == 2);
}

TEST_CASE("a state dict goes round, converting floats") {
  Net a, b;
  CHECK(!equal(a.fc.weight.detach(), b.fc.weight.detach()));
  const Tensor handle = b.fc.weight;
  b.load_state_dict(a.state_dict());
  CHECK(equal(a.fc.weight.detach(), b.fc.weight.detach()));
  CHECK(b.fc.weight.is(handle));
  CHECK(!a.state_dict()[0].tensor.requires_grad());
  a.to(float64);
  set(a.fc.weight, 0.25);
  b.load_state_dict(a.state_dict());
  CHECK(b.fc.weight.dtype() == float32);
  CHECK(mean_of(b.fc.weight) == 0.25);
}

TEST_CASE("a state that does not fit is refused whole, with a list") {
  Net net;
  set(net.fc.weight, 1);
  NamedTensors state = cloned(net.state_dict());
  for (NamedTensor& e : state) {
    if (e.name == "fc.weight") e.tensor = zeros({3, 64});
    if (e.name == "norm.bias") e.tensor = zeros({5});
    if (e.name == "norm.num_batches_tracked") e.tensor = zeros({});
    if (e.name == "conv1.bias") e.name = "conv1.offset";
  }
  try {
    net.load_state_dict(state);
    FAIL("must throw");
  } catch (const CheckpointError& e) {
    for (const char* part :
         {"1 missing: conv1.bias", "1 unexpected: conv1.offset", "'norm.bias' is float32[5]; want float32[4]",
          "'norm.num_batches_tracked' is float32[]; want int64[]"})
      CHECK_THAT(e.what(), ContainsSubstring(part));
  }
  CHECK(mean_of(net.fc.weight) == 1);

  std::erase_if(state, [](const NamedTensor& e) { return e.name.starts_with("norm"); });
  CHECK_THROWS_AS(net.load_state_dict(state), CheckpointError);
  const nn::LoadReport report = net.load_state_dict(state, {.strict = false});
  CHECK(report.missing.size() == 6);
  CHECK(report.unexpected == Names{"conv1.offset"});
  CHECK(mean_of(net.fc.weight) == 0);

  state.push_back(state.front());
  CHECK_THROWS_WITH(net.load_state_dict(state, {.strict = false}), ContainsSubstring("comes twice"));
  CHECK_THROWS_WITH(net.load_state_dict({{"fc.weight", Tensor()}}), ContainsSubstring("undefined"));
}

// ---- copies and moves
TEST_CASE("modules move, and refuse to be copied") {
  Net net;
  const Tensor weight = net.fc.weight;
  Net moved = std::move(net);
  CHECK(moved.fc.weight.is(weight));
  CHECK_THROWS_WITH(Net(moved), ContainsSubstring("nn::clone"));
  std::vector<Block> blocks;
  for (int i = 0; i < 5; ++i) blocks.emplace_back(3, i % 2 == 0);  // reallocation moves
  CHECK(blocks[4].shortcut.has_value());
  CHECK_THROWS_AS(std::vector<Block>(2, blocks[0]), Error);
  static_assert(std::is_nothrow_move_constructible_v<Net> && !std::is_copy_assignable_v<Net>);
}

TEST_CASE("clone copies each tensor once") {
  Tied net;
  net.embedding.freeze();
  net.eval();
  Tied copy = nn::clone(net);
  CHECK(copy.head.weight.is(copy.embedding.weight));
  CHECK(!copy.head.weight.is(net.head.weight));
  CHECK(equal(copy.head.weight.detach(), net.head.weight.detach()));
  CHECK(!copy.head.weight.requires_grad());
  CHECK(copy.scale.requires_grad());
  CHECK(copy.scale.is_leaf());
  CHECK(!copy.head.is_training());
  set(copy.scale, 7);
  set(copy.table, 7);
  CHECK(mean_of(net.scale) == 1);
  CHECK(mean_of(net.table) == 1.5);

  Stack stack;
  Stack other = nn::clone(stack);
  const NamedTensors a = stack.parameters(), b = other.parameters();
  REQUIRE(names(a) == names(b));
  for (size_t i = 0; i < a.size(); ++i) {
    CHECK(!a[i].tensor.is(b[i].tensor));
    CHECK(equal(a[i].tensor.detach(), b[i].tensor.detach()));
  }
  const Tensor x = randn({2, 3});
  CHECK(equal(stack(x).detach(), other(x).detach()));
  // The scope is over: plain copies are refused again.
  CHECK_THROWS_AS(Stack(stack), Error);
  const nn::Linear& part = net.head;
  CHECK(nn::clone(part).weight.shape() == Shape{5, 3});
}

TEST_CASE("a derived module without a list of its own is refused") {
  Careless net;
  CHECK_THROWS_WITH(net.parameters(), ContainsSubstring("Careless") && ContainsSubstring("GRADUS_MODULE"));
  const Block& part = net;
  CHECK_THROWS_WITH(nn::clone(part), ContainsSubstring("Careless"));
}

TEST_CASE("to(dtype) keeps the handles and converts gradients") {
  Tied net;
  const Tensor handle = net.scale;
  sum(net(tensor({1.0, 2.0}, {.dtype = int64}))).backward();
  const double gradient = net.scale.grad().item<double>();
  net.to(float64);
  CHECK(net.scale.is(handle));
  CHECK(handle.dtype() == float64);
  CHECK(net.scale.grad().dtype() == float64);
  CHECK(net.scale.grad().item<double>() == gradient);
  CHECK(net.table.dtype() == int64);
  CHECK(net.scratch.dtype() == float64);
  CHECK(net.head.weight.is(net.embedding.weight));
  net.zero_grad();
  CHECK(!net.scale.grad().defined());
  sum(net(tensor({1.0, 2.0}, {.dtype = int64}))).backward();
  CHECK(net.scale.grad().item<double>() == Approx(gradient).epsilon(1e-5));
  CHECK_THROWS_AS(net.to(int64), DtypeError);
  net.to(Device::cpu());
  CHECK(net.scale.is(handle));
}

TEST_CASE("hooks on gradients go with a converted parameter") {
  nn::Linear layer(2, 2);
  int calls = 0;
  on_grad_ready(layer.weight, [&](const Tensor&) { ++calls; });
  layer.to(float64);
  sum(layer(ones({1, 2}, {.dtype = float64}))).backward();
  CHECK(calls == 1);
}

// ---- modes, freezing
TEST_CASE("train and eval reach every layer") {
  Net net;
  CHECK(net.is_training());
  net.eval();
  CHECK(!net.drop.is_training());
  CHECK(!net.norm.is_training());
  const Tensor x = randn({2, 1, 8, 8});
  CHECK(equal(net(x).detach(), net(x).detach()));
  CHECK(net.norm.num_batches_tracked.item<int64_t>() == 0);
  net.train();
  CHECK(net.drop.is_training());
  net(x);
  CHECK(net.norm.num_batches_tracked.item<int64_t>() == 1);
  CHECK(std::fabs(mean_of(net.norm.running_var) - 1) > 1e-3);
}

TEST_CASE("freeze and unfreeze by pattern") {
  Net net;
  sum(net(randn({2, 1, 8, 8}))).backward();
  CHECK(net.freeze("conv1.*") == 2);
  CHECK(names(net.trainable_parameters()) == Names{"norm.weight", "norm.bias", "fc.weight"});
  CHECK(!net.conv1.weight.grad().defined());
  CHECK(net.fc.weight.grad().defined());
  net.zero_grad();
  sum(net(randn({2, 1, 8, 8}))).backward();
  CHECK(!net.conv1.weight.grad().defined());
  CHECK(net.unfreeze("*.weight") == 3);
  CHECK(net.conv1.weight.requires_grad());
  CHECK(!net.conv1.bias.requires_grad());
  CHECK(net.freeze() == 5);
  CHECK(net.trainable_parameters().empty());
  CHECK_THROWS_WITH(net.freeze("conv1"), ContainsSubstring("'conv1'") && ContainsSubstring("conv1.weight"));
}

// ---- hooks
TEST_CASE("forward hooks see and replace") {
  nn::Linear layer(2, 2);
  set(layer.weight, 1);
  set(layer.bias, 0);
  const Tensor x = ones({1, 2});
  const int64_t doubles = layer.register_forward_pre_hook([](nn::Module&, const Tensor& in) { return in * 2.0; });
  double seen = 0;
  const int64_t watches = layer.register_forward_hook([&](nn::Module& self, const Tensor& in, const Tensor& out) {
    CHECK(&self == &layer);
    seen = mean_of(in) + mean_of(out);
    return Tensor();
  });
  const int64_t negates =
      layer.register_forward_hook([](nn::Module&, const Tensor&, const Tensor& out) { return -out; });
  CHECK(mean_of(layer(x)) == -4);
  CHECK(seen == 6);
  CHECK(mean_of(layer.forward(x)) == 2);
  layer.remove_hook(doubles);
  CHECK(mean_of(layer(x)) == -2);
  layer.remove_hook(negates);
  layer.remove_hook(watches);
  CHECK(mean_of(layer(x)) == 2);
  CHECK_THROWS_AS(layer.remove_hook(watches), ValueError);
  CHECK_THROWS_AS(layer.register_forward_hook({}), ValueError);
}

TEST_CASE("a hook may remove itself, and other results pass by") {
  nn::Linear layer(2, 2);
  int calls = 0;
  int64_t once = 0;
  once = layer.register_forward_pre_hook([&](nn::Module& self, const Tensor&) {
    ++calls;
    self.remove_hook(once);
    return Tensor();
  });
  layer(ones({1, 2}));
  layer(ones({1, 2}));
  CHECK(calls == 1);

  Pairs net;
  net.register_forward_hook([&](nn::Module&, const Tensor& in, const Tensor& out) {
    CHECK(in.defined());
    CHECK(!out.defined());
    ++calls;
    return Tensor();
  });
  CHECK(net(ones({1, 2}), 5).second == 5);
  CHECK(calls == 2);
  Pairs copy = nn::clone(net);
  copy(ones({1, 2}), 5);
  CHECK(calls == 2);
}

// ---- adapters
TEST_CASE("an attached module works on results, and is a part like any other") {
  nn::Sequential net{nn::Linear{4, 3}, nn::ReLU{}, nn::Linear{3, 2}};
  const Tensor x = randn({5, 4}), before = net(x).detach();
  net.freeze();
  Lora& lora = net.get<nn::Linear>(0).attach("lora", Lora(4, 3, 2));
  CHECK(names(net.trainable_parameters()) == Names{"0.lora.a", "0.lora.b"});
  CHECK(net.named_modules()[2].module == &lora);
  CHECK(equal(net(x).detach(), before));
  set(lora.b, 0.5);
  const Tensor after = net(x).detach();
  CHECK(!equal(after, before));

  nn::Sequential moved = std::move(net), copy = nn::clone(moved);
  CHECK(equal(moved(x).detach(), after));
  CHECK(equal(copy(x).detach(), after));
  CHECK(names(copy.state_dict()) == names(moved.state_dict()));
  CHECK(!find(copy.parameters(), "0.lora.b").is(lora.b));
  set(find(copy.parameters(), "0.lora.b"), 0);
  CHECK(equal(copy(x).detach(), before));
  CHECK(equal(moved(x).detach(), after));
  moved.to(float64).eval();
  CHECK(lora.b.dtype() == float64);
  CHECK(!lora.is_training());
  sum(moved(x.to(float64))).backward();
  CHECK(lora.b.grad().defined());
}

TEST_CASE("adapters come before hooks and stay when hooks go") {
  nn::Linear layer(2, 2);
  set(layer.weight, 1);
  set(layer.bias, 0);
  set(layer.attach("one", Lora(2, 2, 1)).b, 0);
  Lora& two = layer.attach("two", Lora(2, 2, 1));
  set(two.a, 1);
  set(two.b, 1);
  double seen = 0;
  const int64_t hook = layer.register_forward_hook([&](nn::Module&, const Tensor&, const Tensor& y) {
    seen = mean_of(y);
    return Tensor();
  });
  CHECK(mean_of(layer(ones({1, 2}))) == 4);
  CHECK(seen == 4);
  layer.remove_hook(hook);
  CHECK(mean_of(layer(ones({1, 2}))) == 4);
}

TEST_CASE("attach refuses names that are taken or none, and results that are no Tensor") {
  nn::Linear layer(2, 2);
  layer.attach("lora", Lora(2, 2, 1));
  CHECK_THROWS_WITH(layer.attach("lora", Lora(2, 2, 1)), ContainsSubstring("'lora' already"));
  CHECK_THROWS_AS(layer.attach("bias", Lora(2, 2, 1)), ValueError);
  CHECK_THROWS_AS(layer.attach("", Lora(2, 2, 1)), ValueError);
  CHECK_THROWS_AS(layer.attach("a.b", Lora(2, 2, 1)), ValueError);
  CHECK(layer.parameters().size() == 4);
  Pairs pairs;
  pairs.attach("lora", Lora(2, 2, 1));
  CHECK_THROWS_WITH(pairs(ones({1, 2}), 5), ContainsSubstring("Pairs") && ContainsSubstring("'lora'"));
}

// ---- containers
TEST_CASE("Sequential runs in order and gives its layers back") {
  nn::Sequential net{nn::Linear{2, 3}, nn::ReLU{}, nn::Linear{3, 1}};
  CHECK(net.size() == 3);
  CHECK(net(ones({4, 2})).shape() == Shape{4, 1});
  CHECK(net.get<nn::Linear>(2).weight.shape() == Shape{1, 3});
  CHECK_THROWS_WITH(net.get<nn::ReLU>(0), ContainsSubstring("Linear") && ContainsSubstring("ReLU"));
  CHECK_THROWS_AS(net[3], IndexError);
  CHECK_THROWS_AS(net[-1], IndexError);
  net.push_back(nn::Sigmoid{});
  CHECK(net.size() == 4);
  nn::Sequential moved = std::move(net);
  CHECK(moved.size() == 4);
  const Tensor x = randn({2, 2});
  CHECK(nn::Sequential{}(x).is(x));
}

TEST_CASE("each layer of a ModuleList has parameters of its own") {
  nn::ModuleList<nn::Linear> layers{3, [] { return nn::Linear{2, 2}; }};
  CHECK(layers.size() == 3);
  CHECK(layers.parameters().size() == 6);
  layers.push_back(nn::Linear{2, 5});
  CHECK(layers[3].weight.size(0) == 5);
  CHECK_THROWS_AS(layers[4], IndexError);
}

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

// ---- summary
TEST_CASE("summary counts shapes, parameters, multiply-adds and bytes") {
  Net net;
  net.norm.eval();
  net.freeze("fc.*");
  const nn::Summary s = nn::summary(net, {2, 1, 8, 8});
  REQUIRE(s.rows.size() == 5);
  CHECK(s.rows[0].type.find("Net") != std::string::npos);
  CHECK(s.rows[1].name == "conv1");
  CHECK(s.rows[1].type == "Conv2d");
  CHECK(*s.rows[1].output == Shape{2, 4, 8, 8});
  CHECK(s.rows[1].parameters == 40);
  CHECK(s.rows[1].macs == 2 * 4 * 64 * 9);
  CHECK(s.rows[3].macs == 2 * 3 * 64);
  CHECK(s.rows[0].macs == s.macs);
  CHECK(s.macs == 2 * 4 * 64 * 9 + 2 * 3 * 64);
  CHECK(s.parameters == 240);
  CHECK(s.trainable_parameters == 48);
  CHECK(s.parameter_bytes == 960);
  CHECK(s.buffer_bytes == 4 * 8 + 8);
  CHECK(s.input_bytes == 512);
  CHECK(s.activation_bytes == 4 * (512 + 512 + 6 + 128));
  // Everything is as it was.
  CHECK(net.is_training());
  CHECK(net.drop.is_training());
  CHECK(!net.norm.is_training());
  CHECK(net.norm.num_batches_tracked.item<int64_t>() == 0);
  const std::string text = to_string(s);
  for (const char* part : {"conv1", "Conv2d", "[2, 4, 8, 8]", "4,608", "240", "48 trainable", "4,992"})
    CHECK_THAT(text, ContainsSubstring(part));
  CHECK(detail::to_text(s) == text);  // what print() shows

  Tied tied;
  const nn::Summary t = nn::summary(tied, {2, 3}, {.dtype = int64});
  CHECK(t.parameters == 16);
  CHECK(t.macs == 2 * 3 * 3 * 5);
  Stack stack;
  const nn::Summary nested = nn::summary(stack, {5, 3});
  CHECK(nested.macs == 5 * (9 + 9 + 9 + 6));
  for (const nn::SummaryRow& row : nested.rows) {
    if (row.name == "blocks") CHECK((!row.output && row.calls == 0 && row.macs == 5 * 18 && row.parameters == 24));
    if (row.name == "tail") CHECK((row.calls == 1 && row.macs == 5 * 15));
    if (row.name == "tail.2") CHECK((row.depth == 2 && row.macs == 5 * 6 && row.type == "Sequential"));
  }
  CHECK_THROWS_AS(nn::summary(net, {2, 9, 8, 8}), Error);
  CHECK(net.is_training());
}

TEST_CASE("evaluate_accuracy counts right answers and leaves modes alone") {
  Net net;
  net.drop.eval();
  std::vector<std::pair<Tensor, Tensor>> batches;
  int64_t right = 0;
  for (int i = 0; i < 3; ++i) {
    const Tensor x = randn({4 + i, 1, 8, 8}), y = randint(3, {4 + i});
    batches.emplace_back(x, y);
    const nn::Evaluation scope(net);
    CHECK(!net(x).requires_grad());
    right += sum(argmax(net(x), 1) == y).item<int64_t>();
  }
  CHECK(evaluate_accuracy(net, batches) == static_cast<double>(right) / 15);
  CHECK(net.norm.is_training());
  CHECK(!net.drop.is_training());
  CHECK(net.norm.num_batches_tracked.item<int64_t>() == 0);
  batches = {{randn({2, 1, 8, 8}), zeros({3}, {.dtype = int64})}};
  CHECK_THROWS_AS(evaluate_accuracy(net, batches), ShapeError);
  batches.clear();
  CHECK_THROWS_AS(evaluate_accuracy(net, batches), ValueError);
}

TEST_CASE("a small net learns") {
  manual_seed(1);
  nn::Sequential net{nn::Linear{2, 16}, nn::Tanh{}, nn::Linear{16, 2}};
  optim::AdamW opt(net.parameters(), {.lr = 0.05});
  const Tensor x = randn({64, 2});
  const Tensor y = (x.select(1, 0) * x.select(1, 1) > 0.0).to(int64);
  double first = 0, last = 0;
  for (int i = 0; i < 60; ++i) {
    const Tensor loss = cross_entropy(net(x), y);
    opt.zero_grad();
    loss.backward();
    optim::clip_grad_norm(net.parameters(), 1);
    opt.step();
    (i == 0 ? first : last) = loss.item<double>();
  }
  CHECK(last < 0.3 * first);
}
