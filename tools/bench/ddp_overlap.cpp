// How much of DDP's communication hides behind backward: bench_ddp_overlap ROUNDS. tools/bench/overlap.py starts the
// ranks on a slow link; rank 0 prints a JSON line for each round, times in milliseconds: a forward and backward that
// communicates, one that does not, and the communication alone.
#include <cstdio>
#include <cstdlib>
#include <functional>

#include <gradus/distributed/detail/buckets.h>
#include <gradus/gradus.h>

#include "bench.h"

namespace {

using namespace gradus;

// So many rows that backward takes longer than communication: what is longer than backward cannot hide behind it.
constexpr int64_t width = 512, layers = 16, rows = 2048;
constexpr int64_t bucket_bytes = 2 << 20, edge_bucket_bytes = 1 << 20;  // one or two layers in each

struct Mlp : nn::Module {
  nn::ModuleList<nn::Linear> linears{layers, [] { return nn::Linear(width, width); }};
  Tensor forward(Tensor x) {  // (rows, width)
    for (nn::Linear& linear : linears) x = relu(linear(x));
    return x;
  }
  GRADUS_MODULE(linears)
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  const int rounds = std::atoi(argv[1]);
  const dist::ProcessGroup world = dist::init();
  Mlp net;
  dist::DDP ddp(net.parameters(), world, {.bucket_bytes = bucket_bytes, .edge_bucket_bytes = edge_bucket_bytes});
  const dist::detail::Buckets alone =
      dist::detail::make_buckets(net.parameters(), edge_bucket_bytes, bucket_bytes, world.size());
  const Tensor x = randn({rows, width});

  const auto train = [&] {
    net.zero_grad();
    mean(square(net(x))).backward();
  };
  const std::function<void()> ways[] = {
      train,
      [&] {
        const auto guard = ddp.no_sync();
        train();
      },
      [&] {
        std::vector<dist::Work> works;
        for (const dist::detail::Bucket& bucket : alone.buckets) works.push_back(world.all_reduce(bucket.flat));
        for (const dist::Work& work : works) work.wait();
      },
  };
  for (int round = 0; round <= rounds; ++round) {  // the first warms up
    double ms[3];
    for (int i = 0; i < 3; ++i) {
      const int way = round % 2 ? i : 2 - i;
      world.barrier();
      const double start = bench::now().wall;
      ways[way]();
      world.barrier();
      ms[way] = (bench::now().wall - start) * 1e3;
    }
    if (world.rank() == 0 && round > 0)
      std::printf("{\"ddp\": %.3f, \"no_comm\": %.3f, \"comm\": %.3f}\n", ms[0], ms[1], ms[2]);
  }
  return 0;
}
