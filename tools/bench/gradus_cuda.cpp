// Gradus's side of the GPU figures: bench_gradus_cuda [--seconds S] ID... with ids stream/OP/DTYPE, gemm/DTYPE/SIZE,
// latency/add. peers/torch_cuda.py measures the same. An emulated device is refused: it has no speed.
#include <gradus/gradus.h>

#include "bench.h"
#include "workloads.h"

namespace {

using namespace gradus;

const Device gpu = Device::cuda();

Dtype dtype_called(const std::string& id, const std::string& name) {
  if (name == "f32") return float32;
  if (name == "bf16") return bfloat16;
  bench::unknown_id(id);
}

// Seconds a call, when the device has as many calls before it as fill `seconds`.
template <class Work>
bench::Timing time_on_device(double seconds, Work work) {
  work();
  cuda::synchronize(gpu);
  return bench::measure(seconds, [&] {
    constexpr int calls = 10;
    for (int i = 0; i < calls; ++i) work();
    cuda::synchronize(gpu);
  });
}
constexpr double calls_each = 10;

void stream(const std::string& id, const std::vector<std::string>& parts, const bench::Options& options) {
  const NoGrad no_graph;
  const Dtype dtype = dtype_called(id, parts[2]);
  const Shape shape{bench::stream_rows, bench::stream_columns};
  const Tensor x = randn(shape, {.dtype = dtype, .device = gpu}), y = randn(shape, {.dtype = dtype, .device = gpu});
  const Tensor weight = ones({bench::stream_columns}, {.dtype = dtype, .device = gpu});
  const Tensor bias = zeros({bench::stream_columns}, {.dtype = dtype, .device = gpu});
  const std::string& op = parts[1];
  double arrays = 2;  // read or written
  std::function<void()> work;
  if (op == "copy") work = [&] { x.clone(); };
  if (op == "gelu") work = [&] { gelu(x, GeluApproximation::tanh); };
  if (op == "softmax") work = [&] { softmax(x, -1); };
  if (op == "layer_norm") work = [&] { layer_norm(x, {bench::stream_columns}, weight, bias); };
  if (op == "sum") work = [&] { sum(x); }, arrays = 1;
  if (op == "add") work = [&] { x + y; }, arrays = 3;
  if (!work) bench::unknown_id(id);
  const bench::Timing timing = time_on_device(options.seconds, work);
  const double gigabytes = 1e-9 * arrays * static_cast<double>(x.nbytes());
  bench::report_rate(id, timing, calls_each * gigabytes, "GB/s");
}

void gemm(const std::string& id, const std::vector<std::string>& parts, const bench::Options& options) {
  const NoGrad no_graph;
  const Dtype dtype = dtype_called(id, parts[1]);
  const int64_t n = std::atoll(parts[2].c_str());
  if (n <= 0) bench::unknown_id(id);
  const Tensor a = randn({n, n}, {.dtype = dtype, .device = gpu}), b = randn({n, n}, {.dtype = dtype, .device = gpu});
  const double teraflop = 2e-12 * static_cast<double>(n) * static_cast<double>(n) * static_cast<double>(n);
  bench::report_rate(id, time_on_device(options.seconds, [&] { matmul(a, b); }), calls_each * teraflop, "TFLOP/s");
}

// What the host pays to enqueue one small op.
void latency(const std::string& id, const std::vector<std::string>& parts, const bench::Options& options) {
  if (parts[1] != "add") bench::unknown_id(id);
  const NoGrad no_graph;
  const Tensor x = ones({64}, {.device = gpu}), y = ones({64}, {.device = gpu});
  const bench::Timing timing = time_on_device(options.seconds, [&] { x + y; });
  bench::report_time(id, timing, 1e6 / calls_each, "us");
}

}  // namespace

int main(int argc, char** argv) {
  try {
    if (const DeviceInfo info = cuda::device_info(gpu); info.emulated) {
      std::fprintf(stderr, "%s: a figure of speed would mean nothing\n", info.name.c_str());
      return 4;
    }
    bench::run_families(bench::parse_options(argc, argv), {{"stream", stream}, {"gemm", gemm}, {"latency", latency}});
  } catch (const Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
