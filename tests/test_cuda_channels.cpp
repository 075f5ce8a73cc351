// Batch norm and group norm on a CUDA device, against the CPU's.
#include <limits>

#include "rows_against_cpu.h"

using namespace rows_against_cpu;

namespace {

// [N, C, S] for every way through the kernels: stretches that are long or short, whole packs or not, several parts,
// rows of a warp and of a block.
const std::vector<Shape> shapes = {{3, 4, 1},  {70, 6, 1},   {2, 4, 8},   {2, 6, 37},
                                   {3, 2, 64}, {5, 2, 2000}, {1, 4, 600}, {2, 4, 40}};

Tensor statistic(const Shape& shape, Dtype dtype) {
  return empty(shape, {.dtype = dtype == float64 ? float64 : float32});
}
std::string text(const Tensor& x) {
  std::string result(name(x.dtype()));
  for (const int64_t size : x.shape()) result += " " + std::to_string(size);
  return result;
}

struct Wanted {
  bool learned = true, input = true;
};

// With `groups` = 0 batch norm, else group norm.
void check_norm(const Tensor& x, int64_t groups, Wanted wanted = {}) {
  INFO((groups ? "group" : "batch") << " norm of " << text(x));
  const Dtype dtype = x.dtype();
  const Shape channel = {x.size(1)}, statistics = groups ? Shape{x.size(0), groups} : channel;
  const Tensor weight = wanted.learned ? sample(channel, dtype, 2) : Tensor();
  const Tensor bias = wanted.learned ? sample(channel, dtype, 3) : Tensor();
  const double eps = 1e-5;
  const auto forward = [&](Device d, Tensors& out, const Tensors& in) {
    if (groups)
      kernels::group_norm(d, out[0], out[1], out[2], in[0], in[1], in[2], groups, eps);
    else
      kernels::batch_norm(d, out[0], out[1], out[2], in[0], in[1], in[2], eps);
  };
  const Tensors outputs = {empty_like(x), statistic(statistics, dtype), statistic(statistics, dtype)};
  check_slot(outputs, {x, weight, bias}, forward);
  Tensors found = outputs;
  forward(Device::cpu(), found, {x, weight, bias});
  const Tensor sums = wanted.learned ? empty(channel, {.dtype = dtype}) : Tensor();
  check_slot(
      {wanted.input ? empty_like(x) : Tensor(), sums, wanted.learned ? empty_like(sums) : Tensor()},
      {sample(x.shape(), dtype, 4), x, found[1], found[2], weight},
      [&](Device d, Tensors& out, const Tensors& in) {
        if (groups)
          kernels::group_norm_backward(d, out[0], out[1], out[2], in[0], in[1], in[2], in[3], in[4], groups);
        else
          kernels::batch_norm_backward(d, out[0], out[1], out[2], in[0], in[1], in[2], in[3], in[4], eps);
      },
      10);
}

}  // namespace

TEST_CASE("batch norm") {
  for (const Dtype dtype : floats) {
    for (const Shape& shape : shapes) check_norm(sample(shape, dtype) * 2.0 + 1.0, 0);
    check_norm(sample({4, 3, 40}, dtype), 0, {.learned = false});
    check_norm(sample({4, 3, 5}, dtype), 0, {.input = false});
  }
}

TEST_CASE("group norm") {
  for (const Dtype dtype : floats) {
    for (const Shape& shape : shapes)
      for (const int64_t groups : {int64_t{1}, int64_t{2}, shape[1]})
        check_norm(sample(shape, dtype) * 2.0 + 1.0, groups);
    check_norm(sample({4, 6, 40}, dtype), 3, {.learned = false});
    check_norm(sample({4, 6, 5}, dtype), 3, {.input = false});
  }
}

TEST_CASE("norms of channels with a large mean, and with NaN") {
  const Tensor x = sample({3, 4, 3000}, float32);
  check_norm(x + 1000.0, 0);
  check_norm(x + 1000.0, 2);
  check_norm(sample({300, 4, 3}, float32) + 1000.0, 0);
  x.narrow(0, 1, 1).narrow(1, 1, 1).narrow(2, 5, 1).fill_(std::numeric_limits<double>::quiet_NaN());
  check_norm(x, 0, {.learned = false});
  check_norm(x, 2, {.learned = false});
}

TEST_CASE("norms of no samples and of no channels") {
  check_norm(empty({0, 4, 5}), 2);
  check_norm(empty({2, 0, 5}), 0);
}
