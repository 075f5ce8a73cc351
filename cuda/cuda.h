// CUDA devices as a program sees them: which there are and why not, streams and events, pinned memory, what holds the
// memory. None of this needs the CUDA toolkit; launch.cuh is for those who write kernels of their own.
#pragma once

#include <string>

#include <gradus/core/backend.h>
#include <gradus/core/tensor.h>

namespace gradus::cuda {

/// Whether a CUDA device can be used. The first question loads the plug-in.
GRADUS_API bool is_available();
/// What is missing and what helps; empty when a device can be used.
GRADUS_API std::string unavailable_reason();
/// 0 when none can be used.
GRADUS_API int device_count();
GRADUS_API DeviceInfo device_info(Device device = Device::cuda());
/// Waits for everything the device was given. Throws what went wrong there: DeviceError for a kernel that failed,
/// IndexError for indices out of range.
GRADUS_API void synchronize(Device device = Device::cuda());
/// Every segment of the device's memory with its blocks, and the op that made each; for people.
GRADUS_API std::string memory_snapshot(Device device = Device::cuda());

/// Work in order. Each thread has a current stream on each device, at first the device's default one; ops enqueue
/// there.
class GRADUS_API Stream {
 public:
  /// Not ordered with other streams, unless by an Event. May be one that was ended, with its work still to do first.
  explicit Stream(Device device = Device::cuda(), bool high_priority = false);
  /// What this thread's ops use on the device.
  static Stream current(Device device = Device::cuda());
  Stream(Stream&& other) noexcept;
  Stream& operator=(Stream&& other) noexcept;
  ~Stream();

  Device device() const { return device_; }
  /// The cudaStream_t.
  DeviceHandle handle() const { return handle_; }
  /// Waits on the host. Throws as cuda::synchronize().
  void synchronize() const;
  bool is_idle() const;

 private:
  Stream(Device device, DeviceHandle handle) : device_(device), handle_(handle) {}
  Device device_;
  DeviceHandle handle_ = nullptr;
  bool owned_ = false;
};

/// While it lives, `stream` is this thread's current one on its device.
class GRADUS_API UseStream {
 public:
  explicit UseStream(const Stream& stream);
  UseStream(const UseStream&) = delete;
  UseStream& operator=(const UseStream&) = delete;
  ~UseStream();

 private:
  Device device_;
  DeviceHandle before_;
};

/// A mark in a stream, which other streams and the host can wait for.
class GRADUS_API Event {
 public:
  /// Marks what is in the thread's current stream on the device now.
  explicit Event(Device device = Device::cuda());
  explicit Event(const Stream& stream);
  Event(Event&& other) noexcept;
  Event& operator=(Event&& other) noexcept;
  ~Event();

  /// What is enqueued on the stream from now on runs after the mark.
  void hold(const Stream& stream) const;
  void synchronize() const;
  bool is_reached() const;

 private:
  Device device_;
  DeviceHandle handle_ = nullptr;
};

/// The same values in memory of the host that devices copy from by themselves, faster and while others compute.
/// Throws DeviceError where there is no CUDA device, and OutOfMemoryError.
GRADUS_API Tensor pin_memory(const Tensor& x);
/// Tells the allocator that x is used on a stream other than the one it was made on: its memory is not given out again
/// before that use is over.
GRADUS_API void record_stream(const Tensor& x, const Stream& stream);

}  // namespace gradus::cuda
