// The value of a product. A and B are unpacked into the compute type first, so that the inner loop is a plain one.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <bit>
#include <cmath>
#include <vector>

#include "blaslt_matmul.h"

namespace gradus::emulation {
namespace {

// ---- elements
double get(const void* p, size_t i, uint32_t type) {
  switch (type) {
    case CUDA_R_64F: return static_cast<const double*>(p)[i];
    case CUDA_R_32F: return static_cast<const float*>(p)[i];
    case CUDA_R_16BF: return __bfloat162float(static_cast<const __nv_bfloat16*>(p)[i]);
    default: return __half2float(static_cast<const __half*>(p)[i]);
  }
}
template <class Real>
void put(void* p, size_t i, uint32_t type, Real value) {
  switch (type) {
    case CUDA_R_64F: static_cast<double*>(p)[i] = static_cast<double>(value); break;
    case CUDA_R_32F: static_cast<float*>(p)[i] = static_cast<float>(value); break;
    case CUDA_R_16BF: static_cast<__nv_bfloat16*>(p)[i] = __float2bfloat16(static_cast<float>(value)); break;
    default: static_cast<__half*>(p)[i] = __float2half(static_cast<float>(value)); break;
  }
}
size_t place(const Matrix& x, uint64_t row, uint64_t col, int32_t batch) {
  const auto ld = static_cast<size_t>(x.ld);
  return static_cast<size_t>(batch) * static_cast<size_t>(x.batch_stride) +
         (x.order == CUBLASLT_ORDER_COL ? row + col * ld : row * ld + col);
}
// TF32 keeps 10 bits of the mantissa; the nearest, as the conversion instruction does it.
float to_tf32(float x) {
  return std::isfinite(x) ? std::bit_cast<float>((std::bit_cast<uint32_t>(x) + 0x1000u) & ~0x1fffu) : x;
}

// The matrix, transposed or not, row by row in the compute type.
template <class Real>
std::vector<Real> unpack(const Matrix& x, const void* p, bool transposed, int32_t batch, bool tf32) {
  const uint64_t rows = transposed ? x.cols : x.rows, cols = transposed ? x.rows : x.cols;
  std::vector<Real> values(rows * cols);
  for (uint64_t i = 0; i < rows; ++i)
    for (uint64_t j = 0; j < cols; ++j) {
      const auto value = static_cast<Real>(get(p, transposed ? place(x, j, i, batch) : place(x, i, j, batch), x.type));
      values[i * cols + j] = tf32 ? static_cast<Real>(to_tf32(static_cast<float>(value))) : value;
    }
  return values;
}

// ---- epilogue: GELU is its tanh form (Hendrycks and Gimpel, 2016), as in cuBLASLt
template <class Real>
Real inner(Real x) {
  return static_cast<Real>(0.7978845608028654) * (x + static_cast<Real>(0.044715) * x * x * x);
}
template <class Real>
Real gelu(Real x) {
  return x * (1 + std::tanh(inner(x))) / 2;
}
template <class Real>
Real gelu_slope(Real x) {
  const Real t = std::tanh(inner(x));
  const Real inner_slope = static_cast<Real>(0.7978845608028654) * (1 + static_cast<Real>(3 * 0.044715) * x * x);
  return (1 + t) / 2 + x * (1 - t * t) * inner_slope / 2;
}

// Bit i of the mask: whether the input of ReLU was positive.
bool get_bit(const void* mask, size_t i) { return static_cast<const unsigned char*>(mask)[i / 8] >> (i % 8) & 1; }
void put_bit(void* mask, size_t i, bool value) {
  auto& byte = static_cast<unsigned char*>(mask)[i / 8];
  byte = static_cast<unsigned char>(value ? byte | 1u << (i % 8) : byte & ~(1u << (i % 8)));
}

// One matrix of the batch.
template <class Real>
class Product {
 public:
  Product(const Matmul& matmul, const Buffers& buffers, double alpha, double beta, int32_t batch)
      : x_(matmul),
        p_(buffers),
        alpha_(static_cast<Real>(alpha)),
        beta_(static_cast<Real>(beta)),
        batch_(batch),
        a_(unpack<Real>(x_.a, p_.a, x_.op.transpose_a != CUBLAS_OP_N, batch, is_tf32())),
        b_(unpack<Real>(x_.b, p_.b, x_.op.transpose_b != CUBLAS_OP_N, batch, is_tf32())) {}

  void run() {
    std::vector<Real> row(x_.n());
    for (uint64_t i = 0; i < x_.m(); ++i) {
      multiply(i, row);
      Real sum = 0;
      for (uint64_t j = 0; j < x_.n(); ++j) {
        Real value = alpha_ * row[j];
        if (beta_ != 0) value += beta_ * static_cast<Real>(get(p_.c, place(x_.c, i, j, batch_), x_.c.type));
        value = finish(value, i, j);
        sum += value;
        put(p_.d, place(x_.d, i, j, batch_), x_.d.type, value);
      }
      if (epilogue_.bias_gradient) put_bias(i, sum);
    }
    if (epilogue_.a_gradient) sum_a();
    if (epilogue_.b_gradient) sum_b();
  }

 private:
  bool is_tf32() const { return x_.op.compute == CUBLAS_COMPUTE_32F_FAST_TF32; }

  void multiply(uint64_t i, std::vector<Real>& row) const {
    std::fill(row.begin(), row.end(), Real(0));
    for (uint64_t p = 0; p < x_.k(); ++p) {
      const Real a = a_[i * x_.k() + p];
      const Real* b = &b_[p * x_.n()];
      for (uint64_t j = 0; j < x_.n(); ++j) row[j] += a * b[j];
    }
  }

  Real finish(Real value, uint64_t i, uint64_t j) const {
    if (epilogue_.bias) value += static_cast<Real>(get(x_.op.bias, bias_place(i), x_.d.type));
    if (epilogue_.relu) {
      if (epilogue_.aux) put_bit(x_.op.aux, aux_place(i, j), value > 0);
      return value < 0 ? 0 : value;
    }
    if (epilogue_.gelu) {
      if (epilogue_.aux) put(x_.op.aux, aux_place(i, j), x_.d.type, value);
      return gelu(value);
    }
    if (epilogue_.drelu) return get_bit(x_.op.aux, aux_place(i, j)) ? value : 0;
    if (epilogue_.dgelu) return value * gelu_slope(static_cast<Real>(get(x_.op.aux, aux_place(i, j), x_.d.type)));
    return value;
  }

  void sum_a() const {
    for (uint64_t i = 0; i < x_.m(); ++i) {
      Real sum = 0;
      for (uint64_t p = 0; p < x_.k(); ++p) sum += a_[i * x_.k() + p];
      put_bias(i, sum);
    }
  }
  void sum_b() const {
    for (uint64_t j = 0; j < x_.n(); ++j) {
      Real sum = 0;
      for (uint64_t p = 0; p < x_.k(); ++p) sum += b_[p * x_.n() + j];
      put_bias(j, sum);
    }
  }

  void put_bias(uint64_t i, Real value) const { put(x_.op.bias, bias_place(i), x_.d.type, value); }
  size_t bias_place(uint64_t i) const { return static_cast<size_t>(batch_ * x_.op.bias_stride) + i; }
  size_t aux_place(uint64_t i, uint64_t j) const {
    return static_cast<size_t>(batch_ * x_.op.aux_stride) + i + j * static_cast<size_t>(x_.op.aux_ld);
  }

  const Matmul& x_;
  const Buffers& p_;
  const Epilogue epilogue_{x_.op.epilogue};
  const Real alpha_, beta_;
  const int32_t batch_;
  const std::vector<Real> a_, b_;  // op(A) is m x k, op(B) k x n
};

}  // namespace

void compute(const Matmul& matmul, const Buffers& buffers, double alpha, double beta) {
  for (int32_t batch = 0; batch < matmul.d.batch; ++batch) {
    if (matmul.op.scale == CUDA_R_64F)
      Product<double>(matmul, buffers, alpha, beta, batch).run();
    else
      Product<float>(matmul, buffers, alpha, beta, batch).run();
  }
}

}  // namespace gradus::emulation
