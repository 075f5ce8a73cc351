// Launching kernels, those of Gradus and a user's own: on the device of the running op and the thread's current stream
// there. A launch that fails is an error that names op and kernel.
#pragma once

#include <gradus/core/backend.h>
#include <gradus/core/kernel.h>
#include <gradus/cuda/device/elements.cuh>
#include <gradus/cuda/device/portable.cuh>

namespace gradus::cuda {

inline cudaStream_t current_stream() {
  return static_cast<cudaStream_t>(gradus::detail::current_stream(gradus::detail::running().device.index));
}

/// Starts `kernel`, a __global__ function. Code that is not inside a kernel slot makes a gradus::detail::OnDevice
/// first. Throws DeviceError when the launch is refused or the device has failed before.
template <auto kernel, class... Args>
void launch(dim3 grid, dim3 block, size_t shared_bytes, const Args&... args) {
  // 48 KiB go without asking, but the kernel's static arrays count too, and they are not known here.
  constexpr size_t without_asking = 32 << 10;
  int code = 0;
  if (shared_bytes > without_asking)
    code = cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel), cudaFuncAttributeMaxDynamicSharedMemorySize,
                                static_cast<int>(shared_bytes));
  if (code == 0) {
    start<kernel>(current_stream(), grid, block, shared_bytes, args...);
    code = cudaGetLastError();
  }
  cuda_backend().launched(signature<kernel>(), code);
}

}  // namespace gradus::cuda
