// The plug-in's one Backend.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <vector>

#include <gradus/cuda/backend/caching_allocator.h>
#include <gradus/cuda/backend/index_faults.h>
#include <gradus/cuda/backend/pinned.h>
#include <gradus/cuda/backend/runtime.h>
#include <gradus/cuda/backend/stream_failures.h>

namespace gradus::cuda {

class CudaBackend final : public Backend {
 public:
  static CudaBackend& get();

  int device_count() override;
  DeviceInfo info(int device) override;
  CachingAllocator& allocator(int device) override;
  std::string memory_snapshot(int device) override { return allocator(device).snapshot(); }
  std::string report() override;

  void select(int device) override;
  void enter(int device, const char* op) override;
  void leave() noexcept override;
  void synchronize(int device) override;

  DeviceHandle new_stream(bool high_priority) override;
  void delete_stream(DeviceHandle stream) noexcept override;
  void synchronize_stream(DeviceHandle stream) override;
  bool is_stream_idle(DeviceHandle stream) override;
  DeviceHandle new_event() override;
  void delete_event(DeviceHandle event) noexcept override;
  void record_event(DeviceHandle event, DeviceHandle stream) override;
  void stream_waits_for(DeviceHandle stream, DeviceHandle event) override;
  void synchronize_event(DeviceHandle event) override;
  bool is_event_reached(DeviceHandle event) override;
  void fail_stream(int device, DeviceHandle stream, const CommError& error) override;

  void record_stream(void* data, int device, DeviceHandle stream) override;
  void* allocate_pinned(int64_t bytes) override { return pinned_.allocate(bytes); }
  void free_pinned(void* data) noexcept override { pinned_.free(data); }

  void launched(const char* kernel, int code) override;

  /// The indices that kernels found out of range on the selected device.
  IndexFaults& index_faults(int device);
  /// Waits for the thread's current stream on the device, and throws what went wrong.
  void wait(int device);

 private:
  CudaBackend();

  struct PerDevice {
    std::atomic<CachingAllocator*> allocator = nullptr;
    std::unique_ptr<IndexFaults> index_faults;
    std::vector<cudaStream_t> spare_streams[2];  // plain, high priority
  };
  PerDevice& of(int device);

  std::mutex mutex_;
  std::vector<PerDevice> devices_;
  std::map<cudaStream_t, std::pair<int, bool>> streams_;  // whose they are when they come back
  PinnedMemory pinned_;
  StreamFailures stream_failures_;
};

}  // namespace gradus::cuda
