// Which products cuBLASLt documents as supported, and what it asks of their memory.
#include <algorithm>
#include <climits>
#include <initializer_list>

#include "arguments.h"
#include "blaslt_matmul.h"

namespace gradus::emulation {
namespace {

Verdict invalid(std::string why) { return Refusal{CUBLAS_STATUS_INVALID_VALUE, std::move(why)}; }
Verdict unsupported(std::string why) { return Refusal{CUBLAS_STATUS_NOT_SUPPORTED, std::move(why)}; }

// ---- types: the rows of the documentation's table that the stand-in knows
struct Types {
  int32_t compute, scale;
  uint32_t input, output;
};
constexpr Types documented_types[] = {
    {CUBLAS_COMPUTE_32F, CUDA_R_32F, CUDA_R_32F, CUDA_R_32F},
    {CUBLAS_COMPUTE_32F, CUDA_R_32F, CUDA_R_16BF, CUDA_R_16BF},
    {CUBLAS_COMPUTE_32F, CUDA_R_32F, CUDA_R_16BF, CUDA_R_32F},
    {CUBLAS_COMPUTE_32F, CUDA_R_32F, CUDA_R_16F, CUDA_R_16F},
    {CUBLAS_COMPUTE_32F, CUDA_R_32F, CUDA_R_16F, CUDA_R_32F},
    {CUBLAS_COMPUTE_32F_FAST_TF32, CUDA_R_32F, CUDA_R_32F, CUDA_R_32F},
    {CUBLAS_COMPUTE_64F, CUDA_R_64F, CUDA_R_64F, CUDA_R_64F},
};
int32_t not_pedantic(int32_t compute) {
  return compute == CUBLAS_COMPUTE_32F_PEDANTIC   ? CUBLAS_COMPUTE_32F
         : compute == CUBLAS_COMPUTE_64F_PEDANTIC ? CUBLAS_COMPUTE_64F
                                                  : compute;
}
Verdict check_types(const Matmul& x) {
  if (x.a.type != x.b.type) return unsupported("the types of A and B differ");
  if (x.c.type != x.d.type) return unsupported("the types of C and D differ");
  for (const Types& row : documented_types)
    if (row.compute == not_pedantic(x.op.compute) && row.scale == x.op.scale && row.input == x.a.type &&
        row.output == x.d.type)
      return {};
  return unsupported("this combination of compute type " + std::to_string(x.op.compute) + ", scale type " +
                     std::to_string(x.op.scale) + ", A's type " + std::to_string(x.a.type) + " and D's type " +
                     std::to_string(x.d.type) + " is in no row of the table");
}

// ---- shapes
bool by_columns(const Matrix& x) { return x.order == CUBLASLT_ORDER_COL; }
Verdict check_matrix(char name, const Matrix& x) {
  const std::string prefix = std::string(1, name) + ": ";
  if (x.order != CUBLASLT_ORDER_COL && x.order != CUBLASLT_ORDER_ROW)
    return unsupported(prefix + "the stand-in knows column-major and row-major order");
  if (x.rows == 0 || x.cols == 0) return invalid(prefix + "it is empty");
  if (x.rows > INT_MAX || x.cols > INT_MAX) return unsupported(prefix + "rows or columns do not fit in int32");
  const uint64_t line = by_columns(x) ? x.rows : x.cols;
  if (x.ld < static_cast<int64_t>(line))
    return invalid(prefix + "leading dimension " + std::to_string(x.ld) + " is less than " + std::to_string(line));
  if (x.batch < 1) return invalid(prefix + "batch count " + std::to_string(x.batch));
  if (x.batch_stride < 0) return unsupported(prefix + "negative batch stride");
  return {};
}
std::string shape(uint64_t rows, uint64_t cols) { return std::to_string(rows) + " x " + std::to_string(cols); }
Verdict check_shapes(const Matmul& x) {
  for (const auto& [name, matrix] : {std::pair{'A', &x.a}, {'B', &x.b}, {'C', &x.c}, {'D', &x.d}})
    if (Verdict verdict = check_matrix(name, *matrix)) return verdict;
  for (const int32_t transpose : {x.op.transpose_a, x.op.transpose_b})
    if (transpose != CUBLAS_OP_N && transpose != CUBLAS_OP_T)
      return unsupported("a transposition other than N and T for real types");
  const bool ta = x.op.transpose_a != CUBLAS_OP_N, tb = x.op.transpose_b != CUBLAS_OP_N;
  const uint64_t a_rows = ta ? x.a.cols : x.a.rows;
  const uint64_t b_rows = tb ? x.b.cols : x.b.rows, b_cols = tb ? x.b.rows : x.b.cols;
  if (a_rows != x.m() || b_rows != x.k() || b_cols != x.n())
    return invalid("op(A) is " + shape(a_rows, x.k()) + ", op(B) " + shape(b_rows, b_cols) + ", D " +
                   shape(x.m(), x.n()));
  if (x.c.rows != x.m() || x.c.cols != x.n())
    return invalid("C is " + shape(x.c.rows, x.c.cols) + ", D " + shape(x.m(), x.n()));
  if (x.c.order != x.d.order) return unsupported("the orders of C and D differ");
  for (const Matrix* matrix : {&x.a, &x.b, &x.c})
    if (matrix->batch != x.d.batch) return invalid("batch counts differ");
  return {};
}

// ---- epilogue
Verdict check_epilogue(const Matmul& x) {
  constexpr cublasLtEpilogue_t documented[] = {
      CUBLASLT_EPILOGUE_DEFAULT,  CUBLASLT_EPILOGUE_RELU,        CUBLASLT_EPILOGUE_RELU_AUX,
      CUBLASLT_EPILOGUE_BIAS,     CUBLASLT_EPILOGUE_RELU_BIAS,   CUBLASLT_EPILOGUE_RELU_AUX_BIAS,
      CUBLASLT_EPILOGUE_DRELU,    CUBLASLT_EPILOGUE_DRELU_BGRAD, CUBLASLT_EPILOGUE_GELU,
      CUBLASLT_EPILOGUE_GELU_AUX, CUBLASLT_EPILOGUE_GELU_BIAS,   CUBLASLT_EPILOGUE_GELU_AUX_BIAS,
      CUBLASLT_EPILOGUE_DGELU,    CUBLASLT_EPILOGUE_DGELU_BGRAD, CUBLASLT_EPILOGUE_BGRADA,
      CUBLASLT_EPILOGUE_BGRADB};
  if (std::find(std::begin(documented), std::end(documented), x.op.epilogue) == std::end(documented))
    return invalid("epilogue " + std::to_string(x.op.epilogue) + " does not exist");
  const Epilogue epilogue(x.op.epilogue);
  if (x.op.epilogue != CUBLASLT_EPILOGUE_DEFAULT && !by_columns(x.d))
    return unsupported("an epilogue on a row-major D");
  const auto d_type = static_cast<int32_t>(x.d.type);
  if (epilogue.uses_bias() && x.op.bias_type != -1 && x.op.bias_type != d_type)
    return unsupported("the bias has another type than D");
  // Nobody promises a kernel for each shape with a bias: so that the way around is taken too, there is none for these.
  if (epilogue.uses_bias() && (x.d.type == CUDA_R_16F || x.d.type == CUDA_R_16BF) && x.m() % 2 != 0)
    return unsupported("a bias for an odd number of rows of 16 bits");
  if (!epilogue.aux) return {};
  if (!epilogue.has_bit_mask() && x.op.aux_type != -1 && x.op.aux_type != d_type)
    return unsupported("the auxiliary matrix has another type than D");
  const int64_t multiple = epilogue.has_bit_mask() ? 128 : 8;
  if (x.op.aux_ld < static_cast<int64_t>(x.m()) || x.op.aux_ld % multiple != 0 || x.op.aux_stride % multiple != 0)
    return invalid("leading dimension " + std::to_string(x.op.aux_ld) + " and batch stride " +
                   std::to_string(x.op.aux_stride) + " of the auxiliary matrix: they must be multiples of " +
                   std::to_string(multiple) + ", the first at least " + std::to_string(x.m()));
  return {};
}

// ---- memory
// Elements from the first to behind the last one of `lines` lines of `length`, `ld` apart; huge when size_t overflows.
size_t extent(uint64_t length, uint64_t lines, int64_t ld, int32_t batch, int64_t batch_stride) {
  size_t line_offset = 0, batch_offset = 0, all = 0;
  const bool overflow =
      __builtin_mul_overflow(lines - 1, static_cast<size_t>(ld), &line_offset) ||
      __builtin_mul_overflow(static_cast<size_t>(batch - 1), static_cast<size_t>(batch_stride), &batch_offset) ||
      __builtin_add_overflow(line_offset, batch_offset, &all) || __builtin_add_overflow(all, length, &all) ||
      all > SIZE_MAX / 16;
  return overflow ? SIZE_MAX / 16 : all;
}
size_t elements(const Matrix& x, int32_t batch) {
  return by_columns(x) ? extent(x.rows, x.cols, x.ld, batch, x.batch_stride)
                       : extent(x.cols, x.rows, x.ld, batch, x.batch_stride);
}
size_t bytes(const Matrix& x) { return elements(x, x.batch) * bytes_of(x.type); }

Verdict check_epilogue_memory(const Matmul& x, int device) {
  const Epilogue epilogue(x.op.epilogue);
  const size_t element = bytes_of(x.d.type);
  if (epilogue.uses_bias()) {
    const uint64_t length = epilogue.b_gradient ? x.n() : x.m();
    const size_t all = extent(length, 1, 0, x.d.batch, x.op.bias_stride) * element;
    if (const auto fault = fault_in_memory(x.op.bias, all, element, device); !fault.empty())
      return invalid("the bias " + fault);
    if (x.d.batch > 1 && !epilogue.bias && x.op.bias_stride < static_cast<int64_t>(length))
      return invalid("the bias gradients of a batch overlap");
  }
  if (epilogue.aux) {
    const size_t all = extent(x.m(), x.n(), x.op.aux_ld, x.d.batch, x.op.aux_stride);
    const bool mask = epilogue.has_bit_mask();
    const auto fault = fault_in_memory(x.op.aux, mask ? (all + 7) / 8 : all * element, mask ? 16 : element, device);
    if (!fault.empty()) return invalid("the auxiliary matrix " + fault);
  }
  return {};
}

bool same_place(const Matrix& x, const Matrix& y) {
  return x.ld == y.ld && (x.batch == 1 || x.batch_stride == y.batch_stride);
}
// Matrices with gaps may lie in each other's, as the heads of attention do; those without may not.
bool is_dense(const Matrix& x) { return elements(x, x.batch) == x.rows * x.cols * static_cast<size_t>(x.batch); }
bool collide(const void* p, const Matrix& x, const void* q, const Matrix& y) {
  return is_dense(x) && is_dense(y) && overlap(p, bytes(x), q, bytes(y));
}
bool batches_collide(const Matrix& x) {
  const auto stride = static_cast<size_t>(x.batch_stride), line = by_columns(x) ? x.rows : x.cols;
  const bool interleaved = stride >= line && elements(x, x.batch) - elements(x, 1) + line <= static_cast<size_t>(x.ld);
  return x.batch > 1 && stride < elements(x, 1) && !interleaved;
}

}  // namespace

size_t bytes_of(uint32_t type) {
  switch (type) {
    case CUDA_R_64F: return 8;
    case CUDA_R_32F: return 4;
    default: return 2;  // CUDA_R_16BF, CUDA_R_16F
  }
}

Verdict check_form(const Matmul& x) {
  if (x.op.pointer_mode != CUBLASLT_POINTER_MODE_HOST)
    return unsupported("the stand-in reads alpha and beta on the host");
  if (Verdict verdict = check_types(x)) return verdict;
  if (Verdict verdict = check_shapes(x)) return verdict;
  return check_epilogue(x);
}

Verdict check_memory(const Matmul& x, const Buffers& p, int device) {
  struct Named {
    const char* name;
    const void* first;
    const Matrix& matrix;
  };
  for (const auto& [name, first, matrix] : {Named{"A", p.a, x.a}, {"B", p.b, x.b}, {"C", p.c, x.c}, {"D", p.d, x.d}})
    if (const auto fault = fault_in_memory(first, bytes(matrix), bytes_of(matrix.type), device); !fault.empty())
      return invalid(std::string(name) + " " + fault);
  if (collide(p.d, x.d, p.a, x.a) || collide(p.d, x.d, p.b, x.b)) return invalid("D overlaps A or B");
  if (p.c == p.d ? !same_place(x.c, x.d) : collide(p.c, x.c, p.d, x.d))
    return invalid("C and D overlap, and are not the same matrix");
  if (batches_collide(x.d)) return invalid("the matrices of D's batch overlap");
  return check_epilogue_memory(x, device);
}

}  // namespace gradus::emulation
