// The memory of a contiguous tensor, as the type that a kernel reads or writes there.
#pragma once

#include <gradus/core/tensor.h>
#include <gradus/cuda/device/portable.cuh>

namespace gradus::cuda {

/// The first element's address on the tensor's device.
template <class T>
const T* read(const Tensor& x) {
  return static_cast<const T*>(x.raw_data());
}
template <class T>
T* written(const Tensor& y) {
  return static_cast<T*>(const_cast<void*>(y.raw_data()));
}

/// Whether all of these are aligned for accesses of so many bytes.
template <class... Pointer>
bool aligned_to(size_t bytes, const Pointer*... p) {
  return ((reinterpret_cast<uintptr_t>(p) % bytes == 0) && ...);
}

/// Whether 0 <= i < n. Of any other index the check of indices tells the host (backend/index_faults.h); a kernel leaves
/// it out.
__device__ inline bool inside(int64_t i, int64_t n) { return static_cast<uint64_t>(i) < static_cast<uint64_t>(n); }

}  // namespace gradus::cuda
