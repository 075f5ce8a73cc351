// Visibility of exported things (everything else in libgradus.so is hidden), and the mark of functions that kernels of
// every device share: they are always inlined, so that code compiled for one instruction set never becomes a symbol.
#pragma once
#define GRADUS_API __attribute__((visibility("default")))

#if defined(__CUDACC__)
#define GRADUS_FN __host__ __device__ __forceinline__
#else
#define GRADUS_FN inline __attribute__((always_inline))
#endif
