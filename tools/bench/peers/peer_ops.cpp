// LibTorch's side of the figures of single operations: peer_ops [--threads N] [--seconds S] ID...
// Ids: op/* backward/* chain/* gemm/* conv/* stream/* (see figures.py).
#include <torch/torch.h>

#include "workloads.h"

namespace {

using bench::measure;
using bench::Options;
using torch::Tensor;
using Parts = std::vector<std::string>;

constexpr int64_t small = 64;  // floats: nothing but overhead

// op/add op/add_grad op/mul op/mul_grad op/relu op/relu_grad op/view: nanoseconds a call.
void small_op(const std::string& id, const Parts& parts, const Options& options) {
  const bool grad = parts[1].ends_with("_grad");
  const std::string op = parts[1].substr(0, parts[1].find('_'));
  torch::AutoGradMode mode(grad);
  const Tensor a = torch::randn({small}, torch::requires_grad(grad)), b = torch::randn({small});
  const auto time = [&](auto&& call) { bench::report_time(id, measure(options.seconds, call), 1e9, "ns"); };
  if (op == "add") return time([&] { Tensor c = a + b; });
  if (op == "mul") return time([&] { Tensor c = a * b; });
  if (op == "relu") return time([&] { Tensor c = torch::relu(a); });
  if (op == "view") return time([&] { Tensor c = a.view({8, 8}); });
  bench::unknown_id(id);
}

Tensor chain(Tensor x, const Tensor& b, bool multiply, int64_t length) {
  for (int64_t i = 0; i < length; ++i) x = multiply ? x * b : x + b;
  return x;
}

// backward/add/1000: nanoseconds a node of the backward pass alone, through a chain of 1000. Short chains are timed
// many at a time.
void backward(const std::string& id, const Parts& parts, const Options& options) {
  const int64_t length = std::stoll(parts[2]), copies = std::max<int64_t>(1, 1000 / length);
  const Tensor a = torch::randn({small}, torch::requires_grad()), b = torch::ones({small}), seed = torch::ones({small});
  const auto prepare = [&] {
    std::vector<Tensor> ends;
    for (int64_t i = 0; i < copies; ++i) ends.push_back(chain(a, b, parts[1] == "mul", length));
    return ends;
  };
  const auto work = [&](std::vector<Tensor>& ends) {
    for (Tensor& end : ends) end.backward(seed);
  };
  bench::report_time(id, bench::measure_prepared(options.seconds, prepare, work), 1e9 / double(length * copies), "ns");
}

// chain/add chain/mul: bytes a node of a graph of a million one-element ops, by what the process grew. Both factors of
// mul want a gradient, so each node keeps its inputs. Then backward and release: neither may overflow the stack.
void chain_memory(const std::string& id, const Parts& parts, const Options&) {
  constexpr int64_t length = 1'000'000;
  const bool multiply = parts[1] == "mul";
  const Tensor a = torch::ones({1}, torch::requires_grad()), b = torch::ones({1}, torch::requires_grad(multiply));
  const double before = bench::memory_bytes("VmRSS");
  const Tensor end = chain(a, b, multiply, length);
  const double after = bench::memory_bytes("VmRSS");
  end.backward();
  bench::report(id, (after - before) / double(length), "B");
}

// gemm/tn/512: C = A^T B, 512 x 512 x 512.
void gemm(const std::string& id, const Parts& parts, const Options& options) {
  torch::NoGradGuard no_grad;
  const int64_t n = std::stoll(parts[2]);
  const Tensor a = torch::randn({n, n}), b = torch::randn({n, n});
  const Tensor left = parts[1][0] == 't' ? a.t() : a, right = parts[1][1] == 't' ? b.t() : b;
  const double gflop = 2e-9 * double(n) * double(n) * double(n);
  bench::report_rate(id, measure(options.seconds, [&] { Tensor c = torch::mm(left, right); }), gflop, "GFLOP/s");
}

// One of conv/forward conv/data conv/weights, on tensors of the given memory format.
bench::Timing conv_timing(const std::string& pass, const bench::ConvShape& s, torch::MemoryFormat format,
                          double seconds) {
  const Tensor x = torch::randn({s.n, s.c, s.size, s.size}).contiguous(format);
  const Tensor w = torch::randn({s.filters, s.c, 3, 3}).contiguous(format);
  if (pass == "forward") return measure(seconds, [&] { Tensor y = torch::conv2d(x, w, {}, 1, 1); });
  const Tensor dy = torch::randn({s.n, s.filters, s.size, s.size}).contiguous(format);
  const std::array<bool, 3> wanted{pass == "data", pass == "weights", false};  // bias: never
  return measure(seconds, [&] {
    at::convolution_backward(dy, x, w, c10::nullopt, {1, 1}, {1, 1}, {1, 1}, false, {0, 0}, 1, wanted);
  });
}

// conv/forward/n64c32s28: in LibTorch's better memory format.
void conv(const std::string& id, const Parts& parts, const Options& options) {
  torch::NoGradGuard no_grad;
  const bench::ConvShape& shape = bench::conv_shape(id, parts[2]);
  const auto time = [&](torch::MemoryFormat format) {
    return conv_timing(parts[1], shape, format, options.seconds / 2);
  };
  const bench::Timing first = time(torch::MemoryFormat::Contiguous), last = time(torch::MemoryFormat::ChannelsLast);
  bench::report_rate(id, first.wall < last.wall ? first : last, shape.gflop(), "GFLOP/s");
}

void adamw(const std::string& id, const Options& options) {
  Tensor parameter = torch::randn({bench::stream_rows, bench::stream_columns}, torch::requires_grad());
  parameter.mutable_grad() = torch::randn_like(parameter);
  torch::optim::AdamW optimizer({parameter}, torch::optim::AdamWOptions(bench::learning_rate));
  bench::report_rate(id, measure(options.seconds, [&] { optimizer.step(); }), bench::adamw_gigabytes, "GB/s");
}

// stream/gelu stream/gelu_tanh stream/softmax stream/layer_norm stream/adamw: GB/s of the least bytes that must move.
void stream(const std::string& id, const Parts& parts, const Options& options) {
  if (parts[1] == "adamw") return adamw(id, options);
  torch::NoGradGuard no_grad;
  const Tensor x = torch::randn({bench::stream_rows, bench::stream_columns});
  const Tensor w = torch::ones({bench::stream_columns}), b = torch::zeros({bench::stream_columns});
  const auto time = [&](auto&& call) {
    bench::report_rate(id, measure(options.seconds, call), bench::stream_gigabytes, "GB/s");
  };
  if (parts[1] == "gelu") return time([&] { Tensor y = torch::gelu(x); });
  if (parts[1] == "gelu_tanh") return time([&] { Tensor y = torch::gelu(x, "tanh"); });
  if (parts[1] == "softmax") return time([&] { Tensor y = torch::softmax(x, -1); });
  if (parts[1] == "layer_norm") return time([&] { Tensor y = torch::layer_norm(x, {bench::stream_columns}, w, b); });
  bench::unknown_id(id);
}

}  // namespace

int main(int argc, char** argv) {
  const Options options = bench::parse_options(argc, argv);
  torch::manual_seed(1);
  at::set_num_threads(options.threads);
  bench::run_families(options, {{"op", small_op},
                                {"backward", backward},
                                {"chain", chain_memory},
                                {"gemm", gemm},
                                {"conv", conv},
                                {"stream", stream}});
}
