// The C functions of cuBLASLt over the emulated devices, with the signatures of the toolkit's header. As there, setting
// an attribute checks its size alone, and the product is checked as a whole. Why one was refused goes to stderr.
#include "arguments.h"
#include "blaslt_matmul.h"

#include <array>
#include <cstdio>
#include <cstring>

namespace emulation = gradus::emulation;
using emulation::Matmul;
using emulation::Matrix;
using emulation::Operation;

// What the opaque handles stand for.
struct cublasLtContext {
  int device;
};

namespace {

struct Preference {
  uint64_t workspace_bytes = 0;
  uint32_t reduction_schemes = CUBLASLT_REDUCTION_SCHEME_MASK;  // the stand-in cuts no sum
  std::array<uint32_t, 4> alignment = {256, 256, 256, 256};     // of A, B, C and D
};

Operation* open(cublasLtMatmulDesc_t handle) { return reinterpret_cast<Operation*>(handle); }
Matrix* open(cublasLtMatrixLayout_t handle) { return reinterpret_cast<Matrix*>(handle); }
Preference* open(cublasLtMatmulPreference_t handle) { return reinterpret_cast<Preference*>(handle); }

cublasStatus_t refuse(cublasStatus_t status, const std::string& why) {
  std::fprintf(stderr, "[cuBLASLt emulation] %s\n", why.c_str());
  return status;
}

// For create and set-attribute functions.
template <class Handle, class Object>
cublasStatus_t hand_out(Handle* handle, Object object) {
  if (!handle) return CUBLAS_STATUS_INVALID_VALUE;
  *handle = reinterpret_cast<Handle>(new Object(object));
  return CUBLAS_STATUS_SUCCESS;
}
template <class Field>
cublasStatus_t set(Field& field, const void* value, size_t bytes) {
  if (!value || bytes != sizeof field) return CUBLAS_STATUS_INVALID_VALUE;
  std::memcpy(&field, value, sizeof field);
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t unknown_attribute(const char* of, int attribute) {
  return refuse(CUBLAS_STATUS_NOT_SUPPORTED,
                std::string(of) + ": the stand-in does not know attribute " + std::to_string(attribute));
}

// What a heuristic's answer holds: it fits the product that was asked about, memory of the alignment that was promised,
// and a workspace of that size.
struct Algorithm {
  uint64_t product;
  uint64_t workspace_bytes;
  std::array<uint32_t, 4> alignment;
};
static_assert(sizeof(Algorithm) <= sizeof(cublasLtMatmulAlgo_t));

// FNV-1a of what a heuristic looks at.
uint64_t fingerprint(const Matmul& x) {
  uint64_t hash = 0xcbf29ce484222325;
  const auto mix = [&hash](auto... values) { ((hash = (hash ^ static_cast<uint64_t>(values)) * 0x100000001b3), ...); };
  mix(x.op.compute, x.op.scale, x.op.transpose_a, x.op.transpose_b, x.op.epilogue);
  for (const Matrix* m : {&x.a, &x.b, &x.c, &x.d})
    mix(m->type, m->rows, m->cols, m->ld, m->order, m->batch, m->batch_stride);
  return hash;
}

emulation::Verdict check_algorithm(const Algorithm& algorithm, const Matmul& matmul, const emulation::Buffers& p,
                                   const void* workspace, size_t workspace_bytes, int device) {
  const auto invalid = [](std::string why) { return emulation::Refusal{CUBLAS_STATUS_INVALID_VALUE, std::move(why)}; };
  if (algorithm.product != fingerprint(matmul)) return invalid("the algorithm was chosen for another product");
  if (algorithm.workspace_bytes > workspace_bytes)
    return invalid("the algorithm needs a workspace of " + std::to_string(algorithm.workspace_bytes) +
                   " bytes and got " + std::to_string(workspace_bytes));
  if (workspace_bytes > 0)
    if (const auto fault = emulation::fault_in_memory(workspace, workspace_bytes, 16, device); !fault.empty())
      return invalid("the workspace " + fault);
  const std::array<const void*, 4> pointers = {p.a, p.b, p.c, p.d};
  for (size_t i = 0; i < pointers.size(); ++i)
    if (reinterpret_cast<uintptr_t>(pointers[i]) % algorithm.alignment[i] != 0)
      return invalid(std::string(1, "ABCD"[i]) + " is not aligned to the " + std::to_string(algorithm.alignment[i]) +
                     " bytes that the preference promised");
  return {};
}

double read_scalar(const void* p, int32_t type) {
  return type == CUDA_R_64F ? *static_cast<const double*>(p) : static_cast<double>(*static_cast<const float*>(p));
}

}  // namespace

extern "C" {

// ---- the library
cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) {
  if (!handle) return CUBLAS_STATUS_INVALID_VALUE;
  *handle = new cublasLtContext{emulation::current_device()};
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) {
  delete handle;
  return CUBLAS_STATUS_SUCCESS;
}
size_t cublasLtGetVersion() { return CUBLAS_VERSION; }
const char* cublasLtGetStatusName(cublasStatus_t status) {
  switch (status) {
    case CUBLAS_STATUS_SUCCESS: return "CUBLAS_STATUS_SUCCESS";
    case CUBLAS_STATUS_NOT_INITIALIZED: return "CUBLAS_STATUS_NOT_INITIALIZED";
    case CUBLAS_STATUS_ALLOC_FAILED: return "CUBLAS_STATUS_ALLOC_FAILED";
    case CUBLAS_STATUS_INVALID_VALUE: return "CUBLAS_STATUS_INVALID_VALUE";
    case CUBLAS_STATUS_ARCH_MISMATCH: return "CUBLAS_STATUS_ARCH_MISMATCH";
    case CUBLAS_STATUS_EXECUTION_FAILED: return "CUBLAS_STATUS_EXECUTION_FAILED";
    case CUBLAS_STATUS_INTERNAL_ERROR: return "CUBLAS_STATUS_INTERNAL_ERROR";
    case CUBLAS_STATUS_NOT_SUPPORTED: return "CUBLAS_STATUS_NOT_SUPPORTED";
    default: return "unrecognized status";
  }
}
const char* cublasLtGetStatusString(cublasStatus_t status) { return cublasLtGetStatusName(status); }

// ---- the operation
cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* handle, cublasComputeType_t compute,
                                        cudaDataType_t scale) {
  return hand_out(handle, Operation{.compute = compute, .scale = scale});
}
cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t handle) {
  delete open(handle);
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t handle, cublasLtMatmulDescAttributes_t attribute,
                                              const void* value, size_t bytes) {
  if (!handle) return CUBLAS_STATUS_INVALID_VALUE;
  Operation& x = *open(handle);
  switch (attribute) {
    case CUBLASLT_MATMUL_DESC_COMPUTE_TYPE: return set(x.compute, value, bytes);
    case CUBLASLT_MATMUL_DESC_SCALE_TYPE: return set(x.scale, value, bytes);
    case CUBLASLT_MATMUL_DESC_POINTER_MODE: return set(x.pointer_mode, value, bytes);
    case CUBLASLT_MATMUL_DESC_TRANSA: return set(x.transpose_a, value, bytes);
    case CUBLASLT_MATMUL_DESC_TRANSB: return set(x.transpose_b, value, bytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE: return set(x.epilogue, value, bytes);
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER: return set(x.bias, value, bytes);
    case CUBLASLT_MATMUL_DESC_BIAS_BATCH_STRIDE: return set(x.bias_stride, value, bytes);
    case CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE: return set(x.bias_type, value, bytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER: return set(x.aux, value, bytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD: return set(x.aux_ld, value, bytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_BATCH_STRIDE: return set(x.aux_stride, value, bytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_DATA_TYPE: return set(x.aux_type, value, bytes);
    default: return unknown_attribute("operation", attribute);
  }
}

// ---- matrices
cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t* handle, cudaDataType type, uint64_t rows,
                                          uint64_t cols, int64_t ld) {
  return hand_out(handle, Matrix{.type = type, .rows = rows, .cols = cols, .ld = ld});
}
cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t handle) {
  delete open(handle);
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t handle,
                                                cublasLtMatrixLayoutAttribute_t attribute, const void* value,
                                                size_t bytes) {
  if (!handle) return CUBLAS_STATUS_INVALID_VALUE;
  Matrix& x = *open(handle);
  switch (attribute) {
    case CUBLASLT_MATRIX_LAYOUT_TYPE: return set(x.type, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_ORDER: return set(x.order, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_ROWS: return set(x.rows, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_COLS: return set(x.cols, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_LD: return set(x.ld, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT: return set(x.batch, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET: return set(x.batch_stride, value, bytes);
    default: return unknown_attribute("matrix", attribute);
  }
}

// ---- the choice of an algorithm
cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t* handle) {
  return hand_out(handle, Preference{});
}
cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t handle) {
  delete open(handle);
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t handle,
                                                    cublasLtMatmulPreferenceAttributes_t attribute, const void* value,
                                                    size_t bytes) {
  if (!handle) return CUBLAS_STATUS_INVALID_VALUE;
  Preference& x = *open(handle);
  switch (attribute) {
    case CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES: return set(x.workspace_bytes, value, bytes);
    case CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK: return set(x.reduction_schemes, value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES: return set(x.alignment[0], value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES: return set(x.alignment[1], value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES: return set(x.alignment[2], value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES: return set(x.alignment[3], value, bytes);
    default: return unknown_attribute("preference", attribute);
  }
}

// Two algorithms where a workspace is allowed: one that uses 64 KiB of it, and one that does without.
cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t handle, cublasLtMatmulDesc_t operation,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t preference, int wanted,
                                              cublasLtMatmulHeuristicResult_t results[], int* count) {
  constexpr uint64_t workspace_bytes = 64 << 10;
  if (!handle) return CUBLAS_STATUS_NOT_INITIALIZED;
  if (!operation || !a || !b || !c || !d || !preference || wanted <= 0 || !results || !count)
    return CUBLAS_STATUS_INVALID_VALUE;
  *count = 0;
  const Matmul matmul{*open(operation), *open(a), *open(b), *open(c), *open(d)};
  if (const auto refusal = emulation::check_form(matmul)) return refuse(refusal->status, refusal->why);
  const Preference& preferred = *open(preference);
  for (const uint32_t alignment : preferred.alignment)
    if (alignment == 0) return refuse(CUBLAS_STATUS_INVALID_VALUE, "an alignment of 0 bytes");
  for (const uint64_t bytes : {workspace_bytes, uint64_t(0)}) {
    if (bytes > preferred.workspace_bytes || *count == wanted) continue;
    const Algorithm algorithm{fingerprint(matmul), bytes, preferred.alignment};
    cublasLtMatmulHeuristicResult_t& result = results[(*count)++];
    result = {};
    std::memcpy(&result.algo, &algorithm, sizeof algorithm);
    result.workspaceSize = bytes;
    result.wavesCount = 1;
  }
  return CUBLAS_STATUS_SUCCESS;
}

// ---- the product
cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t operation, const void* alpha, const void* a,
                              cublasLtMatrixLayout_t a_layout, const void* b, cublasLtMatrixLayout_t b_layout,
                              const void* beta, const void* c, cublasLtMatrixLayout_t c_layout, void* d,
                              cublasLtMatrixLayout_t d_layout, const cublasLtMatmulAlgo_t* algo, void* workspace,
                              size_t workspace_bytes, cudaStream_t stream) {
  if (!handle) return CUBLAS_STATUS_NOT_INITIALIZED;
  if (!operation || !alpha || !beta || !a_layout || !b_layout || !c_layout || !d_layout)
    return refuse(CUBLAS_STATUS_INVALID_VALUE, "a descriptor, alpha or beta is null");
  const Matmul matmul{*open(operation), *open(a_layout), *open(b_layout), *open(c_layout), *open(d_layout)};
  const emulation::Buffers buffers{a, b, c, d};
  if (handle->device != emulation::current_device())
    return refuse(CUBLAS_STATUS_INVALID_VALUE, "the handle was created for device " + std::to_string(handle->device));
  if (const auto fault = emulation::fault_in_stream(stream, handle->device); !fault.empty())
    return refuse(CUBLAS_STATUS_INVALID_VALUE, "the stream " + fault);
  auto refusal = emulation::check_form(matmul);
  if (!refusal) refusal = emulation::check_memory(matmul, buffers, handle->device);
  Algorithm algorithm{fingerprint(matmul), 0, {1, 1, 1, 1}};
  if (algo) std::memcpy(&algorithm, algo, sizeof algorithm);
  if (!refusal) refusal = check_algorithm(algorithm, matmul, buffers, workspace, workspace_bytes, handle->device);
  if (refusal) return refuse(refusal->status, refusal->why);
  if (!emulation::device_fault().empty()) return CUBLAS_STATUS_EXECUTION_FAILED;

  const double alpha_value = read_scalar(alpha, matmul.op.scale), beta_value = read_scalar(beta, matmul.op.scale);
  const size_t used = algorithm.workspace_bytes;
  emulation::enqueue(emulation::id_of(stream), {[=] {
                                                  if (used) std::memset(workspace, 0xff, used);
                                                  emulation::compute(matmul, buffers, alpha_value, beta_value);
                                                },
                                                "cublasLtMatmul " + std::to_string(matmul.m()) + " x " +
                                                    std::to_string(matmul.n()) + " x " + std::to_string(matmul.k())});
  return CUBLAS_STATUS_SUCCESS;
}

}  // extern "C"
