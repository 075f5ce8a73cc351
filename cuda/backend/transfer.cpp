// What crosses between devices: to the host and from it, and from one GPU to another.
#include <gradus/core/kernels.h>
#include <gradus/cuda/backend/backend.h>

namespace gradus::cuda {
namespace {

void* written(Tensor& y) { return const_cast<void*>(y.raw_data()); }

// Memory that is not pinned has been read when the call returns; pinned memory, when the device has done so: it is
// waited for, because the caller may change the tensor at once.
void to_device(Tensor& y, const Tensor& x) {
  const int device = y.device().index;
  GRADUS_CUDA(cudaMemcpyAsync(written(y), x.raw_data(), static_cast<size_t>(x.nbytes()), cudaMemcpyHostToDevice,
                              stream_of(device)));
  CudaBackend& backend = CudaBackend::get();
  if (backend.pinned().owns(x.raw_data())) backend.wait(device);
}

void to_host(Tensor& y, const Tensor& x) {
  const int device = x.device().index;
  GRADUS_CUDA(cudaMemcpyAsync(written(y), x.raw_data(), static_cast<size_t>(x.nbytes()), cudaMemcpyDeviceToHost,
                              stream_of(device)));
  CudaBackend& backend = CudaBackend::get();
  backend.wait(device);
  backend.index_faults(device).raise();
}

// In the order of both streams: the copy runs on the target's, and the source's waits for it, so that the memory of x
// is not used again too early.
void between_devices(Tensor& y, const Tensor& x) {
  const int from = x.device().index, to = y.device().index;
  const cudaStream_t source = stream_of(from), target = stream_of(to);
  const auto wait_across = [](int first, cudaStream_t before, int second, cudaStream_t after) {
    Event reached = [&] {
      const DeviceScope scope(first);
      Event event;
      event.record(before);
      return event;
    }();
    const DeviceScope scope(second);
    GRADUS_CUDA(cudaStreamWaitEvent(after, reached.get(), 0));
  };
  wait_across(from, source, to, target);
  {
    const DeviceScope scope(to);
    GRADUS_CUDA(cudaMemcpyPeerAsync(written(y), to, x.raw_data(), from, static_cast<size_t>(x.nbytes()), target));
  }
  wait_across(to, target, from, source);
}

void transfer(Tensor& y, const Tensor& x) {
  if (y.numel() == 0) return;
  if (x.device().is_cpu()) return to_device(y, x);
  if (y.device().is_cpu()) return to_host(y, x);
  between_devices(y, x);
}

[[maybe_unused]] const bool filled = kernels::transfer.set(DeviceType::cuda, transfer);

}  // namespace
}  // namespace gradus::cuda
