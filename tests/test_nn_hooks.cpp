// What is put to a module later: forward hooks, and adapters by attach().
#include <string>
#include <utility>

#include "modules.h"

using Catch::Matchers::ContainsSubstring;

namespace {

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

}  // namespace

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
