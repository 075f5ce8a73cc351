// Optimizers whose state is shared out: the same bits as one that keeps all, for every rule, dtype and number of ranks;
// state in slices that any number of ranks reads. Hidden test cases are what the ranks run (ranks.h).
#include "catch.h"
#include "ranks.h"

#include <gradus/distributed/ddp.h>
#include <gradus/distributed/detail/engine.h>
#include <gradus/distributed/zero.h>
#include <gradus/fmt.h>
#include <gradus/gradus.h>

using namespace gradus;
using Catch::Matchers::ContainsSubstring;
using dist::ProcessGroup;
using dist::ZeroOptimizer;

namespace {

// Sizes that no number of ranks divides, and one that is larger than a run.
NamedTensors parameters(Dtype dtype = float32) {
  manual_seed(3);
  NamedTensors p = {
      {"a", randn({7, 3})}, {"b", randn({1})}, {"c", randn({50, 5})}, {"d", randn({0, 2})}, {"e", randn({33})}};
  for (auto& [name, x] : p) x = x.to(dtype).requires_grad_();
  return p;
}

// The gradients of a step, the same on all ranks; "b" has none in the second.
void set_gradients(const NamedTensors& p, int step) {
  manual_seed(static_cast<uint64_t>(100 + step));
  for (const auto& [name, x] : p) {
    const Tensor g = randn(x.shape()).to(x.dtype());
    x.set_grad(name == "b" && step == 1 ? Tensor() : g);
  }
}

void check_equal(const NamedTensors& x, const NamedTensors& y) {
  REQUIRE(x.size() == y.size());
  for (size_t i = 0; i < x.size(); ++i) {
    INFO(x[i].name);
    CHECK(equal(x[i].tensor.detach(), y[i].tensor.detach()));
  }
}

template <class Rule, class Options>
void check_rule(const char* name, const ProcessGroup& world, const Options& options, Dtype dtype = float32) {
  INFO(name);
  const NamedTensors whole = parameters(dtype), shared = parameters(dtype);
  Rule alone(whole, options);
  ZeroOptimizer zero(shared, world, [&](const NamedTensors& slices) { return Rule(slices, options); });
  optim::StepLR alone_schedule(alone, {.step_size = 2}), zero_schedule(zero, {.step_size = 2});
  for (int step = 0; step < 4; ++step) {
    set_gradients(whole, step);
    set_gradients(shared, step);
    alone.step(0.5);
    zero.step(0.5);
    alone_schedule.step();
    zero_schedule.step();
    check_equal(whole, shared);
  }
  zero.zero_grad();
  CHECK_FALSE(shared[0].tensor.grad().defined());
}

// The whole tensors of all ranks' slices, with what state_dict() has: the state of an optimizer without slices.
NamedTensors joined_state(const ZeroOptimizer& zero, ProcessGroup world) {
  NamedTensors state = zero.state_dict();
  for (const StateSlice& s : zero.state_slices()) {
    const Tensor whole = zeros({s.shape.numel()}, {.dtype = s.values.dtype()});
    whole.narrow(0, s.begin, s.values.numel()).copy_(s.values);
    world.all_reduce(whole).wait();  // nothing overlaps
    state.push_back({s.name, whole.view(s.shape)});
  }
  return state;
}

// The slices that an optimizer asks for, out of whole tensors.
std::vector<StateSlice> filled(std::vector<StateSlice> slices, const NamedTensors& state) {
  std::vector<StateSlice> found;
  for (StateSlice& s : slices)
    if (const Tensor whole = find(state, s.name); whole.defined()) {
      s.values = whole.flatten().narrow(0, s.begin, s.values.numel());
      found.push_back(s);
    }
  return found;
}

// Without the tensors that are slices: what a checkpoint hands to load_state_dict().
NamedTensors without(const NamedTensors& state, const std::vector<StateSlice>& slices) {
  NamedTensors rest;
  for (const NamedTensor& entry : state)
    if (std::none_of(slices.begin(), slices.end(), [&](const StateSlice& s) { return s.name == entry.name; }))
      rest.push_back(entry);
  return rest;
}

// From slices to none and back, in the middle of training; then both go on alike.
void check_state(const ProcessGroup& world, Dtype dtype) {
  const auto make = [](const NamedTensors& p) { return optim::AdamW(p, {.lr = 0.1, .amsgrad = true}); };
  const NamedTensors first = parameters(dtype);
  ZeroOptimizer zero(first, world, make);
  for (int step = 0; step < 2; ++step) {
    set_gradients(first, step);
    zero.step();
  }
  const NamedTensors state = joined_state(zero, world);

  const NamedTensors whole = parameters(dtype), again = parameters(dtype), direct = parameters(dtype);
  for (size_t i = 0; i < first.size(); ++i) {
    const NoGrad no_graph;
    for (const NamedTensors* p : {&whole, &again, &direct}) (*p)[i].tensor.copy_(first[i].tensor);
  }
  optim::AdamW alone = make(whole);
  alone.load_state_dict(state);
  ZeroOptimizer other(again, world, make);
  const NamedTensors saved = alone.state_dict();
  const std::vector<StateSlice> asked = other.state_slices();
  other.load_state_dict(without(saved, asked));
  other.load_state_slices(filled(asked, saved));
  ZeroOptimizer third(direct, world, make);
  third.load_state_dict(saved);  // whole tensors do as well
  for (int step = 2; step < 4; ++step) {
    for (const NamedTensors* p : {&first, &whole, &again, &direct}) set_gradients(*p, step);
    zero.step();
    alone.step();
    other.step();
    third.step();
  }
  check_equal(first, whole);
  check_equal(first, again);
  check_equal(first, direct);

  ZeroOptimizer empty(parameters(dtype), world, make);
  empty.load_state_dict(without(saved, asked));
  CHECK_THROWS_WITH(empty.load_state_slices({}), ContainsSubstring("the state has no 'a.exp_avg'"));
  std::vector<StateSlice> wrong = filled(asked, saved);
  wrong.front().begin += 1;
  CHECK_THROWS_AS(empty.load_state_slices(wrong), CheckpointError);
}

void check_groups(const ProcessGroup& world) {
  const NamedTensors whole = parameters(), shared = parameters();
  const auto first = [](const NamedTensors& p) { return NamedTensors{p[0], p[2]}; };
  const auto second = [](const NamedTensors& p) { return NamedTensors{p[1], p[3], p[4]}; };
  optim::AdamW alone(first(whole), {.weight_decay = 0.5});
  alone.add_group(second(whole), {.lr = 0.2, .weight_decay = 0});
  ZeroOptimizer zero(first(shared), world,
                     [](const NamedTensors& p) { return optim::AdamW(p, {.weight_decay = 0.5}); });
  zero.add_group(second(shared), {.lr = 0.2, .weight_decay = 0});
  for (int step = 0; step < 2; ++step) {
    set_gradients(whole, step);
    set_gradients(shared, step);
    alone.step();
    zero.step();
  }
  check_equal(whole, shared);
  CHECK(zero.lr(1) == 0.2);
}

// A rule that does not say that it steps each element by itself.
struct NormWise : optim::Optimizer {
  explicit NormWise(const NamedTensors& p) : Optimizer("NormWise", 0.1, 0, false) { add_group(p); }
  StateNames state_names() const override { return {}; }
  void update(Device, std::span<const OptimizerSlice>, int64_t, const Rates&) override {}
};

}  // namespace

TEST_CASE("ranks: zero", "[.]") {
  const ProcessGroup world = dist::init();
  check_rule<optim::AdamW>("AdamW", world, optim::AdamWOptions{.lr = 0.1});
  check_rule<optim::Adam>("Adam", world, optim::AdamOptions{.lr = 0.1, .weight_decay = 0.1, .amsgrad = true});
  check_rule<optim::SGD>("SGD", world, optim::SGDOptions{.lr = 0.1, .momentum = 0.9, .nesterov = true});
  check_rule<optim::RMSprop>("RMSprop", world, optim::RMSpropOptions{.lr = 0.1, .momentum = 0.9, .centered = true});
  for (const Dtype dtype : {float64, bfloat16, float16}) {
    INFO(fmt::format("{}", dtype));
    check_rule<optim::AdamW>("AdamW", world, optim::AdamWOptions{.lr = 0.1}, dtype);
  }
  check_groups(world);
  check_state(world, float32);
  check_state(world, bfloat16);
  int64_t state = 0, total = 0;
  const NamedTensors p = parameters();
  for (const auto& [name, x] : p) total += x.numel();
  ZeroOptimizer zero(p, world, [](const NamedTensors& s) { return optim::SGD(s, {.momentum = 0.9}); });
  for (const StateSlice& s : zero.state_slices()) state += s.values.numel();
  CHECK(state <= (total + 16 * 6) / world.size() + 16);
}

TEST_CASE("state that is shared out gives the same bits, for 1, 2, 3, 4 processes") {
  std::vector<int> sizes = {1};
  if (std::string reason; dist::detail::find_gloo(&reason))
    sizes = {1, 2, 3, 4};
  else
    WARN("only one process: " << reason);
  for (const int n : sizes) run_ranks(n, "ranks: zero");
}

TEST_CASE("what cannot be shared out is refused") {
  const NamedTensors p = parameters();
  CHECK_THROWS_WITH(ZeroOptimizer(p, {}, [](const NamedTensors& s) { return NormWise(s); }),
                    ContainsSubstring("the rule needs whole parameters"));
  CHECK_THROWS_AS(ZeroOptimizer({{"x", zeros({3})}}, {}, [](const NamedTensors& s) { return optim::SGD(s); }),
                  GradError);
  nn::Linear net(3, 4);
  ZeroOptimizer zero(net.parameters(), {}, [](const NamedTensors& s) { return optim::SGD(s); });
  net.to(float64);
  CHECK_THROWS_WITH(zero.step(), ContainsSubstring("has moved to other memory"));
}

// ---- saved by some ranks, resumed by others
namespace {

// Trains from where the folder's newest checkpoint is to step `steps`, and leaves weights and moments in `result`.
void train_to(int64_t steps, bool shared) {
  const ProcessGroup world = dist::init();
  manual_seed(1);
  nn::Sequential net{nn::Linear{5, 9}, nn::Tanh{}, nn::Linear{9, 3}};
  dist::DDP ddp(net.parameters(), world, {.determinism = dist::Determinism::world_size});
  const auto make = [](const NamedTensors& p) { return optim::AdamW(p, {.lr = 0.05}); };
  optim::AdamW alone = make(net.parameters());
  ZeroOptimizer zero(net.parameters(), world, make);
  Stateful& optimizer = shared ? static_cast<Stateful&>(zero) : alone;
  optim::CosineAnnealing schedule(shared ? static_cast<optim::Optimizer&>(zero) : alone, {.steps = 20});
  data::Checkpointer checkpoints(setting("FOLDER"), {.signals = false, .group = world});
  int64_t step = checkpoints.resume(net, optimizer, schedule);
  for (; step < steps; ++step) {
    const Tensor x = randn({16, 5}), y = randn({16, 3});
    const int64_t first = 16 * world.rank() / world.size(), end = 16 * (world.rank() + 1) / world.size();
    net.zero_grad();
    ddp.backward(x.slice(0, first, end), y.slice(0, first, end),
                 [&](const Tensor& a, const Tensor& b) { return mse_loss(net(a), b); });
    shared ? zero.step() : alone.step();
    schedule.step();
  }
  checkpoints.save(step, net, optimizer, schedule);
  const NamedTensors state = shared ? joined_state(zero, world) : alone.state_dict();
  if (world.rank() > 0) return;
  NamedTensors result = net.state_dict();
  for (const NamedTensor& entry : state) result.push_back({"optimizer." + entry.name, entry.tensor});
  data::save_safetensors(setting("RESULT"), result);
}

}  // namespace

TEST_CASE("ranks: train", "[.]") { train_to(std::stoll(setting("STEPS")), setting("SHARED") == "1"); }

TEST_CASE("training goes on with another number of ranks, state shared out or not, to the same bits") {
  if (!dist::detail::find_gloo()) return;
  const Scratch scratch;
  const auto train = [&](const char* folder, int ranks, int steps, bool shared) {
    run_ranks(ranks, "ranks: train",
              {.variables = {{"FOLDER", scratch / folder},
                             {"RESULT", scratch / (std::string(folder) + ".safetensors")},
                             {"STEPS", std::to_string(steps)},
                             {"SHARED", shared ? "1" : "0"}}});
    return data::load_safetensors(scratch / (std::string(folder) + ".safetensors")).tensors;
  };
  const NamedTensors undisturbed = train("undisturbed", 1, 8, false);
  train("changing", 2, 2, true);
  train("changing", 3, 4, true);
  train("changing", 1, 5, false);
  train("changing", 4, 6, true);
  const NamedTensors changing = train("changing", 2, 8, false);
  for (const NamedTensor& entry : undisturbed) {
    INFO(entry.name);
    CHECK(equal(require(changing, entry.name, "the state"), entry.tensor));
  }
}
