// Modules: names and state from one list of fields, clones, conversions, modes, freezing, containers. Hooks, layers and
// the summary have suites of their own.
#include <cmath>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

#include "modules.h"

using Catch::Matchers::ContainsSubstring;

namespace {

// Forgot that inherited members need a list of their own.
struct Careless : Block {
  nn::Linear more{3, 3};
  Careless() : Block(3, false) {}
};

NamedTensors cloned(const NamedTensors& state) {
  NamedTensors copy;
  for (const auto& [name, x] : state) copy.push_back({name, x.clone()});
  return copy;
}

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

// ---- all of it
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
