// The engine and the graph: orders of derivatives, leaves, hooks, errors, long and shared graphs, threads,
// checkpointing.
#include <thread>

#include "catch.h"

#include <gradus/gradus.h>

using namespace gradus;
using Catch::Matchers::ContainsSubstring;
using In = std::span<const Tensor>;

namespace {

Tensor leaf(std::initializer_list<double> values) { return tensor(values, {.dtype = float64, .requires_grad = true}); }
double at(const Tensor& x, int64_t i = 0) { return x.detach().flatten()[i].item<double>(); }

}  // namespace

TEST_CASE("a product has the textbook derivatives of three orders") {
  const Tensor x = leaf({2});
  const Tensor y = x * x * x * x;
  const Tensor first = grad(y, x, {.create_graph = true});
  CHECK(at(first) == Approx(32));
  const Tensor second = grad(first, x, {.create_graph = true});
  CHECK(at(second) == Approx(48));
  CHECK(at(grad(second, x)) == Approx(48));
}

TEST_CASE("backward adds to grad, and zeroing starts again") {
  const Tensor x = leaf({1, 2});
  sum(x * 3.0).backward();
  sum(x * 4.0).backward();
  CHECK(at(x.grad(), 0) == 7);
  x.set_grad({});
  CHECK_FALSE(x.grad().defined());
  sum(x * x).backward();
  CHECK(at(x.grad(), 1) == 4);
}

TEST_CASE("gradients of two leaves never share memory") {
  const Tensor x = leaf({1, 2}), y = leaf({3, 4});
  sum(x + y).backward();
  x.grad().fill_(9);
  CHECK(at(y.grad()) == 1);
}

TEST_CASE("broadcast inputs get gradients of their own shape") {
  const Tensor x = randn({3, 4}, {.dtype = float64, .requires_grad = true}),
               b = randn({4}, {.dtype = float64, .requires_grad = true}),
               c = randn({3, 1}, {.dtype = float64, .requires_grad = true});
  sum(x * b + c).backward();
  CHECK(b.grad().shape() == Shape({4}));
  CHECK(c.grad().shape() == Shape({3, 1}));
  CHECK(at(c.grad()) == Approx(4));
}

TEST_CASE("a tensor used twice gathers both contributions before it is visited") {
  const Tensor x = leaf({3});
  const Tensor y = x * 2.0;
  int visits = 0;
  register_hook(y, [&](const Tensor&) { return ++visits, Tensor(); });
  (y * y + y).backward();
  CHECK(visits == 1);
  CHECK(at(x.grad()) == Approx(2 * (2 * 6 + 1)));
}

TEST_CASE("hooks see and replace gradients; readiness comes once, when the leaf is complete") {
  const Tensor x = leaf({1});
  int ready = 0;
  on_grad_ready(x, [&](const Tensor& g) {
    ++ready;
    CHECK(at(g) == Approx(50));
  });
  const Tensor y = x * 5.0;
  register_hook(y, [](const Tensor& g) { return g * 10.0; });
  y.backward();
  CHECK(ready == 1);
}

TEST_CASE("a gradient is kept in memory that was given, summed and zeroed as any other") {
  const Tensor flat = full({4}, 7, {.dtype = float64}), x = leaf({1, 2}), y = leaf({3, 4});
  const Tensor place = as_strided(flat, {2}, {1}, 1);
  keep_grad_in(x, place);
  CHECK_FALSE(x.grad().defined());
  sum(x * y).backward();
  CHECK(x.grad().is(place));
  CHECK(equal(flat, tensor({7, 3, 4, 7}, {.dtype = float64})));
  CHECK(y.grad().impl().storage != flat.impl().storage);
  sum(x * y + x).backward();
  CHECK(equal(flat, tensor({7, 7, 9, 7}, {.dtype = float64})));
  x.set_grad({});
  sum(x * y).backward();
  CHECK(equal(flat, tensor({7, 3, 4, 7}, {.dtype = float64})));

  SECTION("a gradient that was set elsewhere is brought there") {
    x.set_grad(tensor({10, 20}, {.dtype = float64}));
    sum(x * y).backward();
    CHECK(x.grad().is(place));
    CHECK(equal(flat, tensor({7, 13, 24, 7}, {.dtype = float64})));
  }
  SECTION("one with a history is not") {
    x.set_grad({});
    sum(x * x * y).backward({}, true, true);
    CHECK(x.grad().requires_grad());
    CHECK(equal(flat, tensor({7, 3, 4, 7}, {.dtype = float64})));
  }
  SECTION("until it is taken back") {
    keep_grad_in(x, {});
    x.set_grad({});
    sum(x * y).backward();
    CHECK_FALSE(x.grad().is(place));
  }
  SECTION("it must fit") {
    CHECK_THROWS_WITH(keep_grad_in(x, flat), ContainsSubstring("memory [4] for a leaf [2]"));
    CHECK_THROWS_AS(keep_grad_in(x, zeros({2})), DtypeError);
    CHECK_THROWS_AS(keep_grad_in(x * y, place), GradError);
    CHECK_THROWS_WITH(keep_grad_in(x, x * y), ContainsSubstring("has a history"));
  }
}

TEST_CASE("the end of a backward is told once, of the outermost, and of one that failed") {
  const Tensor x = leaf({2}), y = leaf({3});
  std::vector<std::string> seen;
  on_grad_ready(x, [&](const Tensor&) {
    seen.push_back("x");
    on_backward_end([&](bool completed) {
      seen.push_back(completed ? "end" : "failed");
      CHECK(y.grad().defined() == completed);
    });
  });
  SECTION("after all leaves") {
    sum(y * 2.0 + x).backward();
    CHECK(seen == std::vector<std::string>{"x", "end"});
  }
  SECTION("not at the end of one inside") {
    const Tensor z = y * 2.0, loss = sum(x * 3.0);
    register_hook(z, [&](const Tensor&) -> Tensor {
      loss.backward();
      seen.push_back("inner");
      return {};
    });
    sum(z).backward();
    CHECK(seen == std::vector<std::string>{"x", "inner", "end"});
  }
  SECTION("with an exception") {
    on_grad_ready(x, [](const Tensor&) { throw ValueError("thrown by a hook"); });
    CHECK_THROWS_WITH(sum(x * 3.0).backward(), "thrown by a hook");
    CHECK(seen == std::vector<std::string>{"x", "failed"});
  }
  SECTION("with an exception before the leaf's gradient is ready") {
    std::string told;
    on_backward_failed(x, [&] {
      try {
        throw;
      } catch (const ValueError& e) {
        told += e.what();
      }
      throw ValueError("is lost");
    });
    const Tensor loss = sum(x * 3.0);
    sum(y * 3.0).backward();
    CHECK(told.empty());
    register_hook(loss, [](const Tensor&) -> Tensor { throw ValueError("thrown early"); });
    CHECK_THROWS_WITH(loss.backward(), "thrown early");
    CHECK(told == "thrown early");
  }
  SECTION("the hook's own exception is backward's, and the other hooks are called all the same") {
    on_grad_ready(y, [&](const Tensor&) { on_backward_end([&](bool) { seen.push_back("other"); }); });
    on_grad_ready(x, [&](const Tensor&) { on_backward_end([](bool) { throw ValueError("thrown at the end"); }); });
    CHECK_THROWS_WITH(sum(x * y).backward(), "thrown at the end");
    CHECK(seen.size() == 3);
    sum(y * 2.0).backward();
    CHECK(seen.size() == 4);
  }
  CHECK_THROWS_WITH(on_backward_end([](bool) {}), ContainsSubstring("no backward is running"));
}

TEST_CASE("nothing is recorded without need") {
  const Tensor x = leaf({1}), constant = tensor({1}, {.dtype = float64});
  CHECK_FALSE((constant * constant).requires_grad());
  {
    const NoGrad no_graph;
    CHECK_FALSE((x * x).requires_grad());
    const EnableGrad graph;
    CHECK((x * x).requires_grad());
  }
  CHECK_FALSE(x.detach().requires_grad());
  CHECK_FALSE((x > 0).requires_grad());
}

TEST_CASE("misuse is a GradError that says what to do") {
  const Tensor x = leaf({1, 2});
  CHECK_THROWS_WITH((x * x).backward(), ContainsSubstring("one element"));
  CHECK_THROWS_WITH(x.detach().backward(), ContainsSubstring("does not require grad"));
  const Tensor y = sum(x * x);
  y.backward();
  CHECK_THROWS_WITH(y.backward(), ContainsSubstring("retain_graph"));
  CHECK_THROWS_AS(y.requires_grad_(false), GradError);
  CHECK_THROWS_AS(tensor(std::initializer_list<double>{1}, {.dtype = int64}).requires_grad_(), DtypeError);
  CHECK_THROWS_AS(grad(sum(x), leaf({1})), GradError);
  CHECK_THROWS_AS(sum(x).backward(ones({2}, {.dtype = float64})), ShapeError);
}

TEST_CASE("retain_graph allows a second backward") {
  const Tensor x = leaf({3});
  const Tensor y = x * x;
  y.backward({}, true);
  y.backward();
  CHECK(at(x.grad()) == Approx(12));
}

TEST_CASE("in-place changes are refused while recorded, and noticed when saved") {
  const Tensor x = leaf({1, 2});
  CHECK_THROWS_AS(x += tensor({1, 1}, {.dtype = float64}), GradError);
  const Tensor w = tensor({1, 2}, {.dtype = float64});
  const Tensor y = sum(x * w);
  w.fill_(5);
  CHECK_THROWS_WITH(y.backward(), ContainsSubstring("modified in place"));
  const NoGrad no_graph;
  x += 1.0;
  CHECK(at(x) == 2);
}

TEST_CASE("a wrong backward lambda is named") {
  const Tensor x = leaf({1, 2});
  const auto op = [](const Tensor& in, auto backward) {
    Tensor y = empty_like(in);
    y.copy_(in.detach());
    return record("mine", y, {&in}, save(), backward);
  };
  CHECK_THROWS_WITH(sum(op(x, [](const Tensor&, const Saved&) -> Grads { return {}; })).backward(),
                    ContainsSubstring("mine: backward returned 0 gradients"));
  CHECK_THROWS_WITH(sum(op(x, [](const Tensor& g, const Saved&) -> Grads { return {g.to(float32)}; })).backward(),
                    ContainsSubstring("mine"));
  CHECK_THROWS_AS(
      sum(op(x, [](const Tensor&, const Saved&) -> Grads { return {zeros({5}, {.dtype = float64})}; })).backward(),
      ShapeError);
  // The failed runs left the graph usable.
  sum(x * x).backward();
  CHECK(at(x.grad()) == 2);
}

TEST_CASE("record_no_derivative throws the op's name instead of cutting the gradient") {
  const Tensor x = leaf({1});
  Tensor y = empty_like(x);
  y.fill_(1);
  y = record_no_derivative("odd", y, {&x}, "it was never derived");
  CHECK_THROWS_WITH(y.backward(), ContainsSubstring("odd has no derivative: it was never derived"));
}

TEST_CASE("a chain of a million ops neither overflows the stack going back nor dying") {
  const Tensor x = leaf({1}), one = tensor({1}, {.dtype = float64});
  Tensor y = x;
  for (int i = 0; i < 1'000'000; ++i) y = y + one;
  y.backward();
  CHECK(at(x.grad()) == 1);
  y = {};
  Tensor z = x;
  for (int i = 0; i < 300'000; ++i) z = z * one;  // through saved tensors too
}

TEST_CASE("graphs die with their outputs") {
  release_memory_cache();
  const int64_t before = memory_stats().live;
  {
    const Tensor x = randn({64, 1024}, {.requires_grad = true});
    const Tensor y = sum(exp(x) * x);
    CHECK(memory_stats().live > before);
  }
  CHECK(memory_stats().live == before);
}

TEST_CASE("a backward inside a hook, over shared nodes, leaves the outer one right") {
  const Tensor x = leaf({2});
  const Tensor shared = x * x;
  double inner = 0;
  const Tensor y = shared * 3.0;
  register_hook(y, [&](const Tensor&) {
    const EnableGrad graph;
    inner = at(grad(shared, x, {.retain_graph = true}));
    return Tensor();
  });
  (y + shared).backward();
  CHECK(inner == Approx(4));
  CHECK(at(x.grad()) == Approx(16));
}

TEST_CASE("different threads differentiate different graphs") {
  std::vector<std::thread> threads;
  std::vector<double> results(4);
  for (size_t t = 0; t < results.size(); ++t)
    threads.emplace_back([&, t] {
      for (int repeat = 0; repeat < 200; ++repeat) {
        const Tensor x = leaf({static_cast<double>(t + 1)});
        (x * x * x).backward();
        results[t] = at(x.grad());
      }
    });
  for (std::thread& thread : threads) thread.join();
  for (size_t t = 0; t < results.size(); ++t) CHECK(results[t] == Approx(3.0 * static_cast<double>((t + 1) * (t + 1))));
}

TEST_CASE("two threads over one graph: a GradError, not a race") {
  const Tensor x = leaf({2});
  const Tensor y = x * x;
  register_hook(y, [&](const Tensor&) {
    std::string message;
    std::thread([&] {
      try {
        grad(y, x);
      } catch (const GradError& error) {
        message = error.what();
      }
    }).join();
    CHECK_THAT(message, ContainsSubstring("another thread"));
    return Tensor();
  });
  y.backward();
  CHECK(at(x.grad()) == 4);
}

TEST_CASE("checkpoint gives the same gradients, of both orders, and keeps less") {
  const Tensor x = randn({8, 1024}, {.dtype = float64, .requires_grad = true}),
               w = randn({1024}, {.dtype = float64, .requires_grad = true});
  const TensorFunction block = [](In in) {
    Tensor h = in[0];
    for (int i = 0; i < 8; ++i) h = tanh(h * in[1] + 0.1);
    return h;
  };
  const Tensor plain = sum(block({{x, w}}));
  const std::vector<Tensor> leaves = {x, w};
  const std::vector<Tensor> wanted = grad({&plain, 1}, leaves);

  const int64_t before = memory_stats().live;
  const Tensor y = sum(checkpoint(block, {x, w}));
  const int64_t kept = memory_stats().live - before;
  CHECK(kept < 3 * x.nbytes());
  const std::vector<Tensor> got = grad({&y, 1}, leaves, {.retain_graph = true});
  for (size_t i = 0; i < 2; ++i) CHECK(equal(got[i], wanted[i]));

  const Tensor small = randn({3}, {.dtype = float64}), factor = randn({3}, {.dtype = float64});
  const GradcheckResult check = gradcheck(
      [&](In in) {
        return checkpoint(block, {in[0], in[1]});
      },
      {small, factor}, {.order = 2});
  INFO(check.message);
  CHECK(check.ok);
}

TEST_CASE("checkpoint replays random numbers and notices changed parameters") {
  manual_seed(7);
  const Tensor x = ones({64}, {.dtype = float64, .requires_grad = true});
  const TensorFunction block = [](In in) { return square(dropout(in[0], 0.5)); };
  const Tensor y = checkpoint(block, {x});
  const Tensor other = rand({3});
  sum(y).backward();
  const Tensor expected = y.detach() * 2.0;  // x = 1: d(x m)^2/dx = 2 m^2 = 2 y
  CHECK(allclose(x.grad(), expected));
  const Tensor next = rand({3});
  manual_seed(7);
  dropout(ones({64}, {.dtype = float64}), 0.5);
  CHECK(equal(rand({3}), other));
  CHECK(equal(rand({3}), next));

  const Tensor w = ones({4}, {.dtype = float64, .requires_grad = true});
  const Tensor z =
      sum(checkpoint([&](In in) { return in[0] * w * w; }, {ones({4}, {.dtype = float64, .requires_grad = true})}));
  {
    const NoGrad no_graph;
    w += 1.0;
  }
  CHECK_THROWS_AS(z.backward(), GradError);
}

TEST_CASE("the second run of a checkpoint leaves running statistics alone, in a nested checkpoint too") {
  const Tensor x = randn({8, 3}, {.requires_grad = true});
  const auto statistics = [&](int depth) {
    const Tensor mean = zeros({3}), var = ones({3});
    TensorFunction block = [&](In in) { return square(batch_norm(in[0], mean, var, Tensor(), Tensor(), true, 0.1)); };
    for (; depth > 0; --depth) block = [inner = block](In in) { return checkpoint(inner, {in[0]}); };
    sum(block({{x}})).backward();
    return std::pair(mean, var);
  };
  const auto [mean, var] = statistics(0);
  for (const int depth : {1, 2}) {
    const auto [again_mean, again_var] = statistics(depth);
    CHECK(equal(again_mean, mean));
    CHECK(equal(again_var, var));
  }
  CHECK_FALSE(is_recomputing());
}

TEST_CASE("anomaly mode names the op and the place of its call") {
  const AnomalyMode anomaly;
  const Tensor x = leaf({0});
  try {
    sqrt(x).backward();
    FAIL("no error");
  } catch (const GradError& error) {
    CHECK_THAT(error.what(),
               ContainsSubstring("sqrt") && ContainsSubstring("called at") && ContainsSubstring("test_autograd"));
  }
}

TEST_CASE("gradcheck finds a wrong derivative of either order") {
  const auto wrong = [](In in) {
    Tensor y = empty_like(in[0]);
    const NoGrad no_graph;
    y.copy_(in[0] * in[0]);
    const EnableGrad graph;
    return record("wrong", y, {&in[0]}, save(in[0]),
                  [](const Tensor& g, const Saved& s) -> Grads { return {g * s[0] * 3.0}; });
  };
  CHECK_FALSE(gradcheck(wrong, {randn({3}, {.dtype = float64})}));
  const auto half_wrong = [](In in) {
    Tensor y = empty_like(in[0]);
    const NoGrad no_graph;
    y.copy_(in[0] * in[0] * in[0]);
    const EnableGrad graph;
    return record("half_wrong", y, {&in[0]}, save(in[0]),
                  [](const Tensor& g, const Saved& s) -> Grads { return {g * s[0].detach() * s[0].detach() * 3.0}; });
  };
  CHECK(gradcheck(half_wrong, {randn({3}, {.dtype = float64})}));
  CHECK_FALSE(gradcheck(half_wrong, {randn({3}, {.dtype = float64})}, {.order = 2}));
  CHECK_THROWS_AS(gradcheck(half_wrong, {randn({3})}), DtypeError);
}

TEST_CASE("the graph as DOT names ops and shapes") {
  const Tensor x = leaf({1, 2});
  const std::string dot = graph_dot(sum(x * x));
  CHECK_THAT(dot, ContainsSubstring("digraph") && ContainsSubstring("sum") && ContainsSubstring("mul") &&
                      ContainsSubstring("leaf") && ContainsSubstring("[2]") && ContainsSubstring("->"));
}
