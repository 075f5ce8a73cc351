// Devices, streams and waiting; and the entry point of the plug-in.
#include <gradus/cuda/backend/backend.h>

#include <nvtx3/nvToolsExt.h>

#include <string_view>

#include <gradus/core/detail/check.h>
#include <gradus/core/kernel.h>
#include <gradus/version.h>

namespace gradus::cuda {
namespace {

cudaStream_t stream(DeviceHandle handle) { return static_cast<cudaStream_t>(handle); }
cudaEvent_t event(DeviceHandle handle) { return static_cast<cudaEvent_t>(handle); }

}  // namespace

CudaBackend& CudaBackend::get() {
  static CudaBackend* instance = new CudaBackend;  // never destroyed: tensors may outlive main()
  return *instance;
}

CudaBackend::CudaBackend() {
  int count = 0;
  GRADUS_CUDA(cudaGetDeviceCount(&count));
  devices_ = std::vector<PerDevice>(static_cast<size_t>(count));
}

int CudaBackend::device_count() { return static_cast<int>(devices_.size()); }

CudaBackend::PerDevice& CudaBackend::of(int device) {
  GRADUS_CHECK(device >= 0 && device < device_count(), DeviceError,
               "cuda:{} does not exist: there {} visible, cuda:0{}", device,
               device_count() == 1 ? "is one device" : fmt::format("are {} devices", device_count()),
               device_count() == 1 ? "" : fmt::format(" to cuda:{}", device_count() - 1));
  return devices_[static_cast<size_t>(device)];
}

DeviceInfo CudaBackend::info(int device) {
  of(device);
  cudaDeviceProp properties;
  GRADUS_CUDA(cudaGetDeviceProperties(&properties, device));
  return {properties.name,
          static_cast<int64_t>(properties.totalGlobalMem),
          properties.major,
          properties.minor,
          properties.multiProcessorCount,
          std::string_view(properties.name).starts_with("EMULATION")};
}

CachingAllocator& CudaBackend::allocator(int device) {
  PerDevice& d = of(device);
  if (CachingAllocator* made = d.allocator.load(std::memory_order_acquire)) return *made;  // every op comes here
  const std::lock_guard lock(mutex_);
  if (!d.allocator) d.allocator = new CachingAllocator(device);
  return *d.allocator;
}

IndexFaults& CudaBackend::index_faults(int device) {
  PerDevice& d = of(device);
  const std::lock_guard lock(mutex_);
  if (!d.index_faults) d.index_faults = std::make_unique<IndexFaults>(device);
  return *d.index_faults;
}

// ---- what a thread does
void CudaBackend::select(int device) {
  of(device);
  GRADUS_CUDA(cudaSetDevice(device));
}
void CudaBackend::enter(int device, const char* op) {
  select(device);
  allocator(device).attribute_to(op);
  nvtxRangePushA(op);
}
void CudaBackend::leave() noexcept { nvtxRangePop(); }

void CudaBackend::launched(const char* kernel, int code) {
  check(code, kernel);
  if (synchronous()) check(cudaStreamSynchronize(stream_of(gradus::detail::running().device.index)), kernel);
}

void CudaBackend::wait(int device) {
  const DeviceScope scope(device);
  GRADUS_CUDA(cudaStreamSynchronize(stream_of(device)));
  stream_failures_.raise({device, stream_of(device)});
}

void CudaBackend::synchronize(int device) {
  of(device);
  const DeviceScope scope(device);
  GRADUS_CUDA(cudaDeviceSynchronize());
  stream_failures_.raise(device);
  index_faults(device).raise();
}

// ---- streams and events
DeviceHandle CudaBackend::new_stream(bool high_priority) {
  int device = 0, least = 0, greatest = 0;
  GRADUS_CUDA(cudaGetDevice(&device));
  const std::lock_guard lock(mutex_);
  auto& spare = of(device).spare_streams[high_priority];
  if (!spare.empty()) {
    const cudaStream_t s = spare.back();
    spare.pop_back();
    return s;
  }
  GRADUS_CUDA(cudaDeviceGetStreamPriorityRange(&least, &greatest));
  cudaStream_t s = nullptr;
  GRADUS_CUDA(cudaStreamCreateWithPriority(&s, cudaStreamNonBlocking, high_priority ? greatest : least));
  streams_[s] = {device, high_priority};
  return s;
}
// Kept for the next one: blocks of memory remember their stream by its handle.
void CudaBackend::delete_stream(DeviceHandle handle) noexcept {
  const std::lock_guard lock(mutex_);
  const auto [device, high_priority] = streams_.find(stream(handle))->second;
  devices_[static_cast<size_t>(device)].spare_streams[high_priority].push_back(stream(handle));
}
void CudaBackend::synchronize_stream(DeviceHandle handle) {
  GRADUS_CUDA(cudaStreamSynchronize(stream(handle)));
  int device = 0;
  GRADUS_CUDA(cudaGetDevice(&device));
  stream_failures_.raise({device, stream(handle)});
  index_faults(device).raise();
}
bool CudaBackend::is_stream_idle(DeviceHandle handle) {
  return is_over(cudaStreamQuery(stream(handle)), "cudaStreamQuery");
}
DeviceHandle CudaBackend::new_event() {
  cudaEvent_t e = nullptr;
  GRADUS_CUDA(cudaEventCreateWithFlags(&e, cudaEventDisableTiming));
  return e;
}
void CudaBackend::delete_event(DeviceHandle handle) noexcept { cudaEventDestroy(event(handle)); }
void CudaBackend::record_event(DeviceHandle handle, DeviceHandle on) {
  GRADUS_CUDA(cudaEventRecord(event(handle), stream(on)));
}
void CudaBackend::stream_waits_for(DeviceHandle waiting, DeviceHandle handle) {
  GRADUS_CUDA(cudaStreamWaitEvent(stream(waiting), event(handle), 0));
}
void CudaBackend::synchronize_event(DeviceHandle handle) { GRADUS_CUDA(cudaEventSynchronize(event(handle))); }
bool CudaBackend::is_event_reached(DeviceHandle handle) {
  return is_over(cudaEventQuery(event(handle)), "cudaEventQuery");
}

void CudaBackend::fail_stream(int device, DeviceHandle handle, const CommError& error) {
  stream_failures_.add({device, stream(handle)}, error);
}

void CudaBackend::record_stream(void* data, int device, DeviceHandle handle) {
  const StreamOf where{device, stream(handle)};
  if (pinned_.owns(data)) return pinned_.record_stream(data, where);
  cudaPointerAttributes attributes;
  GRADUS_CUDA(cudaPointerGetAttributes(&attributes, data));
  if (attributes.type == cudaMemoryTypeDevice) allocator(attributes.device).record_stream(data, where);
}

}  // namespace gradus::cuda

extern "C" __attribute__((visibility("default"))) gradus::Backend* gradus_backend_v1(const char* version,
                                                                                     std::string* reason) {
  if (std::string_view(version) != GRADUS_VERSION) {
    *reason = fmt::format("the CUDA plug-in is of Gradus {}, the library of {}; build both together", GRADUS_VERSION,
                          version);
    return nullptr;
  }
  int count = 0;
  const cudaError_t code = cudaGetDeviceCount(&count);
  if (code == cudaErrorInsufficientDriver || code == cudaErrorStubLibrary)
    *reason =
        "there is no NVIDIA driver, or it is older than the CUDA toolkit that Gradus was built with; install the "
        "driver (nvidia-smi shows it)";
  else if (code == cudaErrorNoDevice || (code == cudaSuccess && count == 0))
    *reason = "no GPU is visible to the driver; look at nvidia-smi and CUDA_VISIBLE_DEVICES";
  else if (code != cudaSuccess)
    *reason = fmt::format("the CUDA runtime says: {}", cudaGetErrorString(code));
  if (!reason->empty()) return nullptr;
  return &gradus::cuda::CudaBackend::get();
}
