// What a device's plug-in gives besides its kernels, and how it is found: libgradus_cuda.so is loaded when a CUDA
// device is first asked for, and stays. Users meet this through cuda/cuda.h.
#pragma once

#include <cstdint>
#include <string>

#include <gradus/core/allocator.h>
#include <gradus/core/error.h>

namespace gradus {

struct DeviceInfo {
  std::string name;
  int64_t memory = 0;  ///< bytes in all
  int capability_major = 0, capability_minor = 0;
  int multiprocessors = 0;
  bool emulated = false;  ///< no GPU: kernels run on the CPU, to test them
};

/// A stream or an event of the driver.
using DeviceHandle = void*;

/// The interface a plug-in implements. It is immortal, as its allocators are. Every function may throw DeviceError.
class GRADUS_API Backend {
 public:
  virtual ~Backend() = default;

  virtual int device_count() = 0;
  virtual DeviceInfo info(int device) = 0;
  virtual Allocator& allocator(int device) = 0;
  /// Segments and blocks of the device's memory, for people.
  virtual std::string memory_snapshot(int device) = 0;
  /// Devices, memory, libraries with their versions, links between devices: a paragraph for people.
  virtual std::string report() = 0;

  /// Makes a device current on the calling thread.
  virtual void select(int device) = 0;
  /// Around the kernels of an op: selects its device, and tells profilers its name.
  virtual void enter(int device, const char* op) = 0;
  virtual void leave() noexcept = 0;
  /// Waits for all that the device was given, and throws what went wrong there.
  virtual void synchronize(int device) = 0;

  // ---- streams and events of the selected device; a null stream is its default one
  virtual DeviceHandle new_stream(bool high_priority) = 0;
  virtual void delete_stream(DeviceHandle stream) noexcept = 0;
  virtual void synchronize_stream(DeviceHandle stream) = 0;
  virtual bool is_stream_idle(DeviceHandle stream) = 0;
  virtual DeviceHandle new_event() = 0;
  virtual void delete_event(DeviceHandle event) noexcept = 0;
  virtual void record_event(DeviceHandle event, DeviceHandle stream) = 0;
  virtual void stream_waits_for(DeviceHandle stream, DeviceHandle event) = 0;
  virtual void synchronize_event(DeviceHandle event) = 0;
  virtual bool is_event_reached(DeviceHandle event) = 0;
  /// What the stream was made to wait for has failed: the error is thrown where the host next waits for the stream,
  /// once.
  virtual void fail_stream(int device, DeviceHandle stream, const CommError& error) = 0;

  // ---- memory
  /// The block of `data` is used on a stream of `device` too: once freed, it is not given out again before that is
  /// over.
  virtual void record_stream(void* data, int device, DeviceHandle stream) = 0;
  /// Host memory that the device copies from and to by itself. Throws OutOfMemoryError.
  virtual void* allocate_pinned(int64_t bytes) = 0;
  virtual void free_pinned(void* data) noexcept = 0;

  /// After every launch of a kernel: `code` is the runtime's error code, 0 for none. Throws DeviceError.
  virtual void launched(const char* kernel, int code) = 0;
};

/// The plug-in of CUDA devices, loaded on the first call. Throws DeviceError that says why there is none.
GRADUS_API Backend& cuda_backend();
/// The same, or null; `reason`, if given, is set to what is missing and, behind a semicolon, what helps.
GRADUS_API Backend* find_cuda_backend(std::string* reason = nullptr);

namespace detail {

/// The stream on which the thread gives work to a device; null is the default one.
GRADUS_API DeviceHandle& current_stream(int device);

}  // namespace detail

/// The plug-in's one entry point, of this name. Returns null and writes why to `reason` when it does not fit `version`,
/// or there is no driver or device.
inline constexpr const char* backend_entry = "gradus_backend_v1";
using BackendEntry = Backend* (*)(const char* version, std::string* reason);

}  // namespace gradus
