// All-reduce between GPUs in the manner of nccl-tests: float32 sums in place, sizes from 1 KB to 1 GB, one process
// a GPU, started by gradus-run; rank 0 prints. An emulated device is refused: it has no speed.
#include <gradus/distributed/detail/group.h>
#include <gradus/gradus.h>

#include "bench.h"

namespace {

using namespace gradus;
using dist::ProcessGroup;
using dist::ReduceOp;
using dist::Work;

constexpr int warm_up = 5, calls = 20;

// Microseconds a call, when the stream always has the next one; the slowest rank counts.
template <class Begin>
double time_of(const ProcessGroup& group, Device device, Begin&& begin) {
  const auto run = [&](int count) {
    Work last;
    for (int i = 0; i < count; ++i) last = begin();
    last.wait();
    cuda::synchronize(device);
  };
  run(warm_up);
  group.barrier();
  const double start = bench::now().wall;
  run(calls);
  const Tensor us = full({1}, (bench::now().wall - start) / calls * 1e6, {.dtype = float64});
  group.all_reduce(us, ReduceOp::max).wait();
  return us.item<double>();
}

void measure(const ProcessGroup& group) {
  const Device device = group.device();
  const double n = group.size(), share = 2 * (n - 1) / n;
  if (group.rank() == 0)
    std::printf(
        "all_reduce of float32, %d ranks, in place; busbw = bytes / time * 2 (n - 1) / n\n%12s %10s %8s %8s %12s\n",
        group.size(), "bytes", "us", "algbw", "busbw", "us compared");
  for (int64_t bytes = 1 << 10; bytes <= (int64_t{1} << 30); bytes *= 4) {
    const Tensor x = full({bytes / 4}, 1e-30, {.device = device});  // stays finite through all the sums
    const double us =
        time_of(group, device, [&] { return dist::detail::all_reduce_unchecked(group, x, ReduceOp::sum); });
    const double compared = time_of(group, device, [&] { return group.all_reduce(x, ReduceOp::sum); });
    const double rate = static_cast<double>(bytes) / us * 1e-3;
    if (group.rank() == 0)
      std::printf("%12lld %10.1f %8.1f %8.1f %12.1f\n", static_cast<long long>(bytes), us, rate, rate * share,
                  compared);
  }
}

}  // namespace

int main() {
  try {
    if (const DeviceInfo info = cuda::device_info(); info.emulated) {
      std::fprintf(stderr, "SKIPPED: %s: a figure of speed would mean nothing\n", info.name.c_str());
      return 4;
    }
    const ProcessGroup group = dist::init();
    if (group.size() == 1) {
      std::fprintf(stderr, "start it with gradus-run, one process for each of two GPUs or more\n");
      return 2;
    }
    measure(group);
  } catch (const Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
