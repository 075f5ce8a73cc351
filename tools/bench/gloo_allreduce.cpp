// All-reduce of Gradus beside bare Gloo's, in the same processes one after the other: bench_gloo_allreduce FOLDER
// ROUNDS. tools/bench/allreduce.py starts the ranks; rank 0 prints a JSON line for each size and round, times in
// microseconds.
#include <gloo/allreduce.h>
#include <gloo/barrier.h>
#include <gloo/math.h>
#include <gloo/rendezvous/context.h>
#include <gloo/rendezvous/file_store.h>
#include <gloo/transport/tcp/device.h>

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>

#include <gradus/distributed/detail/group.h>
#include <gradus/gradus.h>

#include "bench.h"

namespace {

using gradus::Tensor;
using gradus::dist::ProcessGroup;
using gradus::dist::ReduceOp;

class BareGloo {
 public:
  BareGloo(int rank, int size, const std::string& folder) {
    gloo::rendezvous::FileStore store(folder);
    auto device = gloo::transport::tcp::CreateDevice("127.0.0.1");
    const auto context = std::make_shared<gloo::rendezvous::Context>(rank, size);
    context->connectFullMesh(store, device);
    context_ = context;
  }
  void all_reduce(float* x, size_t n) {
    gloo::AllreduceOptions options(context_);
    options.setOutput(x, n);
    options.setReduceFunction(static_cast<void (*)(void*, const void*, const void*, size_t)>(&gloo::sum<float>));
    gloo::allreduce(options);
  }
  void barrier() {
    gloo::BarrierOptions options(context_);
    gloo::barrier(options);
  }

 private:
  std::shared_ptr<gloo::Context> context_;
};

/// A sample takes a tenth of a second or more: what the scheduler does to one call of a few milliseconds evens out.
int calls_of(int64_t bytes) { return static_cast<int>(std::clamp<int64_t>((64 << 20) / bytes, 4, 50)); }

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  const std::string folder = argv[1];
  const int rounds = std::atoi(argv[2]);
  const ProcessGroup group = gradus::dist::init();
  BareGloo bare(group.rank(), group.size(), folder);

  for (int64_t bytes = 1024; bytes <= (64 << 20); bytes *= 4) {
    const Tensor x = gradus::empty({bytes / 4});
    const std::function<void()> ways[] = {
        [&] { group.all_reduce(x).wait(); },
        [&] { gradus::dist::detail::all_reduce_unchecked(group, x, ReduceOp::sum).wait(); },
        [&] { bare.all_reduce(x.mutable_data<float>(), static_cast<size_t>(x.numel())); },
    };
    for (int round = 0; round <= rounds; ++round) {  // the first warms up
      double us[3];
      for (int i = 0; i < 3; ++i) {
        const int way = round % 2 ? i : 2 - i;
        x.fill_(1e-30);  // stays finite through all the sums
        bare.barrier();
        const double start = bench::now().wall;
        const int calls = calls_of(bytes);
        for (int call = 0; call < calls; ++call) ways[way]();
        us[way] = (bench::now().wall - start) / calls * 1e6;
      }
      if (group.rank() == 0 && round > 0)
        std::printf("{\"bytes\": %lld, \"checked\": %.3f, \"unchecked\": %.3f, \"gloo\": %.3f}\n",
                    static_cast<long long>(bytes), us[0], us[1], us[2]);
    }
  }
  bare.barrier();
  return 0;
}
