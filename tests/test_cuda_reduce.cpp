// Reductions and cumulative sums on a CUDA device, against the CPU's.
#include <limits>

#include "rows_against_cpu.h"

using namespace rows_against_cpu;

namespace {

// [outer, n, inner] for every way through the kernels.
const std::vector<Shape> shapes = {
    {1, 1, 1},     {40, 5, 1},    {3, 16, 1},    {9, 37, 1},  {2, 1000, 1}, {2, 2048, 1},
    {3, 1031, 1},  {1, 40001, 1}, {2, 20000, 1}, {1, 300, 3}, {3, 7, 5},    {2, 2, 70},
    {1, 1100, 40}, {5, 33, 2},    {1, 6000, 1},  {4, 3, 1},   {1, 9000, 2},
};
const std::vector<Shape> empty_shapes = {{0, 3, 2}, {2, 0, 3}, {2, 0, 1}, {2, 3, 0}};

Shape output_shape(const Shape& x) { return {x[0], x[2]}; }
std::string text(const Tensor& x) {
  std::string result(name(x.dtype()));
  for (const int64_t size : x.shape()) result += " " + std::to_string(size);
  return result;
}
Dtype sum_dtype(Dtype dtype) { return is_floating(dtype) ? dtype : int64; }

using Reduce = Kernel<void(Tensor&, const Tensor&)>;
void check_reduce(const Reduce& kernel, const Tensor& x, Dtype dtype, double factor = 1) {
  INFO(kernel.name() << " " << text(x) << " to " << name(dtype));
  check_slot(
      {empty(output_shape(x.shape()), {.dtype = dtype})}, {x},
      [&](Device d, Tensors& out, const Tensors& in) { kernel(d, out[0], in[0]); }, factor);
}

void check_extremes(const Tensor& x) {
  for (const auto* kernel : {&kernels::reduce_max, &kernels::reduce_min})
    for (const bool indexed : {true, false}) {
      INFO(kernel->name() << " " << text(x) << (indexed ? " with index" : ""));
      const Shape shape = output_shape(x.shape());
      check_slot({empty(shape, {.dtype = x.dtype()}), indexed ? empty(shape, {.dtype = int64}) : Tensor()}, {x},
                 [&](Device d, Tensors& out, const Tensors& in) { (*kernel)(d, out[0], out[1], in[0]); });
    }
}

const double nan_value = std::numeric_limits<double>::quiet_NaN(), infinity = std::numeric_limits<double>::infinity();

}  // namespace

TEST_CASE("sums") {
  for (const Dtype dtype : every_dtype) {
    for (const Shape& shape : shapes) {
      // Sums of thousands of numbers of either sign lose digits: to their size, not to that of the result.
      const double factor = dtype == float32 || dtype == float64 ? 10 : 1;
      check_reduce(kernels::reduce_sum, sample(shape, dtype), sum_dtype(dtype), factor);
    }
    for (const Shape& shape : empty_shapes) check_reduce(kernels::reduce_sum, sample(shape, dtype), sum_dtype(dtype));
  }
  for (const Shape& shape : {Shape{2, 40, 1}, Shape{1, 700, 3}, Shape{1, 40000, 1}}) {
    check_reduce(kernels::reduce_sum, sample(shape, float16), float32, 10);
    check_reduce(kernels::reduce_sum, sample(shape, bfloat16), float32, 10);
    check_reduce(kernels::reduce_sum, sample(shape, float32), bfloat16);
    check_reduce(kernels::reduce_sum, sample(shape, float32), float16);
  }
}

TEST_CASE("a sum of one huge dim is cut twice") {
  check_reduce(kernels::reduce_sum, ones({1, 300000, 2}, {.dtype = uint8}), int64);
  check_reduce(kernels::reduce_sum, ones({1, 1, 1}, {.dtype = float32}), float32);
}

TEST_CASE("sums of more rows and columns than there are blocks") {
  for (const Shape& shape : {Shape{17000, 9, 1}, Shape{1, 2, 530000}})
    check_reduce(kernels::reduce_sum, sample(shape, float32), float32, 10);
}

TEST_CASE("products") {
  for (const Dtype dtype : every_dtype) {
    for (const Shape& shape : shapes) {
      const Tensor x = is_floating(dtype) ? (sample(shape, float32) * 0.02 + 1.0).to(dtype) : sample(shape, dtype);
      check_reduce(kernels::reduce_prod, x, sum_dtype(dtype), 20);
    }
    for (const Shape& shape : empty_shapes) check_reduce(kernels::reduce_prod, sample(shape, dtype), sum_dtype(dtype));
  }
}

TEST_CASE("any and all") {
  for (const Dtype dtype : every_dtype) {
    for (const Shape& shape : shapes)
      for (const auto* kernel : {&kernels::reduce_any, &kernels::reduce_all}) {
        const bool all = kernel == &kernels::reduce_all;
        Tensor x = full(shape, all ? 1 : 0, {.dtype = dtype});
        check_reduce(*kernel, x, boolean);
        x.narrow(1, shape[1] - 1, 1).narrow(2, 0, 1).fill_(all ? 0 : 1);  // one of them decides
        check_reduce(*kernel, x, boolean);
      }
    for (const Shape& shape : empty_shapes) {
      check_reduce(kernels::reduce_any, sample(shape, dtype), boolean);
      check_reduce(kernels::reduce_all, sample(shape, dtype), boolean);
    }
  }
  for (const Dtype dtype : floats)
    for (const double value : {-0.0, nan_value, -infinity}) {
      check_reduce(kernels::reduce_any, full({2, 20, 1}, value, {.dtype = dtype}), boolean);
      check_reduce(kernels::reduce_all, full({2, 20, 1}, value, {.dtype = dtype}), boolean);
    }
}

TEST_CASE("extremes and their first positions") {
  for (const Dtype dtype : every_dtype) {
    for (const Shape& shape : shapes) check_extremes(sample(shape, dtype));  // integers and sixteen bits have ties
    check_extremes(empty({0, 3, 2}, {.dtype = dtype}));
    check_extremes(zeros({2, 50, 1}, {.dtype = dtype}));
    check_extremes(zeros({1, 40000, 1}, {.dtype = dtype}));
  }
}

TEST_CASE("the first NaN is the extreme") {
  for (const Dtype dtype : floats)
    for (const Shape& shape : {Shape{3, 40, 1}, Shape{1, 700, 3}, Shape{2, 20000, 1}}) {
      const Tensor x = sample(shape, dtype);
      x.narrow(1, shape[1] / 2, 2).fill_(nan_value);
      x.narrow(1, 1, 1).fill_(infinity);
      check_extremes(x);
      check_extremes(full(shape, -infinity, {.dtype = dtype}));
      check_extremes(full(shape, infinity, {.dtype = dtype}));
    }
  check_extremes(full({2, 40, 1}, std::numeric_limits<int64_t>::min(), {.dtype = int64}));
  check_extremes(full({2, 40, 1}, std::numeric_limits<int32_t>::max(), {.dtype = int32}));
}

TEST_CASE("extremes of sixteen bits into float32") {
  for (const Dtype dtype : {float16, bfloat16})
    check_slot({empty({2, 3})}, {sample({2, 30, 3}, dtype)}, [](Device d, Tensors& out, const Tensors& in) {
      Tensor no_index;
      kernels::reduce_max(d, out[0], no_index, in[0]);
    });
}

TEST_CASE("cumulative sums") {
  const std::vector<Shape> cases = {{1, 1, 1},    {9, 5, 1},     {3, 32, 1}, {2, 100, 1}, {2, 257, 1},
                                    {2, 4096, 1}, {2, 10000, 1}, {3, 5, 4},  {2, 256, 3}, {2, 1000, 3},
                                    {1, 2, 300},  {0, 2, 3},     {2, 0, 3},  {0, 4, 1}};
  for (const Dtype dtype : every_dtype)
    for (const Shape& shape : cases) {
      INFO(text(sample(shape, dtype)));
      check_slot({empty(shape, {.dtype = sum_dtype(dtype)})}, {sample(shape, dtype)},
                 [](Device d, Tensors& out, const Tensors& in) { kernels::cumsum(d, out[0], in[0]); });
    }
  for (const Shape& shape : {Shape{2, 300, 1}, Shape{1, 9000, 1}, Shape{1, 600, 2}}) {
    const Tensor x = sample(shape, float32);
    x.narrow(1, shape[1] / 2, 1).fill_(infinity);
    check_slot({empty_like(x)}, {x},
               [](Device d, Tensors& out, const Tensors& in) { kernels::cumsum(d, out[0], in[0]); });
  }
  const Tensor many = ones({1, 257, 65536}, {.dtype = uint8});  // columns enough that none is cut
  Tensor y = empty(many.shape(), {.dtype = int64, .device = Device::cuda()});
  kernels::cumsum(Device::cuda(), y, many.to(Device::cuda()));
  CHECK(min(y.select(1, 256)).item<int64_t>() == 257);
  CHECK(sum(y).item<int64_t>() == int64_t{65536} * 257 * 258 / 2);
}
