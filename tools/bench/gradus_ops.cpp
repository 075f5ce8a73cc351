// Gradus's side of the figures of single operations: bench_gradus_ops [--threads N] [--seconds S] ID...
// Ids: op/* backward/* chain/* gemm/* conv/* stream/* (see figures.py); peers/peer_ops.cpp is the same with LibTorch.
#include <gradus/core/kernels.h>
#include <gradus/gradus.h>

#include "workloads.h"

namespace {

using bench::measure;
using bench::Options;
using gradus::Tensor;
using Parts = std::vector<std::string>;

constexpr int64_t small = 64;  // floats: nothing but overhead

// op/add op/add_grad op/mul op/mul_grad op/relu op/relu_grad op/view: nanoseconds a call.
void small_op(const std::string& id, const Parts& parts, const Options& options) {
  const bool grad = parts[1].ends_with("_grad");
  const std::string op = parts[1].substr(0, parts[1].find('_'));
  const gradus::GradMode mode(grad);
  const Tensor a = gradus::randn({small}, {.requires_grad = grad}), b = gradus::randn({small});
  const auto time = [&](auto&& call) { bench::report_time(id, measure(options.seconds, call), 1e9, "ns"); };
  if (op == "add") return time([&] { Tensor c = a + b; });
  if (op == "mul") return time([&] { Tensor c = a * b; });
  if (op == "relu") return time([&] { Tensor c = relu(a); });
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
  const Tensor a = gradus::randn({small}, {.requires_grad = true}), b = gradus::ones({small});
  const Tensor seed = gradus::ones({small});
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
  const Tensor a = gradus::ones({1}, {.requires_grad = true}), b = gradus::ones({1}, {.requires_grad = multiply});
  const double before = bench::memory_bytes("VmRSS");
  const Tensor end = chain(a, b, multiply, length);
  const double after = bench::memory_bytes("VmRSS");
  end.backward();
  bench::report(id, (after - before) / double(length), "B");
}

// gemm/tn/512: C = A^T B, 512 x 512 x 512.
void gemm(const std::string& id, const Parts& parts, const Options& options) {
  const gradus::NoGrad no_grad;
  const int64_t n = std::stoll(parts[2]);
  const Tensor a = gradus::randn({n, n}), b = gradus::randn({n, n});
  const Tensor left = parts[1][0] == 't' ? a.t() : a, right = parts[1][1] == 't' ? b.t() : b;
  const double gflop = 2e-9 * double(n) * double(n) * double(n);
  bench::report_rate(id, measure(options.seconds, [&] { Tensor c = matmul(left, right); }), gflop, "GFLOP/s");
}

// conv/forward conv/data conv/weights; the gradients are the kernels that conv2d's derivative calls.
void conv(const std::string& id, const Parts& parts, const Options& options) {
  const gradus::NoGrad no_grad;
  const bench::ConvShape& s = bench::conv_shape(id, parts[2]);
  const Tensor x = gradus::randn({s.n, s.c, s.size, s.size}), w = gradus::randn({s.filters, s.c, 3, 3});
  const Tensor dy = gradus::randn({s.n, s.filters, s.size, s.size});
  const gradus::ConvArgs args{.window = {.kernel = {3, 3}, .padding = {1, 1}}};
  const auto time = [&](auto&& call) { bench::report_rate(id, measure(options.seconds, call), s.gflop(), "GFLOP/s"); };
  if (parts[1] == "forward") return time([&] { Tensor y = conv2d(x, w, {}, {.padding = 1}); });
  if (parts[1] == "data") {
    return time([&] {
      Tensor dx = empty_like(x);
      gradus::kernels::conv2d_backward_input(x.device(), dx, dy, w, args);
    });
  }
  if (parts[1] == "weights") {
    return time([&] {
      Tensor dw = empty_like(w);
      gradus::kernels::conv2d_backward_weight(x.device(), dw, dy, x, args);
    });
  }
  bench::unknown_id(id);
}

void adamw(const std::string& id, const Options& options) {
  const Tensor parameter = gradus::randn({bench::stream_rows, bench::stream_columns}, {.requires_grad = true});
  parameter.set_grad(randn_like(parameter));
  gradus::optim::AdamW optimizer({{"parameter", parameter}}, {.lr = bench::learning_rate});
  bench::report_rate(id, measure(options.seconds, [&] { optimizer.step(); }), bench::adamw_gigabytes, "GB/s");
}

// stream/gelu stream/gelu_tanh stream/softmax stream/layer_norm stream/adamw: GB/s of the least bytes that must move.
void stream(const std::string& id, const Parts& parts, const Options& options) {
  if (parts[1] == "adamw") return adamw(id, options);
  const gradus::NoGrad no_grad;
  const Tensor x = gradus::randn({bench::stream_rows, bench::stream_columns});
  const Tensor w = gradus::ones({bench::stream_columns}), b = gradus::zeros({bench::stream_columns});
  const auto time = [&](auto&& call) {
    bench::report_rate(id, measure(options.seconds, call), bench::stream_gigabytes, "GB/s");
  };
  if (parts[1] == "gelu") return time([&] { Tensor y = gelu(x); });
  if (parts[1] == "gelu_tanh") return time([&] { Tensor y = gelu(x, gradus::GeluApproximation::tanh); });
  if (parts[1] == "softmax") return time([&] { Tensor y = softmax(x); });
  if (parts[1] == "layer_norm") return time([&] { Tensor y = layer_norm(x, {bench::stream_columns}, w, b); });
  bench::unknown_id(id);
}

}  // namespace

int main(int argc, char** argv) {
  const Options options = bench::parse_options(argc, argv);
  gradus::manual_seed(1);
  gradus::set_num_threads(options.threads);
  bench::run_families(options, {{"op", small_op},
                                {"backward", backward},
                                {"chain", chain_memory},
                                {"gemm", gemm},
                                {"conv", conv},
                                {"stream", stream}});
}
