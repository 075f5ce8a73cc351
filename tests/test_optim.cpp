// Optimizers against plain loops in double and recorded PyTorch values, schedules against their formulas, clipping,
// averaging, resuming. Parameters are on the device of the tests (device.h).
#include <gradus/gradus.h>

#include <cmath>
#include <fstream>
#include <functional>
#include <map>

#include <nlohmann/json.hpp>

#include "catch.h"
#include "device.h"

using namespace gradus;
using Catch::Matchers::ContainsSubstring;

namespace {

// A deterministic gradient for element i at step t.
double gradient_at(int64_t t, int64_t i) {
  return std::sin(0.7 * static_cast<double>(t) + 1.3 * static_cast<double>(i)) + 0.1;
}

Tensor leaf(std::vector<double> values, Dtype dtype = float64) {
  return tensor(std::span<const double>(values), {.dtype = dtype, .device = test_device(), .requires_grad = true});
}

void set_gradient(const Tensor& x, int64_t t) {
  std::vector<double> g(static_cast<size_t>(x.numel()));
  for (int64_t i = 0; i < x.numel(); ++i) g[static_cast<size_t>(i)] = gradient_at(t, i);
  x.set_grad(tensor(std::span<const double>(g), on_test_device(x.dtype())));
}

double value(const Tensor& x, int64_t i) { return x.detach()[i].item<double>(); }

// One element's update, written out: p, g, two numbers of state, the number of the step.
using Rule = std::function<void(double& p, double g, double& s1, double& s2, int t)>;

using MakeOptimizer = std::function<std::unique_ptr<optim::Optimizer>(const NamedTensors&)>;

template <class Optimizer, class Options>
MakeOptimizer with(const Options& options) {
  return [options](const NamedTensors& p) { return std::make_unique<Optimizer>(p, options); };
}

// Runs the optimizer for some steps beside the rule, in float64 and float32.
void compare(const MakeOptimizer& make, const Rule& rule) {
  for (const Dtype dtype : {float64, float32}) {
    const double tolerance = dtype == float64 ? 1e-12 : 1e-5;
    const std::vector<double> start = {0.5, -1.25, 2.0, 0.0, 3.5};
    const Tensor p = leaf(start, dtype);
    const auto opt = make({{"p", p}});
    std::vector<double> want = start, s1(5, 0.0), s2(5, 0.0);
    for (int t = 1; t <= 7; ++t) {
      set_gradient(p, t);
      opt->step();
      for (size_t i = 0; i < 5; ++i) {
        rule(want[i], gradient_at(t, static_cast<int64_t>(i)), s1[i], s2[i], t);
        INFO("step " << t << ", element " << i << ", " << name(dtype));
        CHECK(std::fabs(value(p, static_cast<int64_t>(i)) - want[i]) <= tolerance * (1 + std::fabs(want[i])));
      }
    }
  }
}

struct Curve {
  Tensor w = leaf({1.0});
  optim::SGD opt{{{"w", w}}, {.lr = 0.5}};
};

struct Weights : nn::Module {
  nn::Parameter w{ones({3})};
  GRADUS_MODULE(w)
};

}  // namespace

TEST_CASE("SGD is the plain loop") {
  compare([](const NamedTensors& p) { return std::make_unique<optim::SGD>(p, optim::SGDOptions{.lr = 0.1}); },
          [](double& p, double g, double&, double&, int) { p -= 0.1 * g; });
  compare(
      [](const NamedTensors& p) {
        return std::make_unique<optim::SGD>(
            p, optim::SGDOptions{.lr = 0.05, .momentum = 0.9, .dampening = 0.1, .weight_decay = 0.02});
      },
      [](double& p, double g, double& v, double&, int t) {
        g += 0.02 * p;
        v = t == 1 ? g : 0.9 * v + 0.9 * g;
        p -= 0.05 * v;
      });
  compare(
      [](const NamedTensors& p) {
        return std::make_unique<optim::SGD>(p, optim::SGDOptions{.lr = 0.05, .momentum = 0.8, .nesterov = true});
      },
      [](double& p, double g, double& v, double&, int) {
        v = 0.8 * v + g;
        p -= 0.05 * (g + 0.8 * v);
      });
}

TEST_CASE("Adam and AdamW are the plain loop") {
  const auto adam = [](double lr, double b1, double b2, double eps, double l2, double decay) {
    return [=](double& p, double g, double& m, double& v, int t) {
      p -= lr * decay * p;
      g += l2 * p;
      m = b1 * m + (1 - b1) * g;
      v = b2 * v + (1 - b2) * g * g;
      p -= lr * (m / (1 - std::pow(b1, t))) / (std::sqrt(v / (1 - std::pow(b2, t))) + eps);
    };
  };
  compare([](const NamedTensors& p) { return std::make_unique<optim::Adam>(p); }, adam(1e-3, 0.9, 0.999, 1e-8, 0, 0));
  compare(
      [](const NamedTensors& p) {
        return std::make_unique<optim::Adam>(
            p, optim::AdamOptions{.lr = 0.02, .betas = {0.8, 0.95}, .eps = 1e-3, .weight_decay = 0.1});
      },
      adam(0.02, 0.8, 0.95, 1e-3, 0.1, 0));
  compare([](const NamedTensors& p) { return std::make_unique<optim::AdamW>(p); },
          adam(1e-3, 0.9, 0.999, 1e-8, 0, 1e-2));
  compare(
      [](const NamedTensors& p) {
        return std::make_unique<optim::AdamW>(p, optim::AdamWOptions{.lr = 0.05, .weight_decay = 0.3});
      },
      adam(0.05, 0.9, 0.999, 1e-8, 0, 0.3));
}

TEST_CASE("RMSprop is the plain loop") {
  compare([](const NamedTensors& p) { return std::make_unique<optim::RMSprop>(p); },
          [](double& p, double g, double& v, double&, int) {
            v = 0.99 * v + 0.01 * g * g;
            p -= 0.01 * g / (std::sqrt(v) + 1e-8);
          });
  compare(
      [](const NamedTensors& p) {
        return std::make_unique<optim::RMSprop>(
            p, optim::RMSpropOptions{.lr = 0.02, .alpha = 0.9, .eps = 1e-4, .weight_decay = 0.05, .momentum = 0.7});
      },
      [](double& p, double g, double& v, double& m, int) {
        g += 0.05 * p;
        v = 0.9 * v + 0.1 * g * g;
        m = 0.7 * m + g / (std::sqrt(v) + 1e-4);
        p -= 0.02 * m;
      });
}

TEST_CASE("optimizers take PyTorch's steps and keep its state") {
  const std::map<std::string, MakeOptimizer> cases = {
      {"sgd", with<optim::SGD>(optim::SGDOptions{.lr = 0.1})},
      {"sgd_momentum",
       with<optim::SGD>(optim::SGDOptions{.lr = 0.05, .momentum = 0.9, .dampening = 0.1, .weight_decay = 0.02})},
      {"sgd_nesterov_maximize",
       with<optim::SGD>(
           optim::SGDOptions{.lr = 0.05, .momentum = 0.8, .weight_decay = 0.1, .nesterov = true, .maximize = true})},
      {"adam",
       with<optim::Adam>(optim::AdamOptions{.lr = 0.02, .betas = {0.8, 0.95}, .eps = 1e-3, .weight_decay = 0.1})},
      {"adam_amsgrad",
       with<optim::Adam>(optim::AdamOptions{.lr = 0.02, .betas = {0.8, 0.6}, .weight_decay = 0.1, .amsgrad = true})},
      {"adamw", with<optim::AdamW>(optim::AdamWOptions{.lr = 0.05, .weight_decay = 0.3})},
      {"adamw_amsgrad_maximize",
       with<optim::AdamW>(optim::AdamWOptions{
           .lr = 0.05, .betas = {0.7, 0.5}, .eps = 1e-2, .weight_decay = 0.3, .amsgrad = true, .maximize = true})},
      {"rmsprop", with<optim::RMSprop>(optim::RMSpropOptions{
                      .lr = 0.02, .alpha = 0.9, .eps = 1e-4, .weight_decay = 0.05, .momentum = 0.7})},
      {"rmsprop_centered",
       with<optim::RMSprop>(optim::RMSpropOptions{.lr = 0.02, .alpha = 0.8, .eps = 1e-3, .centered = true})},
      {"rmsprop_centered_momentum_maximize", with<optim::RMSprop>(
                                                 optim::RMSpropOptions{.lr = 0.02,
                                                                       .alpha = 0.8,
                                                                       .eps = 1e-3,
                                                                       .weight_decay = 0.05,
                                                                       .momentum = 0.6,
                                                                       .centered = true,
                                                                       .maximize = true})}};
  std::ifstream file("tests/golden/optimizers.json");
  const nlohmann::json recorded = nlohmann::json::parse(file);
  CHECK(recorded.size() == cases.size());
  for (const auto& [name, make] : cases) {
    INFO(name);
    const nlohmann::json& want = recorded.at(name);
    const auto check_values = [](const Tensor& x, const std::vector<double>& values) {
      CHECK(allclose(on_cpu(x), tensor(std::span<const double>(values), {.dtype = float64}), 1e-13, 1e-14));
    };
    const Tensor p = leaf({0.5, -1.25, 2.0, 0.0, 3.5});
    const auto opt = make({{"p", p}});
    int64_t t = 0;
    for (const nlohmann::json& values : want.at("steps")) {
      set_gradient(p, ++t);
      opt->step();
      check_values(p, values.get<std::vector<double>>());
    }
    size_t found = 0;
    for (const auto& [key, x] : opt->state_dict()) {
      if (!key.starts_with("p.") || key == "p.step") continue;
      INFO(key);
      check_values(x, want.at("state").at(key.substr(2)).get<std::vector<double>>());
      ++found;
    }
    CHECK(found == want.at("state").size());
  }
}

TEST_CASE("a centred second moment that rounds below zero makes no NaN") {
  const Tensor p = leaf({1.0}, float32);
  optim::RMSprop opt{{{"p", p}}, {.alpha = 0.5, .centered = true}};
  for (int t = 0; t < 200; ++t) {  // the variance of a constant
    p.set_grad(tensor({0.1f}, on_test_device()));
    opt.step();
  }
  CHECK(std::isfinite(value(p, 0)));
}

TEST_CASE("a scale of the gradients works on the way") {
  const Tensor a = leaf({1.0, 2.0}), b = leaf({1.0, 2.0});
  optim::AdamW one{{{"a", a}}, {.lr = 0.1}}, two{{{"b", b}}, {.lr = 0.1}};
  for (int t = 1; t <= 3; ++t) {
    set_gradient(a, t);
    one.step(0.25);
    set_gradient(b, t);
    b.set_grad(b.grad() * 0.25);
    two.step();
  }
  CHECK(equal(a.detach(), b.detach()));
}

TEST_CASE("groups have their own rate and decay, and inherit the rest") {
  const Tensor a = leaf({1.0}), b = leaf({1.0}), c = leaf({1.0});
  optim::SGD opt{{{"a", a}}, {.lr = 0.5, .weight_decay = 0.1}};
  opt.add_group({{"b", b}}, {.lr = 0.25});
  opt.add_group({{"c", c}}, {.weight_decay = 0});
  CHECK(opt.num_groups() == 3);
  for (const Tensor& x : {a, b, c}) x.set_grad(tensor({1.0}, on_test_device(float64)));
  opt.step();
  CHECK(value(a, 0) == Approx(1 - 0.5 * 1.1).epsilon(1e-14));
  CHECK(value(b, 0) == Approx(1 - 0.25 * 1.1).epsilon(1e-14));
  CHECK(value(c, 0) == Approx(1 - 0.5).epsilon(1e-14));
  opt.set_lr(1, 2);
  CHECK(opt.lr() == 0.5);
  CHECK(opt.lr(1) == 2);
  CHECK(opt.initial_lr(1) == 0.25);
  opt.set_lr(3);
  CHECK(opt.lr(2) == 3);
  CHECK_THROWS_AS(opt.lr(3), IndexError);
}

TEST_CASE("a parameter without gradient is skipped, and its count of steps stands still") {
  const Tensor a = leaf({1.0}), b = leaf({1.0}), alone = leaf({1.0});
  optim::Adam both{{{"a", a}, {"b", b}}}, one{{{"alone", alone}}};
  for (int t = 1; t <= 4; ++t) {
    both.zero_grad();
    set_gradient(a, t);
    if (t % 2 == 0) set_gradient(b, t);
    both.step();
  }
  for (int t = 2; t <= 4; t += 2) {
    set_gradient(alone, t);
    one.step();
  }
  CHECK(value(a, 0) != value(b, 0));
  CHECK(equal(b.detach(), alone.detach()));
  CHECK(find(both.state_dict(), "b.step").item<int64_t>() == 2);
}

TEST_CASE("16-bit parameters keep what rounding would lose") {
  for (const Dtype dtype : {bfloat16, float16}) {
    const Tensor p = leaf({1.0}, dtype);
    optim::SGD opt{{{"p", p}}, {.lr = 1e-4}};
    for (int t = 0; t < 100; ++t) {
      p.set_grad(tensor({1.0}, on_test_device(dtype)));
      opt.step();
    }
    // 100 steps of 1e-4, each below half a unit in the last place of 1.
    CHECK(value(p, 0) == Approx(0.99).margin(dtype == bfloat16 ? 4e-3 : 5e-4));
    CHECK(find(opt.state_dict(), "p.master").item<double>() == Approx(0.99).margin(1e-5));
    // Weights that are set from outside are taken up.
    {
      const NoGrad no_graph;
      p.fill_(2);
    }
    opt.step();
    CHECK(find(opt.state_dict(), "p.master").item<double>() == Approx(2 - 1e-4).margin(1e-6));
  }
}

TEST_CASE("a step counts as a change of the values") {
  const Tensor p = leaf({1.0, 2.0});
  const Tensor y = sum(square(p));
  optim::SGD opt{{{"p", p}}, {.lr = 0.1}};
  set_gradient(p, 1);
  opt.step();
  CHECK_THROWS_AS(y.backward(), GradError);
}

TEST_CASE("optimizers refuse what they cannot train") {
  const Tensor p = leaf({1.0}), frozen = tensor({1.0});
  const auto message = [](const NamedTensors& parameters) {
    try {
      optim::AdamW opt(parameters);
    } catch (const Error& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  CHECK_THAT(message({}), ContainsSubstring("no parameters"));
  CHECK_THAT(message({{"p", p}, {"p", leaf({1.0})}}), ContainsSubstring("'p' comes twice"));
  CHECK_THAT(message({{"p", p}, {"q", p}}), ContainsSubstring("'q'"));
  CHECK_THAT(message({{"f", frozen}}), ContainsSubstring("trainable_parameters"));
  CHECK_THAT(message({{"r", p * 2.0}}), ContainsSubstring("leaf"));
  CHECK_THAT(message({{"u", Tensor()}}), ContainsSubstring("undefined"));
  const NamedTensors one = {{"p", p}};
  CHECK_THROWS_AS(optim::AdamW(one, {.lr = -1}), ValueError);
  CHECK_THROWS_AS(optim::Adam(one, {.betas = {1.0, 0.9}}), ValueError);
  CHECK_THROWS_AS(optim::Adam(one, {.eps = -1}), ValueError);
  CHECK_THROWS_AS(optim::SGD(one, {.momentum = -0.1}), ValueError);
  CHECK_THROWS_AS(optim::SGD(one, {.nesterov = true}), ValueError);
  CHECK_THROWS_AS(optim::RMSprop(one, {.alpha = 1.5}), ValueError);
}

TEST_CASE("an optimizer names the parameter whose dtype changed") {
  Weights net;
  net.to(test_device());
  optim::SGD opt(net.parameters());
  net.to(float64);
  net.w.set_grad(ones({3}, on_test_device(float64)));
  CHECK_THROWS_WITH(opt.step(), ContainsSubstring("'w' was float32"));
}

TEST_CASE("resuming an optimizer gives the same bits") {
  const MakeOptimizer kinds[] = {
      with<optim::AdamW>(optim::AdamWOptions{.lr = 0.01}),
      with<optim::AdamW>(optim::AdamWOptions{.lr = 0.01, .betas = {0.9, 0.5}, .amsgrad = true}),
      with<optim::SGD>(optim::SGDOptions{.lr = 0.01, .momentum = 0.9}),
      with<optim::RMSprop>(optim::RMSpropOptions{.lr = 0.01, .momentum = 0.5}),
      with<optim::RMSprop>(optim::RMSpropOptions{.lr = 0.01, .centered = true})};
  for (const Dtype dtype : {float32, bfloat16})
    for (const MakeOptimizer& make : kinds) {
      const Tensor a = leaf({1.0, 2.0, 3.0}, dtype), never = leaf({4.0}, dtype);
      const auto opt = make({{"a", a}, {"never", never}});
      for (int t = 1; t <= 3; ++t) set_gradient(a, t), opt->step();
      opt->set_lr(0.02);

      const Tensor b = leaf({0.0, 0.0, 0.0}, dtype), also_never = leaf({4.0}, dtype);
      const auto again = make({{"a", b}, {"never", also_never}});
      {
        const NoGrad no_graph;
        b.copy_(a);
      }
      NamedTensors saved;
      for (const auto& [name, x] : opt->state_dict()) saved.push_back({name, x.clone()});
      again->load_state_dict(saved);
      CHECK(again->lr() == 0.02);
      for (int t = 4; t <= 6; ++t) {
        set_gradient(a, t), opt->step();
        set_gradient(b, t), again->step();
        CHECK(equal(a.detach(), b.detach()));
      }
    }
}

TEST_CASE("momentum that is raised from 0 begins with zeros, saved or not") {
  const Tensor x = ones({3}, {.device = test_device(), .requires_grad = true});
  optim::SGD sgd({{"x", x}}, {.lr = 0.5});
  x.set_grad(ones({3}, on_test_device()));
  sgd.step();
  sgd.set_momentum(0.9);
  const NamedTensors state = sgd.state_dict();
  sgd.load_state_dict(state);
  sgd.step();
  sgd.step();
  CHECK(x.detach()[0].item<double>() == Approx(1 - 0.5 * (1 + 1 + 1.9)));
}

TEST_CASE("a state that does not fit is refused whole, with a list") {
  const Tensor a = leaf({1.0, 2.0});
  optim::AdamW opt{{{"a", a}}};
  set_gradient(a, 1);
  opt.step();
  NamedTensors state = opt.state_dict();
  std::erase_if(state, [](const NamedTensor& e) { return e.name == "a.exp_avg" || e.name == "group.0.lr"; });
  state.push_back({"b.exp_avg", zeros({2})});
  for (NamedTensor& e : state)
    if (e.name == "a.exp_avg_sq") e.tensor = zeros({3});
  try {
    opt.load_state_dict(state);
    FAIL("must throw");
  } catch (const CheckpointError& e) {
    for (const char* part :
         {"2 missing: group.0.lr, a.exp_avg\n", "b.exp_avg", "'a.exp_avg_sq' is float32[3]; want float64[2]"})
      CHECK_THAT(std::string(e.what()), ContainsSubstring(part));
  }
  CHECK(find(opt.state_dict(), "a.step").item<int64_t>() == 1);
}

// ---- schedules: the formulas of PyTorch's documentation, with its arguments
TEST_CASE("StepLR and MultiStep") {
  Curve c;
  optim::StepLR step(c.opt, {.step_size = 3, .gamma = 0.1});
  for (int t = 0; t < 10; ++t, step.step()) CHECK(c.opt.lr() == Approx(0.5 * std::pow(0.1, t / 3)).epsilon(1e-14));
  Curve d;
  optim::MultiStep multi(d.opt, {.milestones = {2, 5}, .gamma = 0.5});
  const double want[] = {0.5, 0.5, 0.25, 0.25, 0.25, 0.125, 0.125};
  for (const double lr : want) {
    CHECK(d.opt.lr() == lr);
    multi.step();
  }
  CHECK_THROWS_AS(optim::StepLR(c.opt, {.step_size = 0}), ValueError);
  CHECK_THROWS_AS(optim::MultiStep(c.opt, {.milestones = {5, 2}}), ValueError);
}

TEST_CASE("CosineAnnealing, with and beyond its steps") {
  Curve c;
  optim::CosineAnnealing cosine(c.opt, {.steps = 10, .eta_min = 0.1});
  for (int t = 0; t < 25; ++t, cosine.step())
    CHECK(c.opt.lr() == Approx(0.1 + 0.4 * (1 + std::cos(M_PI * t / 10)) / 2).epsilon(1e-12));
}

TEST_CASE("LinearLR and Warmup") {
  Curve c;
  optim::LinearLR linear(c.opt, {.start_factor = 0.5, .steps = 4});
  const double want[] = {0.25, 0.3125, 0.375, 0.4375, 0.5, 0.5};  // the table in PyTorch's documentation, times 10
  for (const double lr : want) {
    CHECK(c.opt.lr() == Approx(lr).epsilon(1e-14));
    linear.step();
  }
  Curve d;
  optim::Warmup warmup(d.opt, {.steps = 4});
  for (const double lr : {0.125, 0.25, 0.375, 0.5, 0.5}) {
    CHECK(d.opt.lr() == Approx(lr).epsilon(1e-14));
    warmup.step();
  }
}

TEST_CASE("OneCycle: rate and momentum") {
  const Tensor w = leaf({1.0});
  optim::Adam opt{{{"w", w}}, {.lr = 0.123}};
  // 10 steps, peak at 0.3 * 10 - 1 = 2.
  optim::OneCycle cycle(opt, {.max_lr = 1, .steps = 10});
  const auto cosine = [](double a, double b, double part) { return b + (a - b) / 2 * (1 + std::cos(M_PI * part)); };
  for (int t = 0; t < 14; ++t, cycle.step()) {
    const double at = std::min(t, 9);
    const double lr = at <= 2 ? cosine(0.04, 1, at / 2) : cosine(1, 0.04 / 1e4, (at - 2) / 7);
    const double beta = at <= 2 ? cosine(0.95, 0.85, at / 2) : cosine(0.85, 0.95, (at - 2) / 7);
    CHECK(opt.lr() == Approx(lr).epsilon(1e-12));
    CHECK(*opt.momentum() == Approx(beta).epsilon(1e-12));
  }
  Curve plain;  // SGD without momentum: nothing to cycle
  optim::OneCycle linear(plain.opt, {.max_lr = 1, .steps = 5, .pct_start = 0.6, .anneal = optim::Anneal::linear});
  for (const double lr : {0.04, 0.52, 1.0, 0.500002, 4e-6}) {
    CHECK(plain.opt.lr() == Approx(lr).margin(1e-15));
    linear.step();
  }
  CHECK(!plain.opt.momentum());
  CHECK_THROWS_AS(optim::OneCycle(opt, {.max_lr = 1, .steps = 0}), ValueError);
  CHECK_THROWS_AS(optim::OneCycle(opt, {.max_lr = 1, .steps = 5, .pct_start = 2}), ValueError);
}

TEST_CASE("Chained multiplies, Sequential takes turns") {
  Curve c;
  optim::Chained chained(c.opt, optim::Warmup(c.opt, {.steps = 2}),
                         optim::StepLR(c.opt, {.step_size = 3, .gamma = 0.1}));
  for (const double lr : {0.25, 0.5, 0.5, 0.05, 0.05, 0.05, 0.005}) {
    CHECK(c.opt.lr() == Approx(lr).epsilon(1e-13));
    chained.step();
  }
  Curve d;
  optim::Sequential sequential(d.opt, {3}, optim::LinearLR(d.opt, {.start_factor = 0.25, .steps = 3}),
                               optim::CosineAnnealing(d.opt, {.steps = 4}));
  const double want[] = {
      0.125, 0.25, 0.375, 0.5, 0.25 * (1 + std::cos(M_PI / 4)), 0.25, 0.25 * (1 - std::cos(M_PI / 4)), 0};
  for (const double lr : want) {
    CHECK(d.opt.lr() == Approx(lr).margin(1e-13));
    sequential.step();
  }
  CHECK_THROWS_AS(optim::Sequential(d.opt, {1, 2}, optim::Warmup(d.opt, {.steps = 2})), ValueError);
}

TEST_CASE("schedules act on every group") {
  const Tensor a = leaf({1.0}), b = leaf({1.0});
  optim::SGD opt{{{"a", a}}, {.lr = 1}};
  opt.add_group({{"b", b}}, {.lr = 0.1});
  optim::StepLR step(opt, {.step_size = 1, .gamma = 0.5});
  step.step();
  CHECK(opt.lr(0) == 0.5);
  CHECK(opt.lr(1) == 0.05);
}

TEST_CASE("ReduceOnPlateau") {
  Curve c;
  optim::ReduceOnPlateau plateau(c.opt, {.factor = 0.5, .patience = 1, .cooldown = 1, .min_lr = 0.1});
  // Improves; stalls twice; the second stall is past the patience; then one step of cooldown.
  const std::pair<double, double> steps[] = {{1.0, 0.5},  {0.9, 0.5},   {0.9, 0.5},   {0.89999, 0.25}, {2.0, 0.25},
                                             {2.0, 0.25}, {2.0, 0.125}, {0.5, 0.125}, {0.6, 0.125},    {0.6, 0.1}};
  for (const auto& [metric, lr] : steps) {
    plateau.step(metric);
    CHECK(c.opt.lr() == lr);
  }
  Curve d;
  optim::ReduceOnPlateau up(d.opt, {.maximize = true, .factor = 0.5, .patience = 0});
  up.step(0.5);
  up.step(0.6);
  CHECK(d.opt.lr() == 0.5);
  optim::ReduceOnPlateau copy(d.opt, {.maximize = true, .factor = 0.5, .patience = 0});
  copy.load_state_dict(up.state_dict());
  copy.step(0.55);
  CHECK(d.opt.lr() == 0.25);
  CHECK_THROWS_AS(optim::ReduceOnPlateau(d.opt, {.factor = 1}), ValueError);
}

TEST_CASE("a schedule resumes where it was") {
  Curve c, d;
  optim::OneCycle one(c.opt, {.max_lr = 1, .steps = 50});
  for (int t = 0; t < 17; ++t) one.step();
  optim::OneCycle two(d.opt, {.max_lr = 1, .steps = 50});
  two.load_state_dict(one.state_dict());
  CHECK(two.steps() == 17);
  CHECK(d.opt.lr() == c.opt.lr());
  CHECK_THROWS_AS(two.load_state_dict({}), CheckpointError);
  CHECK(two.steps() == 17);
}

// ---- clipping
TEST_CASE("clip_grad_norm scales all gradients together") {
  const Tensor a = leaf({0.0, 0.0}), b = leaf({0.0}, float32), c = leaf({0.0}, bfloat16), none = leaf({1.0});
  const auto fill = [&] {
    a.set_grad(tensor({3.0, 0.0}, on_test_device(float64)));
    b.set_grad(tensor({4.0}, on_test_device()));
    c.set_grad(tensor({12.0}, on_test_device(bfloat16)));
  };
  const NamedTensors parameters = {{"a", a}, {"b", b}, {"c", c}, {"none", none}};
  fill();
  CHECK(optim::clip_grad_norm(parameters, 20) == Approx(13));
  CHECK(value(a.grad(), 0) == 3);
  const uint32_t version = a.grad().version();
  CHECK(optim::clip_grad_norm(parameters, 6.5) == Approx(13));
  CHECK(value(a.grad(), 0) == Approx(1.5).epsilon(1e-6));
  CHECK(value(b.grad(), 0) == Approx(2).epsilon(1e-6));
  CHECK(value(c.grad(), 0) == Approx(6).epsilon(1e-2));
  CHECK(a.grad().version() > version);
  CHECK_THROWS_AS(optim::clip_grad_norm(parameters, -1), ValueError);

  b.set_grad(tensor({std::numeric_limits<double>::infinity()}, on_test_device()));
  CHECK_THROWS_AS(optim::clip_grad_norm(parameters, 1, {.error_if_nonfinite = true}), GradError);
  CHECK(std::isinf(optim::clip_grad_norm(parameters, 1)));
}

TEST_CASE("clip_grad_value") {
  const Tensor a = leaf({0.0, 0.0, 0.0});
  a.set_grad(tensor({-3.0, 0.5, 7.0}, on_test_device(float64)));
  optim::clip_grad_value({{"a", a}}, 1);
  CHECK(equal(on_cpu(a.grad()), tensor({-1.0, 0.5, 1.0}, {.dtype = float64})));
}

// ---- averaging
TEST_CASE("EMA averages, applies and restores") {
  const Tensor p = leaf({1.0, 2.0}), h = leaf({1.0}, bfloat16);
  optim::EMA ema({{"p", p}, {"h", h}}, {.decay = 0.9});
  double want = 1;
  for (int t = 1; t <= 5; ++t) {
    const NoGrad no_graph;
    p.add_(1.0);
    ema.update();
    want = 0.9 * want + 0.1 * value(p, 0);
  }
  ema.apply();
  CHECK(value(p, 0) == Approx(want).epsilon(1e-13));
  CHECK(value(p, 1) == Approx(want + 1).epsilon(1e-13));
  CHECK_THROWS_AS(ema.apply(), Error);
  CHECK_THROWS_AS(ema.update(), Error);
  ema.restore();
  CHECK(value(p, 0) == 6);
  CHECK_THROWS_AS(ema.restore(), Error);

  const Tensor q = leaf({0.0, 0.0}), r = leaf({0.0}, bfloat16);
  optim::EMA copy({{"p", q}, {"h", r}}, {.decay = 0.9});
  copy.load_state_dict(ema.state_dict());
  copy.apply();
  CHECK(value(q, 0) == Approx(want).epsilon(1e-13));
  CHECK_THROWS_AS(copy.load_state_dict({{"p", zeros({3})}}), CheckpointError);
  CHECK_THROWS_AS(optim::EMA({{"p", p}}, {.decay = 2}), ValueError);
}
