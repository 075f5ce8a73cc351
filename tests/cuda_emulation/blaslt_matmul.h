// One matrix product as cuBLASLt describes it, D = alpha op(A) op(B) + beta C and an epilogue: whether it is one that
// NVIDIA documents, whether its memory is there, and its value. The C functions are in blaslt.cpp.
#pragma once

#include <cublasLt.h>

#include <optional>
#include <string>

namespace gradus::emulation {

/// The fields have the widths of the attributes in cublasLt.h.
struct Matrix {
  uint32_t type = CUDA_R_32F;
  uint64_t rows = 0, cols = 0;
  int64_t ld = 0;
  int32_t order = CUBLASLT_ORDER_COL;
  int32_t batch = 1;
  int64_t batch_stride = 0;
};

struct Operation {
  int32_t compute = CUBLAS_COMPUTE_32F;
  int32_t scale = CUDA_R_32F;
  int32_t pointer_mode = CUBLASLT_POINTER_MODE_HOST;
  int32_t transpose_a = CUBLAS_OP_N, transpose_b = CUBLAS_OP_N;
  uint32_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
  void* bias = nullptr;
  int64_t bias_stride = 0;
  int32_t bias_type = -1;  // of D
  void* aux = nullptr;
  int64_t aux_ld = 0, aux_stride = 0;
  int32_t aux_type = -1;  // of D
};

struct Matmul {
  Operation op;
  Matrix a, b, c, d;

  uint64_t m() const { return d.rows; }
  uint64_t n() const { return d.cols; }
  uint64_t k() const { return op.transpose_a == CUBLAS_OP_N ? a.cols : a.rows; }
};

struct Buffers {
  const void *a = nullptr, *b = nullptr, *c = nullptr;
  void* d = nullptr;
};

/// What an epilogue is made of.
struct Epilogue {
  explicit Epilogue(uint32_t code)
      : bias(code & 4),
        relu(code & 2),
        gelu(code & 32),
        drelu(code & 8),
        dgelu(code & 64),
        aux(code & 128),
        bias_gradient(code & 16),
        a_gradient(code & CUBLASLT_EPILOGUE_BGRADA),
        b_gradient(code & CUBLASLT_EPILOGUE_BGRADB) {}
  bool uses_bias() const { return bias || bias_gradient || a_gradient || b_gradient; }
  bool has_bit_mask() const { return aux && (relu || drelu); }

  bool bias, relu, gelu, drelu, dgelu;
  bool aux;            // read by drelu and dgelu, written by relu and gelu
  bool bias_gradient;  // sum of D over its columns
  bool a_gradient, b_gradient;
};

struct Refusal {
  cublasStatus_t status;
  std::string why;
};
using Verdict = std::optional<Refusal>;

size_t bytes_of(uint32_t type);
/// Types, shapes and epilogue: what a heuristic can be asked about.
Verdict check_form(const Matmul& matmul);
/// Pointers. The form has been checked.
Verdict check_memory(const Matmul& matmul, const Buffers& buffers, int device);
/// On the calling thread, now. Sums over k run upwards in float (double where the compute type is), and each result is
/// rounded once.
void compute(const Matmul& matmul, const Buffers& buffers, double alpha, double beta);

}  // namespace gradus::emulation
