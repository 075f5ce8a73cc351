// What tests of cuBLASLt are written with: device memory of any type, and the library's objects with a scope.
#pragma once

#include <cublasLt.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstring>
#include <vector>

#include "catch.h"
#include "random.h"

namespace blaslt_test {

// ---- elements of any type
using Values = std::vector<double>;

inline size_t width(cudaDataType_t type) { return type == CUDA_R_64F ? 8 : type == CUDA_R_32F ? 4 : 2; }
// The nearest value of the type.
inline double rounded(double x, cudaDataType_t type) {
  switch (type) {
    case CUDA_R_64F: return x;
    case CUDA_R_32F: return static_cast<float>(x);
    case CUDA_R_16BF: return __bfloat162float(__double2bfloat16(x));
    default: return __half2float(__double2half(x));
  }
}
inline void store(char* p, double x, cudaDataType_t type) {
  const auto put = [p](auto value) { std::memcpy(p, &value, sizeof value); };
  switch (type) {
    case CUDA_R_64F: return put(x);
    case CUDA_R_32F: return put(static_cast<float>(x));
    case CUDA_R_16BF: return put(__double2bfloat16(x));
    default: return put(__double2half(x));
  }
}
inline double load(const char* p, cudaDataType_t type) {
  const auto take = [p](auto value) {
    std::memcpy(&value, p, sizeof value);
    return value;
  };
  switch (type) {
    case CUDA_R_64F: return take(double());
    case CUDA_R_32F: return take(float());
    case CUDA_R_16BF: return __bfloat162float(take(__nv_bfloat16()));
    default: return __half2float(take(__half()));
  }
}
// Multiples of a half from -2 to 2: their products and sums are exact in float.
inline Values random_values(size_t n, uint64_t seed) {
  gradus::emulation::Random random(seed);
  Values values(n);
  for (double& x : values) x = static_cast<double>(random.below(9)) / 2 - 2;
  return values;
}

// Device memory of one type.
class Array {
 public:
  Array(cudaDataType_t element_type, size_t n) : type(element_type), size(n) {
    REQUIRE(cudaMalloc(&p, n * width(type)) == cudaSuccess);
  }
  Array(cudaDataType_t element_type, const Values& values) : Array(element_type, values.size()) {
    std::vector<char> host(size * width(type));
    for (size_t i = 0; i < size; ++i) store(&host[i * width(type)], values[i], type);
    REQUIRE(cudaMemcpy(p, host.data(), host.size(), cudaMemcpyHostToDevice) == cudaSuccess);
  }
  ~Array() { cudaFree(p); }
  Array(const Array&) = delete;
  Array& operator=(const Array&) = delete;

  Values values() const {
    std::vector<char> host(size * width(type));
    REQUIRE(cudaMemcpy(host.data(), p, host.size(), cudaMemcpyDeviceToHost) == cudaSuccess);
    Values result(size);
    for (size_t i = 0; i < size; ++i) result[i] = load(&host[i * width(type)], type);
    return result;
  }

  cudaDataType_t type;
  size_t size;
  void* p = nullptr;
};

// ---- the library's objects
struct Handle {
  Handle() { REQUIRE(cublasLtCreate(&h) == CUBLAS_STATUS_SUCCESS); }
  ~Handle() { cublasLtDestroy(h); }
  cublasLtHandle_t h = nullptr;
};
struct Layout {
  Layout(cudaDataType_t type, uint64_t rows, uint64_t cols, int64_t ld) {
    REQUIRE(cublasLtMatrixLayoutCreate(&h, type, rows, cols, ld) == CUBLAS_STATUS_SUCCESS);
  }
  ~Layout() { cublasLtMatrixLayoutDestroy(h); }
  template <class T>
  Layout& set(cublasLtMatrixLayoutAttribute_t attribute, T value) {
    CHECK(cublasLtMatrixLayoutSetAttribute(h, attribute, &value, sizeof value) == CUBLAS_STATUS_SUCCESS);
    return *this;
  }
  void batch(int32_t count, int64_t stride) {
    set(CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, count).set(CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, stride);
  }
  cublasLtMatrixLayout_t h = nullptr;
};
struct Description {
  Description(cublasComputeType_t compute, cudaDataType_t scale) {
    REQUIRE(cublasLtMatmulDescCreate(&h, compute, scale) == CUBLAS_STATUS_SUCCESS);
  }
  ~Description() { cublasLtMatmulDescDestroy(h); }
  template <class T>
  Description& set(cublasLtMatmulDescAttributes_t attribute, T value) {
    CHECK(cublasLtMatmulDescSetAttribute(h, attribute, &value, sizeof value) == CUBLAS_STATUS_SUCCESS);
    return *this;
  }
  Description& epilogue(cublasLtEpilogue_t code) {
    return set(CUBLASLT_MATMUL_DESC_EPILOGUE, static_cast<uint32_t>(code));
  }
  cublasLtMatmulDesc_t h = nullptr;
};

}  // namespace blaslt_test
