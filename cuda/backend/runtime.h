// The CUDA runtime as the plug-in uses it: error codes become typed errors, handles are owned, devices are selected.
#pragma once

#include <cuda_runtime_api.h>

#include <string>

#include <gradus/core/backend.h>

namespace gradus::cuda {

/// Throws DeviceError that names the running op, the call, the device and what helps.
[[noreturn]] void fail(int code, const char* what);
inline void check(int code, const char* what) {
  if (code != cudaSuccess) [[unlikely]]
    fail(code, what);
}
#define GRADUS_CUDA(call) ::gradus::cuda::check(call, #call)

/// Whether the context is lost: nothing but an end of the process helps.
bool is_sticky(int code);

/// What a query said: whether it is over. Throws DeviceError for a failed device.
inline bool is_over(cudaError_t code, const char* what) {
  if (code == cudaErrorNotReady) {
    cudaGetLastError();  // it is no error, and must not be taken for one of the next launch
    return false;
  }
  check(code, what);
  return true;
}

/// GRADUS_SYNC=1: wait after every kernel, so that an error is thrown where it was made.
bool synchronous();

/// Makes a device current for a scope.
class DeviceScope {
 public:
  explicit DeviceScope(int device) {
    GRADUS_CUDA(cudaGetDevice(&before_));
    if (before_ != device) GRADUS_CUDA(cudaSetDevice(device));
    changed_ = before_ != device;
  }
  ~DeviceScope() {
    if (changed_) cudaSetDevice(before_);
  }
  DeviceScope(const DeviceScope&) = delete;
  DeviceScope& operator=(const DeviceScope&) = delete;

 private:
  int before_ = 0;
  bool changed_ = false;
};

/// A stream of a device; the null stream exists on each.
struct StreamOf {
  int device;
  cudaStream_t stream;
  bool operator==(const StreamOf&) const = default;
};

/// A mark in a stream at the time it is made. The event is taken from spare ones and given back to them.
class PooledEvent {
 public:
  explicit PooledEvent(StreamOf where);
  ~PooledEvent();
  PooledEvent(PooledEvent&& other) noexcept : device_(other.device_), handle_(other.handle_) {
    other.handle_ = nullptr;
  }
  PooledEvent& operator=(PooledEvent&& other) noexcept {
    std::swap(device_, other.device_);
    std::swap(handle_, other.handle_);
    return *this;
  }
  /// False also when the device has failed: nothing may be used again then.
  bool is_reached() const noexcept;
  cudaEvent_t get() const { return handle_; }

 private:
  int device_ = 0;
  cudaEvent_t handle_ = nullptr;
};

inline cudaStream_t stream_of(int device) { return static_cast<cudaStream_t>(gradus::detail::current_stream(device)); }

}  // namespace gradus::cuda
