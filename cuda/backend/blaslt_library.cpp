// cuBLASLt, opened at run time. Without it every function returns CUBLAS_STATUS_NOT_INITIALIZED, and blaslt_library()
// says why.
#include <cublasLt.h>

#include <gradus/cuda/backend/library.h>
#include <gradus/cuda/backend/trampoline.h>

// clang-format off
#define GRADUS_BLASLT_FUNCTIONS(X) \
  X(size_t, cublasLtGetVersion, (), (), 0) \
  X(const char*, cublasLtGetStatusName, (cublasStatus_t status), (status), "cuBLASLt is missing") \
  X(const char*, cublasLtGetStatusString, (cublasStatus_t status), (status), "cuBLASLt is missing") \
  X(cublasStatus_t, cublasLtCreate, (cublasLtHandle_t* handle), (handle), CUBLAS_STATUS_NOT_INITIALIZED) \
  X(cublasStatus_t, cublasLtDestroy, (cublasLtHandle_t handle), (handle), CUBLAS_STATUS_NOT_INITIALIZED) \
  X(cublasStatus_t, cublasLtMatmulDescCreate, \
    (cublasLtMatmulDesc_t* operation, cublasComputeType_t compute, cudaDataType_t scale), \
    (operation, compute, scale), CUBLAS_STATUS_NOT_INITIALIZED) \
  X(cublasStatus_t, cublasLtMatmulDescDestroy, (cublasLtMatmulDesc_t operation), (operation), \
    CUBLAS_STATUS_NOT_INITIALIZED) \
  X(cublasStatus_t, cublasLtMatmulDescSetAttribute, \
    (cublasLtMatmulDesc_t operation, cublasLtMatmulDescAttributes_t attribute, const void* value, size_t bytes), \
    (operation, attribute, value, bytes), CUBLAS_STATUS_NOT_INITIALIZED) \
  X(cublasStatus_t, cublasLtMatrixLayoutCreate, \
    (cublasLtMatrixLayout_t* layout, cudaDataType type, uint64_t rows, uint64_t cols, int64_t ld), \
    (layout, type, rows, cols, ld), CUBLAS_STATUS_NOT_INITIALIZED) \
  X(cublasStatus_t, cublasLtMatrixLayoutDestroy, (cublasLtMatrixLayout_t layout), (layout), \
    CUBLAS_STATUS_NOT_INITIALIZED) \
  X(cublasStatus_t, cublasLtMatrixLayoutSetAttribute, \
    (cublasLtMatrixLayout_t layout, cublasLtMatrixLayoutAttribute_t attribute, const void* value, size_t bytes), \
    (layout, attribute, value, bytes), CUBLAS_STATUS_NOT_INITIALIZED) \
  X(cublasStatus_t, cublasLtMatmulPreferenceCreate, (cublasLtMatmulPreference_t* preference), (preference), \
    CUBLAS_STATUS_NOT_INITIALIZED) \
  X(cublasStatus_t, cublasLtMatmulPreferenceDestroy, (cublasLtMatmulPreference_t preference), (preference), \
    CUBLAS_STATUS_NOT_INITIALIZED) \
  X(cublasStatus_t, cublasLtMatmulPreferenceSetAttribute, \
    (cublasLtMatmulPreference_t preference, cublasLtMatmulPreferenceAttributes_t attribute, const void* value, \
     size_t bytes), \
    (preference, attribute, value, bytes), CUBLAS_STATUS_NOT_INITIALIZED) \
  X(cublasStatus_t, cublasLtMatmulAlgoGetHeuristic, \
    (cublasLtHandle_t handle, cublasLtMatmulDesc_t operation, cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b, \
     cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d, cublasLtMatmulPreference_t preference, int wanted, \
     cublasLtMatmulHeuristicResult_t results[], int* count), \
    (handle, operation, a, b, c, d, preference, wanted, results, count), CUBLAS_STATUS_NOT_INITIALIZED) \
  X(cublasStatus_t, cublasLtMatmul, \
    (cublasLtHandle_t handle, cublasLtMatmulDesc_t operation, const void* alpha, const void* a, \
     cublasLtMatrixLayout_t a_layout, const void* b, cublasLtMatrixLayout_t b_layout, const void* beta, const void* c, \
     cublasLtMatrixLayout_t c_layout, void* d, cublasLtMatrixLayout_t d_layout, const cublasLtMatmulAlgo_t* algorithm, \
     void* workspace, size_t workspace_bytes, cudaStream_t stream), \
    (handle, operation, alpha, a, a_layout, b, b_layout, beta, c, c_layout, d, d_layout, algorithm, workspace, \
     workspace_bytes, stream), CUBLAS_STATUS_NOT_INITIALIZED)
// clang-format on

namespace gradus::cuda {

const Library& blaslt_library() {
  static const Library library = open_library({
      .name = "cuBLASLt",
      .files = {"libcublasLt.so.13", "libcublasLt.so.12"},
      .functions = {GRADUS_BLASLT_FUNCTIONS(GRADUS_FUNCTION_NAME)},
      .version =
          [](const Library& opened) {
            return static_cast<int>(
                reinterpret_cast<decltype(&cublasLtGetVersion)>(opened.find("cublasLtGetVersion"))());
          },
      .oldest = 120000,
      .install = "pip install nvidia-cublas",
  });
  return library;
}

}  // namespace gradus::cuda

namespace {
const gradus::cuda::Library& library() { return gradus::cuda::blaslt_library(); }
}  // namespace

extern "C" {
GRADUS_BLASLT_FUNCTIONS(GRADUS_TRAMPOLINE)
}
