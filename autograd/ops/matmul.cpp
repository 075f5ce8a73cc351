// Matrix products: matmul, linear, outer. Transposed views and broadcast batches go to the kernel as they are.
#include <vector>

#include <gradus/autograd/detail/elementwise.h>
#include <gradus/core/detail/matrix.h>

namespace gradus {
namespace {

void check_operands(const char* op, const char* name, const Tensor& x, const char* other_name, const Tensor& y) {
  detail::check_defined(op, name, x);
  detail::check_defined(op, other_name, y);
  detail::check_same(op, x, y);
  GRADUS_CHECK(is_floating(x.dtype()), DtypeError, "{}: {} is {}; want a floating dtype, convert with x.to(float32)",
               op, name, x.dtype());
}

// A dim over which matrices repeat, and how far apart they lie in either operand (0: the same matrix again).
struct BatchDim {
  int64_t size, step_x, step_y;
};

// The batch dims of a product, neighbours merged where one stride serves both operands.
std::vector<BatchDim> merged_batch(const Shape& batch, const Tensor& x, const Tensor& y) {
  const auto step = [&batch](const Tensor& operand, int d) -> int64_t {
    const int own = d - (batch.rank() - (operand.rank() - 2));
    return own < 0 || operand.shape()[own] == 1 ? 0 : operand.strides()[own];
  };
  std::vector<BatchDim> dims;
  for (int d = 0; d < batch.rank(); ++d) {
    if (batch[d] == 1) continue;
    const BatchDim dim{batch[d], step(x, d), step(y, d)};
    if (!dims.empty() && dims.back().step_x == dim.size * dim.step_x && dims.back().step_y == dim.size * dim.step_y)
      dims.back() = {dims.back().size * dim.size, dim.step_x, dim.step_y};
    else
      dims.push_back(dim);
  }
  return dims;
}

// The tensor itself when a kernel can read its matrices in place, else a copy.
Tensor readable(const Tensor& x) { return detail::matrix_layout(x) ? x : dense(x); }

// `size` matrices of x, `step` elements apart: [size, rows, columns].
Tensor stacked(const Tensor& x, int64_t size, int64_t step, int64_t shift) {
  return as_strided(x, {size, x.size(-2), x.size(-1)}, {step, x.stride(-2), x.stride(-1)}, x.impl().offset + shift);
}

// c [batch, m, n] = x [batch, m, k] y [batch, k, n] + bias [n]; the batch dims of x and y broadcast, bias may be
// absent.
void multiply(Tensor& c, const Shape& batch, const Tensor& any_x, const Tensor& any_y, const Tensor& bias) {
  if (c.numel() == 0) return;
  const Tensor x = readable(any_x), y = readable(any_y);
  const int64_t m = x.size(-2), n = y.size(-1);
  std::vector<BatchDim> outer = merged_batch(batch, x, y);
  BatchDim inner{1, 0, 0};  // the dim that one call of the kernel covers
  if (!outer.empty()) {
    inner = outer.back();
    outer.pop_back();
  }
  int64_t calls = 1;
  for (const BatchDim& dim : outer) calls *= dim.size;
  for (int64_t i = 0; i < calls; ++i) {
    int64_t shift_x = 0, shift_y = 0, rest = i;
    for (size_t d = outer.size(); d-- > 0; rest /= outer[d].size) {
      shift_x += rest % outer[d].size * outer[d].step_x;
      shift_y += rest % outer[d].size * outer[d].step_y;
    }
    const int64_t size_c = inner.size * m * n;
    Tensor part = as_strided(c, {inner.size, m, n}, {m * n, n, 1}, c.impl().offset + i * size_c);
    kernels::gemm(c.device(), part, stacked(x, inner.size, inner.step_x, shift_x),
                  stacked(y, inner.size, inner.step_y, shift_y), bias, false);
  }
}

// All dims but the last as one: [..., n] to [rows, n].
int64_t row_count(const Tensor& x) {
  int64_t rows = 1;
  for (int d = 0; d + 1 < x.rank(); ++d) rows *= x.shape()[d];
  return rows;
}
Tensor rows_of(const Tensor& x) { return x.rank() == 2 ? x : x.reshape({row_count(x), x.size(-1)}); }

// A matrix turned round, without history.
Tensor turned(const Tensor& x) {
  return as_strided(x, {x.size(1), x.size(0)}, {x.stride(1), x.stride(0)}, x.impl().offset);
}

}  // namespace

Tensor matmul(const Tensor& x, const Tensor& y) {
  check_operands("matmul", "x", x, "y", y);
  GRADUS_CHECK(x.rank() > 0 && y.rank() > 0, ShapeError, "matmul: {} and {}; want rank 1 or more, use x * y", x.shape(),
               y.shape());
  const int64_t k = y.rank() == 1 ? y.size(0) : y.size(-2);
  GRADUS_CHECK(x.size(-1) == k, ShapeError, "matmul: {} and {}: the last dim of x is {}, y wants {}{}", x.shape(),
               y.shape(), x.size(-1), k, y.size(-1) == x.size(-1) ? "; did you mean y.transpose(-2, -1)?" : "");
  if (y.rank() == 1) return matmul(x, y.unsqueeze(-1)).squeeze(-1);
  if (x.rank() == 1) return matmul(x.unsqueeze(0), y).squeeze(-2);
  // Many rows against one matrix are one larger product, in the derivative for y too.
  if (y.rank() == 2 && x.rank() > 2 && x.is_contiguous()) {
    Shape shape = x.shape();
    shape.back() = y.size(1);
    return matmul(rows_of(x), y).reshape(shape);
  }

  const Shape batch = broadcast_shapes("matmul", std::span(x.shape().begin(), x.shape().end() - 2),
                                       std::span(y.shape().begin(), y.shape().end() - 2));
  Shape shape = batch;
  shape.push_back(x.size(-2));
  shape.push_back(y.size(-1));
  Tensor c = empty(shape, {.dtype = x.dtype(), .device = x.device()});
  multiply(c, batch, x, y, {});
  return record("matmul", std::move(c), {&x, &y}, save(detail::wanted_by(y, x), detail::wanted_by(x, y)),
                [](const Tensor& g, const Saved& s) -> Grads {
                  return {s.needs(0) ? matmul(g, s[1].transpose(-2, -1)) : Tensor(),
                          s.needs(1) ? matmul(s[0].transpose(-2, -1), g) : Tensor()};
                });
}

Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  check_operands("linear", "x", x, "weight", weight);
  GRADUS_CHECK(x.rank() >= 1, ShapeError, "linear: x is {}; want [..., in]", x.shape());
  GRADUS_CHECK(weight.rank() == 2, ShapeError, "linear: weight is {}; want [out, in]", weight.shape());
  GRADUS_CHECK(x.size(-1) == weight.size(1), ShapeError,
               "linear: the last dim of x {} is {}, weight {} wants {} features", x.shape(), x.size(-1), weight.shape(),
               weight.size(1));
  if (bias.defined()) {
    check_operands("linear", "x", x, "bias", bias);
    GRADUS_CHECK(bias.shape() == Shape{weight.size(0)}, ShapeError, "linear: bias is {}; weight {} wants [{}]",
                 bias.shape(), weight.shape(), weight.size(0));
  }
  Shape shape = x.shape();
  shape.back() = weight.size(0);
  Tensor y = empty(shape, {.dtype = x.dtype(), .device = x.device()});
  const Tensor rows = reshaped(dense(x), {row_count(x), x.size(-1)});
  multiply(y, {}, rows, turned(weight), bias.defined() ? dense(bias) : bias);
  return record(
      "linear", std::move(y), {&x, &weight, &bias}, save(detail::wanted_by(weight, x), detail::wanted_by(x, weight)),
      [](const Tensor& g, const Saved& s) -> Grads {
        return {s.needs(0) ? matmul(g, s[1]) : Tensor(), s.needs(1) ? matmul(rows_of(g).t(), rows_of(s[0])) : Tensor(),
                s.needs(2) ? sum(rows_of(g), 0) : Tensor()};
      });
}

Tensor outer(const Tensor& x, const Tensor& y) {
  detail::check_defined("outer", "x", x);
  detail::check_defined("outer", "y", y);
  GRADUS_CHECK(x.rank() == 1 && y.rank() == 1, ShapeError, "outer: {} and {}; want two vectors", x.shape(), y.shape());
  return mul(x.unsqueeze(1), y);
}

}  // namespace gradus
