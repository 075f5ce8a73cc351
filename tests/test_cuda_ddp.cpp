// Data parallelism on CUDA devices: the same training on two devices and on two ranks of the CPU. Ranks are threads.
#include <gradus/distributed/ddp.h>
#include <gradus/distributed/detail/device_engine.h>
#include <gradus/distributed/sync_batch_norm.h>
#include <gradus/distributed/zero.h>
#include <gradus/fmt.h>

#include "catch.h"
#include "emulated_device.h"
#include "thread_ranks.h"

using namespace gradus;
using dist::DDP;
using dist::DDPOptions;
using dist::Determinism;
using dist::ProcessGroup;

namespace {

struct Net : nn::Module {
  nn::Linear fc1{6, 16}, fc2{16, 3};
  nn::BatchNorm1d norm{16};
  Tensor forward(const Tensor& x) { return fc2(relu(norm(fc1(x)))); }  // (B, 6) -> (B, 3)
  GRADUS_MODULE(fc1, fc2, norm)
};

struct Way {
  std::string name;
  DDPOptions options = {};
  bool zero = false, sync_norm = false, rows = false;  // rows: by ddp.backward
};

// The losses of some steps, and a parameter's values at the end.
struct Course {
  std::vector<float> losses;
  Tensor weight;
};

Course train(const ProcessGroup& world, Device device, const Way& way) {
  manual_seed(3);
  Net net;
  Generator random(7);
  std::vector<Tensor> xs, ys;
  for (int i = 0; i < 3; ++i) {
    const UseGenerator use(random);
    xs.push_back(randn({8, 6}));
    ys.push_back(randint(3, {8}));
  }
  if (way.sync_norm) dist::convert_sync_batch_norm(net, world);
  net.to(device);
  DDPOptions options = way.options;
  options.buffers = net.buffers();
  DDP ddp(net.parameters(), world, options);
  constexpr optim::SGDOptions rule{.lr = 0.2, .momentum = 0.9};
  std::optional<dist::ZeroOptimizer> zero;
  std::optional<optim::SGD> sgd;
  if (way.zero)
    zero.emplace(net.parameters(), world, [&](const NamedTensors& slices) { return optim::SGD(slices, rule); });
  else
    sgd.emplace(net.parameters(), rule);

  Course course;
  const int64_t half = 8 / world.size(), first = world.rank() * half;
  const auto loss_of = [&](const Tensor& x, const Tensor& y) { return cross_entropy(net(x), y); };
  for (int step = 0; step < 5; ++step) {
    const size_t i = static_cast<size_t>(step) % xs.size();
    const Tensor x = xs[i].slice(0, first, first + half).to(device), y = ys[i].slice(0, first, first + half).to(device);
    way.zero ? zero->zero_grad() : sgd->zero_grad();
    if (way.rows) {
      course.losses.push_back(static_cast<float>(ddp.backward(x, y, loss_of).item<double>()));
    } else {
      const Tensor loss = loss_of(x, y);
      loss.backward();
      course.losses.push_back(loss.item<float>());
    }
    way.zero ? zero->step() : sgd->step();
  }
  course.weight = net.fc1.weight.detach().to(Device::cpu());
  return course;
}

}  // namespace

TEST_CASE("training on two devices is training on two ranks of the CPU, in every way") {
  if (!can_have_ranks()) return;
  if (cuda::device_count() < 2) return emulated::skipped("one device");
  const Way ways[] = {
      {.name = "plain"},
      {.name = "small buckets", .options = {.bucket_bytes = 64, .edge_bucket_bytes = 64}},
      {.name = "bfloat16 on the way", .options = {.wire = bfloat16}},
      {.name = "unused parameters", .options = {.find_unused = true}},
      {.name = "by rows", .rows = true},
      {.name = "a sharded optimizer", .zero = true},
      {.name = "batch norm of all ranks", .sync_norm = true},
      {.name = "any number of ranks", .options = {.determinism = Determinism::world_size, .shards = 4}, .rows = true}};
  ThreadRanks ranks(2);
  for (const Way& way : ways) {
    INFO(way.name);
    Course on_cpu[2], on_device[2];
    ranks.run([&](ProcessGroup& world) {
      const auto rank = static_cast<size_t>(world.rank());
      on_cpu[rank] = train(world, Device::cpu(), way);
      on_device[rank] = train(world, world.device(), way);
    });
    const double tolerance = way.options.wire ? 2e-2 : 1e-4;  // bfloat16: a gradient's last bit may fall either way
    for (size_t rank = 0; rank < 2; ++rank) {
      for (size_t step = 0; step < on_cpu[rank].losses.size(); ++step)
        CHECK(on_device[rank].losses[step] == Approx(on_cpu[rank].losses[step]).epsilon(tolerance));
      CHECK(allclose(on_device[rank].weight, on_cpu[rank].weight, tolerance, tolerance));
    }
    CHECK(equal(on_device[0].weight, on_device[1].weight));
    CHECK(on_device[0].losses.back() != on_device[0].losses.front());
  }
}
