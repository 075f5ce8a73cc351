// What crosses between devices: to the host and from it, and from one GPU to another.
#include <gradus/core/kernels.h>
#include <gradus/cuda/backend/backend.h>

namespace gradus::cuda {
namespace {

void* written(Tensor& y) { return const_cast<void*>(y.raw_data()); }

// Memory that is not pinned has been read when the call returns; pinned memory, ours or anybody's, when the device has
// done so: it is waited for, because the caller may change the tensor at once.
void to_device(Tensor& y, const Tensor& x) {
  const int device = y.device().index;
  GRADUS_CUDA(cudaMemcpyAsync(written(y), x.raw_data(), static_cast<size_t>(x.nbytes()), cudaMemcpyHostToDevice,
                              stream_of(device)));
  cudaPointerAttributes source;
  GRADUS_CUDA(cudaPointerGetAttributes(&source, x.raw_data()));
  if (source.type != cudaMemoryTypeUnregistered) CudaBackend::get().wait(device);
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
  const StreamOf source{x.device().index, stream_of(x.device().index)};
  const StreamOf target{y.device().index, stream_of(y.device().index)};
  const auto wait = [](const StreamOf& waiting, const StreamOf& awaited) {
    const PooledEvent reached(awaited);
    const DeviceScope scope(waiting.device);
    GRADUS_CUDA(cudaStreamWaitEvent(waiting.stream, reached.get(), 0));
  };
  wait(target, source);
  {
    const DeviceScope scope(target.device);
    GRADUS_CUDA(cudaMemcpyPeerAsync(written(y), target.device, x.raw_data(), source.device,
                                    static_cast<size_t>(x.nbytes()), target.stream));
  }
  wait(source, target);
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
