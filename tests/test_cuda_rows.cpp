// Softmax, cross entropy and the norms on a CUDA device, against the CPU's.
#include <limits>

#include "rows_against_cpu.h"

using namespace rows_against_cpu;

namespace {

const double nan_value = std::numeric_limits<double>::quiet_NaN(), infinity = std::numeric_limits<double>::infinity();

// One row for each way through a row kernel: less than a warp, aligned or not, a block, longer than shared memory
// keeps.
struct Rows {
  int64_t count, n;
};
const std::vector<Rows> short_rows = {{5, 1}, {9, 3}, {7, 16}, {3, 37}, {21, 64}, {2, 1000}};
// 3072, 4096 and 12256 take nearly what a block has of shared memory without asking for more.
const std::vector<Rows> long_rows = {{3, 1100}, {2, 3072}, {2, 4096}, {2, 4104}, {1, 12256}};
const std::vector<Rows> all_rows = [] {
  std::vector<Rows> rows = short_rows;
  rows.insert(rows.end(), long_rows.begin(), long_rows.end());
  return rows;
}();
constexpr int64_t beyond_shared = 26000;  // float32

Tensor statistic(const Shape& shape, Dtype dtype) {
  return empty(shape, {.dtype = dtype == float64 ? float64 : float32});
}

void check_softmax(const Tensor& x) {
  const Tensor g = sample(x.shape(), x.dtype(), 2);
  for (const bool logarithm : {false, true}) {
    const auto& forward = logarithm ? kernels::log_softmax : kernels::softmax;
    const auto& backward = logarithm ? kernels::log_softmax_backward : kernels::softmax_backward;
    INFO((logarithm ? "log_softmax " : "softmax ") << name(x.dtype()) << " " << x.numel() << " elements");
    check_slot({empty_like(x)}, {x}, [&](Device d, Tensors& out, const Tensors& in) { forward(d, out[0], in[0]); });
    Tensor y = empty_like(x);
    forward(Device::cpu(), y, x);
    check_slot({empty_like(x)}, {g, y},
               [&](Device d, Tensors& out, const Tensors& in) { backward(d, out[0], in[0], in[1]); });
  }
}

}  // namespace

TEST_CASE("softmax and log-softmax") {
  for (const Dtype dtype : floats)
    for (const Rows& rows : all_rows) check_softmax(sample({rows.count, rows.n}, dtype) * 3.0);
  check_softmax(sample({1, beyond_shared}, float32));
  const Tensor many = sample({17000, 3}, float32);  // more rows than there are warps
  check_slot({empty_like(many)}, {many},
             [](Device d, Tensors& out, const Tensors& in) { kernels::softmax(d, out[0], in[0]); });
  check_softmax(sample({}, float32));
  check_softmax(empty({0, 4}));
  check_softmax(empty({4, 0}));
}

TEST_CASE("softmax of rows with NaN and infinities") {
  for (const int64_t n : {8, 1200})
    for (const double value : {nan_value, -infinity}) {
      const Tensor x = sample({3, n}, float32);
      x.narrow(0, 1, 1).narrow(1, 1, 1).fill_(value);
      x.narrow(0, 2, 1).fill_(value);  // a row of nothing else
      check_softmax(x);
    }
}

TEST_CASE("cross entropy") {
  for (const Dtype dtype : floats)
    for (const Rows& rows : all_rows)
      for (const double smoothing : {0.0, 0.1})
        for (const bool weighted : {false, true}) {
          INFO(name(dtype) << " rows of " << rows.n << ", smoothing " << smoothing << ", weighted " << weighted);
          const Tensor logits = sample({rows.count, rows.n}, dtype) * 2.0;
          const Tensor target = empty({rows.count}, {.dtype = int64});
          for (int64_t r = 0; r < rows.count; ++r) target.mutable_data<int64_t>()[r] = (r * 7 + 3) % rows.n;
          target.mutable_data<int64_t>()[1] = -5;
          const Tensor weight = weighted ? abs(sample({rows.n}, dtype, 3)) : Tensor();
          const CrossEntropyArgs args{.label_smoothing = smoothing, .ignore_index = -5};
          const Tensor loss = statistic({rows.count}, dtype), lse = statistic({rows.count}, dtype);
          check_slot({loss, lse}, {logits, target, weight}, [&](Device d, Tensors& out, const Tensors& in) {
            kernels::cross_entropy(d, out[0], out[1], in[0], in[1], in[2], args);
          });
          Tensor sums = empty_like(lse), losses = empty_like(lse);
          kernels::cross_entropy(Device::cpu(), losses, sums, logits, target, weight, args);
          const Tensor g = sample({rows.count}, lse.dtype(), 4);
          check_slot({empty_like(logits)}, {g, logits, sums, target, weight},
                     [&](Device d, Tensors& out, const Tensors& in) {
                       kernels::cross_entropy_backward(d, out[0], in[0], in[1], in[2], in[3], in[4], args);
                     });
          check_slot({}, {logits}, [&](Device d, Tensors& out, const Tensors& in) {  // over the logits
            out.push_back(in[0].clone());
            kernels::cross_entropy_backward(d, out[0], moved(g, d), out[0], moved(sums, d), moved(target, d),
                                            moved(weight, d), args);
          });
        }
}

TEST_CASE("a target that names no class is left out of cross entropy") {
  const Device gpu = Device::cuda();
  const Tensor logits = sample({4, 6}, float32).to(gpu);
  const Tensor target = tensor({2, 6, -1, 1e15}, {.dtype = int64}).to(gpu), weight = ones({6}, {.device = gpu});
  Tensor loss = empty({4}, {.device = gpu}), lse = empty_like(loss), dlogits = empty_like(logits);
  kernels::cross_entropy(gpu, loss, lse, logits, target, weight, {.label_smoothing = 0.1});
  kernels::cross_entropy_backward(gpu, dlogits, ones_like(loss), logits, lse, target, weight, {.label_smoothing = 0.1});
  const Tensor losses = loss.to(Device::cpu()), gradients = dlogits.to(Device::cpu());
  CHECK(losses[0].item<float>() > 0);
  CHECK(equal(losses.narrow(0, 1, 3), zeros({3})));
  CHECK(max(abs(gradients[0])).item<float>() > 0);
  CHECK(equal(gradients.narrow(0, 1, 3), zeros({3, 6})));
}

TEST_CASE("cross entropy of a row of minus infinities") {
  const Tensor logits = sample({2, 9}, float32);
  logits.narrow(0, 1, 1).fill_(-infinity);
  check_slot({empty({2}), empty({2})}, {logits, tensor({0, 4}, {.dtype = int64})},
             [&](Device d, Tensors& out, const Tensors& in) {
               kernels::cross_entropy(d, out[0], out[1], in[0], in[1], {}, {});
             });
}

namespace {

// Layer norm when `centered`, else RMS norm.
void check_norm(bool centered, const Tensor& x, bool learned, bool input_wanted = true) {
  const int64_t count = x.size(0), n = x.size(1);
  INFO((centered ? "layer" : "rms") << " norm, " << name(x.dtype()) << " [" << count << ", " << n << "]");
  const Tensor weight = learned ? sample({n}, x.dtype(), 2) : Tensor(),
               bias = learned ? sample({n}, x.dtype(), 3) : Tensor();
  const Tensor mean = statistic({count}, x.dtype()), rstd = statistic({count}, x.dtype());
  const double eps = 1e-5;
  const auto forward = [&](Device d, Tensors& out, const Tensors& in) {
    if (centered)
      kernels::layer_norm(d, out[0], out[1], out[2], in[0], in[1], in[2], eps);
    else
      kernels::rms_norm(d, out[0], out[1], in[0], in[1], eps);
  };
  const Tensors outputs = centered ? Tensors{empty_like(x), mean, rstd} : Tensors{empty_like(x), rstd};
  check_slot(outputs, {x, weight, bias}, forward);
  Tensors found = outputs;
  forward(Device::cpu(), found, {x, weight, bias});
  const Tensor dx = input_wanted ? empty_like(x) : Tensor(), g = sample(x.shape(), x.dtype(), 4);
  const Tensor dweight = learned ? empty({n}, {.dtype = x.dtype()}) : Tensor();
  check_slot(
      {dx, dweight, learned && centered ? empty_like(dweight) : Tensor()},
      {g, x, found[1], centered ? found[2] : Tensor(), weight},
      [&](Device d, Tensors& out, const Tensors& in) {
        if (centered)
          kernels::layer_norm_backward(d, out[0], out[1], out[2], in[0], in[1], in[2], in[3], in[4]);
        else
          kernels::rms_norm_backward(d, out[0], out[1], in[0], in[1], in[2], in[4]);
      },
      2);
}

}  // namespace

TEST_CASE("layer norm and RMS norm") {
  for (const bool centered : {true, false}) {
    for (const Dtype dtype : floats) {
      for (const Rows& rows : all_rows) check_norm(centered, sample({rows.count, rows.n}, dtype) * 2.0 + 1.0, true);
      check_norm(centered, sample({70, 24}, dtype), true);  // several blocks, several rows a warp
      check_norm(centered, sample({3, 40}, dtype), false);
      check_norm(centered, sample({3, 40}, dtype), true, false);
    }
    check_norm(centered, sample({2, beyond_shared}, float32), true);
    check_norm(centered, sample({3, 12000}, float32), true);  // sums of the gradients do not fit beside the row
    check_norm(centered, empty({0, 5}), true);
  }
}

TEST_CASE("layer norm of a large mean and of a row with NaN") {
  check_norm(true, sample({3, 300}, float32) + 1000.0, true);
  const Tensor x = sample({3, 50}, float32);
  x.narrow(0, 1, 1).narrow(1, 7, 1).fill_(nan_value);
  check_norm(true, x, false);
  check_norm(false, x, false);
}
