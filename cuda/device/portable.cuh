// CUDA for every compiler that reads a kernel: nvcc, or g++ and clang by way of the emulation that the tests use. The
// two differ in how shared memory is declared and how a grid is started; both are here, all else is plain CUDA C++.
#pragma once

#if defined(__CUDACC__)

#include <cuda_runtime.h>

// GRADUS_SHARED(float, tile, [32][33]);  GRADUS_SHARED(float, total, );
#define GRADUS_SHARED(type, name, dims) __shared__ type name dims
#define GRADUS_DYNAMIC_SHARED(type, name)                                \
  extern __shared__ __align__(16) unsigned char gradus_dynamic_shared[]; \
  type* name = reinterpret_cast<type*>(gradus_dynamic_shared)

namespace gradus::cuda {

template <auto kernel>
const char* signature() {
  return __PRETTY_FUNCTION__;
}

/// Puts a grid into a stream. Says nothing of errors: launch() does.
template <auto kernel, class... Args>
void start(cudaStream_t stream, dim3 grid, dim3 block, size_t shared_bytes, const Args&... args) {
  kernel<<<grid, block, shared_bytes, stream>>>(args...);
}

}  // namespace gradus::cuda

#else
#include <cuda_emulation/device.h>
#endif
