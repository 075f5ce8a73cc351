// Batch norm over several processes against batch norm on the whole batch. Hidden test cases are what the ranks run
// (ranks.h).
#include "catch.h"
#include "ranks.h"

#include <gradus/distributed/ddp.h>
#include <gradus/distributed/detail/engine.h>
#include <gradus/distributed/sync_batch_norm.h>
#include <gradus/fmt.h>
#include <gradus/gradus.h>

using namespace gradus;
using dist::ProcessGroup;

namespace {

struct Net : nn::Module {
  nn::Conv2d conv1{2, 4, 3}, conv2{4, 3, 1};
  nn::BatchNorm2d norm1{4}, norm2{3, {.affine = false}};
  Tensor forward(const Tensor& x) {  // (B, 2, 5, 5) -> (B, 3)
    return mean(tanh(norm2(conv2(tanh(norm1(conv1(x)))))), {2, 3});
  }
  GRADUS_MODULE(conv1, conv2, norm1, norm2)
};

// Rank r's rows of a batch, uneven: 1, 3, 5, ... of n^2.
Tensor part_of(const Tensor& x, const ProcessGroup& world) {
  const int64_t r = world.rank();
  return x.narrow(0, r * r, 2 * r + 1);
}

void check_net(const ProcessGroup& world) {
  manual_seed(2);
  Net alone;
  Net net = nn::clone(alone);
  CHECK(dist::convert_sync_batch_norm(net, world) == 2);
  dist::DDP ddp(net.parameters(), world, {.buffers = net.buffers()});
  const int64_t rows = int64_t{world.size()} * world.size();
  for (int step = 0; step < 2; ++step) {
    const Tensor x = randn({rows, 2, 5, 5}), y = randn({rows, 3});
    const auto loss_of = [](Net& n) {
      return [&n](const Tensor& in, const Tensor& out) { return mse_loss(n(in), out); };
    };
    alone.zero_grad();
    net.zero_grad();
    loss_of(alone)(x, y).backward();
    ddp.backward(part_of(x, world), part_of(y, world), loss_of(net));
    const NamedTensors want = alone.parameters(), got = net.parameters();
    for (size_t i = 0; i < want.size(); ++i) {
      INFO(want[i].name);
      CHECK(allclose(got[i].tensor.grad(), want[i].tensor.grad(), 1e-4, 1e-6));
    }
    const NamedTensors want_buffers = alone.buffers(), got_buffers = net.buffers();
    for (size_t i = 0; i < want_buffers.size(); ++i) {
      INFO(want_buffers[i].name);
      if (is_floating(want_buffers[i].tensor.dtype()))
        CHECK(allclose(got_buffers[i].tensor, want_buffers[i].tensor, 1e-5, 1e-6));
      else
        CHECK(equal(got_buffers[i].tensor, want_buffers[i].tensor));
    }
  }
  alone.eval();
  net.eval();
  const Tensor x = randn({3, 2, 5, 5});
  CHECK(allclose(net(x), alone(x), 1e-5, 1e-5));
}

// The first and second derivative for x, in float64.
void check_derivatives(const ProcessGroup& world) {
  manual_seed(4);
  const int64_t rows = int64_t{world.size()} * world.size();
  const TensorOptions wide{.dtype = float64, .requires_grad = true};
  const Tensor whole = randn({rows, 3, 2}, wide), weight = randn({3}, wide),
               factor = randn({rows, 3, 2}, {.dtype = float64});
  const Tensor mine = part_of(whole.detach(), world).clone().requires_grad_();
  const auto second = [](const Tensor& y, const Tensor& c, const Tensor& x) {
    const Tensor g = grad(sum(y * c), x, {.create_graph = true});
    return std::pair(g, grad(sum(square(g)), x));
  };
  const auto [g, gg] = second(batch_norm(whole, {}, {}, weight), factor, whole);
  const auto [part_g, part_gg] =
      second(dist::sync_batch_norm(mine, {}, {}, weight, {}, world), part_of(factor, world), mine);
  CHECK(allclose(part_g, part_of(g, world), 1e-8, 1e-10));
  CHECK(allclose(part_gg, part_of(gg, world), 1e-8, 1e-10));
}

}  // namespace

TEST_CASE("ranks: sync batch norm", "[.]") {
  const ProcessGroup world = dist::init();
  check_net(world);
  check_derivatives(world);
  const Tensor half = randn({4, 3}).to(bfloat16), weight = ones({3}, {.dtype = bfloat16});
  CHECK(dist::sync_batch_norm(half, zeros({3}), ones({3}), weight, weight, world).dtype() == bfloat16);
}

TEST_CASE("batch norm over 1, 2, 3 processes is that of the whole batch") {
  std::vector<int> sizes = {1};
  if (std::string reason; dist::detail::find_gloo(&reason))
    sizes = {1, 2, 3};
  else
    WARN("only one process: " << reason);
  for (const int n : sizes) run_ranks(n, "ranks: sync batch norm");
}

TEST_CASE("what does not fit is refused; a net without batch norm has nothing to convert") {
  CHECK_THROWS_AS(dist::sync_batch_norm(zeros({3}), {}, {}, {}, {}, {}), ShapeError);
  CHECK_THROWS_AS(dist::sync_batch_norm(zeros({3, 2}, {.dtype = int64}), {}, {}, {}, {}, {}), DtypeError);
  CHECK_THROWS_AS(dist::sync_batch_norm(zeros({3, 2}), {}, {}, zeros({3}), {}, {}), ShapeError);
  nn::Linear net(2, 3);
  CHECK(dist::convert_sync_batch_norm(net, {}) == 0);
}
