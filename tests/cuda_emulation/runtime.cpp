// The CUDA runtime's C functions over the emulated devices, with the signatures of the toolkit's header: what the CUDA
// backend links in place of libcudart. Calls that the real runtime would refuse are refused with the same code.
#include <cuda_runtime_api.h>

#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "arguments.h"
#include "device.h"
#include "memory.h"
#include "scheduler.h"
#include "streams.h"

namespace emulation = gradus::emulation;

namespace {

thread_local cudaError_t last_error = cudaSuccess;

// Every function ends here, so that cudaGetLastError() works.
cudaError_t done(cudaError_t code) {
  if (code == cudaSuccess && !emulation::device_fault().empty()) code = cudaErrorLaunchFailure;
  if (code != cudaSuccess && code != cudaErrorNotReady) last_error = code;
  return code;
}

using emulation::id_of;
emulation::EventId id_of(cudaEvent_t event) { return reinterpret_cast<emulation::EventId>(event); }
bool valid(cudaStream_t stream) { return emulation::is_stream(id_of(stream)); }
bool valid(cudaEvent_t event) { return emulation::is_event(id_of(event)); }
bool valid_device(int device) { return device >= 0 && device < emulation::device_count; }

// ---- copies
enum class Side { device, pinned, pageable };

Side side_of(const void* p) {
  const auto block = emulation::block_of(p);
  if (!block) return Side::pageable;
  return block->kind == emulation::Block::Kind::device ? Side::device : Side::pinned;
}
bool stays_inside(const void* p, size_t bytes) {
  const auto block = emulation::block_of(p);
  return !block || static_cast<const char*>(p) - block->first + bytes <= block->bytes;
}
bool agrees(Side side, bool should_be_device) { return (side == Side::device) == should_be_device; }

cudaError_t check_copy(const void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  if (bytes == 0) return cudaSuccess;
  if (!to || !from || !stays_inside(to, bytes) || !stays_inside(from, bytes)) return cudaErrorInvalidValue;
  if (kind == cudaMemcpyDefault) return cudaSuccess;
  const bool to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
  const bool from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
  return agrees(side_of(to), to_device) && agrees(side_of(from), from_device) ? cudaSuccess : cudaErrorInvalidValue;
}

// Pageable memory is read before the call returns, and written before it returns; pinned memory when its turn comes.
cudaError_t copy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  if (const cudaError_t code = check_copy(to, from, bytes, kind); code != cudaSuccess) return code;
  if (bytes == 0) return cudaSuccess;
  if (side_of(from) == Side::pageable) {
    const auto* first = static_cast<const char*>(from);
    emulation::enqueue(id_of(stream), {[to, staged = std::vector<char>(first, first + bytes)] {
                                         std::memcpy(to, staged.data(), staged.size());
                                       },
                                       "copy"});
  } else {
    emulation::enqueue(id_of(stream), {[=] { std::memcpy(to, from, bytes); }, "copy"});
  }
  if (side_of(to) == Side::pageable) emulation::wait_for_stream(id_of(stream));
  return cudaSuccess;
}

}  // namespace

namespace gradus::emulation {

void launch(cudaStream_t stream, KernelRecord& kernel, dim3 grid, dim3 block, size_t shared_bytes,
            std::function<void()> thread) {
  if (!valid(stream)) {
    done(cudaErrorInvalidResourceHandle);
    return;
  }
  try {
    check_launch(kernel.name.c_str(), grid, block, shared_bytes);
  } catch (const Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    done(cudaErrorInvalidConfiguration);
    return;
  }
  const auto run = [&kernel, grid, block, shared_bytes, thread = std::move(thread)] {
    ++kernel.grids;
    run_grid(
        kernel.name.c_str(), grid, block, shared_bytes, thread,
        kernel.dynamic_shared >= shared_bytes && kernel.dynamic_shared > 0 ? max_shared_bytes : usual_shared_bytes);
  };
  enqueue(id_of(stream), {run, kernel.name});
}

}  // namespace gradus::emulation

extern "C" {

// ---- devices
cudaError_t cudaGetDeviceCount(int* count) {
  *count = emulation::device_count;
  return done(cudaSuccess);
}
cudaError_t cudaSetDevice(int device) {
  if (!valid_device(device)) return done(cudaErrorInvalidDevice);
  emulation::set_current_device(device);
  return done(cudaSuccess);
}
cudaError_t cudaGetDevice(int* device) {
  *device = emulation::current_device();
  return done(cudaSuccess);
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  if (!valid_device(device)) return done(cudaErrorInvalidDevice);
  *properties = {};
  std::snprintf(properties->name, sizeof properties->name, "EMULATION on the CPU (not a GPU)");
  properties->totalGlobalMem = emulation::device_bytes();
  properties->major = 9;
  properties->minor = 0;
  properties->multiProcessorCount = 4;
  properties->warpSize = 32;
  properties->maxThreadsPerBlock = static_cast<int>(emulation::max_threads_per_block);
  properties->maxThreadsPerMultiProcessor = 2048;
  properties->sharedMemPerBlock = 48 * 1024;
  properties->sharedMemPerBlockOptin = emulation::max_shared_bytes;
  properties->l2CacheSize = 1 << 20;
  return done(cudaSuccess);
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  cudaDeviceProp properties;
  if (const cudaError_t code = cudaGetDeviceProperties(&properties, device); code != cudaSuccess) return code;
  switch (attribute) {
    case cudaDevAttrMultiProcessorCount: *value = properties.multiProcessorCount; break;
    case cudaDevAttrComputeCapabilityMajor: *value = properties.major; break;
    case cudaDevAttrComputeCapabilityMinor: *value = properties.minor; break;
    case cudaDevAttrMaxThreadsPerBlock: *value = properties.maxThreadsPerBlock; break;
    case cudaDevAttrMaxThreadsPerMultiProcessor: *value = properties.maxThreadsPerMultiProcessor; break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin: *value = static_cast<int>(properties.sharedMemPerBlockOptin); break;
    case cudaDevAttrWarpSize: *value = properties.warpSize; break;
    case cudaDevAttrL2CacheSize: *value = properties.l2CacheSize; break;
    default: return done(cudaErrorInvalidValue);
  }
  return done(cudaSuccess);
}
cudaError_t cudaDriverGetVersion(int* version) {
  *version = CUDART_VERSION;
  return done(cudaSuccess);
}
cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = CUDART_VERSION;
  return done(cudaSuccess);
}
cudaError_t cudaDeviceSynchronize() {
  emulation::wait_for_device(emulation::current_device());
  return done(cudaSuccess);
}
cudaError_t cudaDeviceCanAccessPeer(int* can, int device, int peer) {
  if (!valid_device(device) || !valid_device(peer)) return done(cudaErrorInvalidDevice);
  *can = device != peer;
  return done(cudaSuccess);
}
// Between emulated devices there is no link worth a name.
cudaError_t cudaDeviceGetP2PAttribute(int* value, cudaDeviceP2PAttr, int device, int peer) {
  *value = 0;
  return done(valid_device(device) && valid_device(peer) ? cudaSuccess : cudaErrorInvalidDevice);
}
cudaError_t cudaDeviceEnablePeerAccess(int peer, unsigned flags) {
  if (flags != 0) return done(cudaErrorInvalidValue);
  return done(valid_device(peer) && peer != emulation::current_device() ? cudaSuccess : cudaErrorInvalidDevice);
}

// ---- memory
cudaError_t cudaMalloc(void** p, size_t bytes) {
  *p = emulation::allocate(emulation::Block::Kind::device, emulation::current_device(), bytes);
  return done(*p ? cudaSuccess : cudaErrorMemoryAllocation);
}
cudaError_t cudaFree(void* p) {
  if (!p) return done(cudaSuccess);
  const auto block = emulation::block_of(p);
  if (!block || block->first != p || block->kind != emulation::Block::Kind::device) return done(cudaErrorInvalidValue);
  emulation::wait_for_device(block->device);  // the real one does
  emulation::release(emulation::Block::Kind::device, p);
  return done(cudaSuccess);
}
cudaError_t cudaHostAlloc(void** p, size_t bytes, unsigned) {
  *p = emulation::allocate(emulation::Block::Kind::pinned, emulation::current_device(), bytes);
  return done(*p ? cudaSuccess : cudaErrorMemoryAllocation);
}
cudaError_t cudaMallocHost(void** p, size_t bytes) { return cudaHostAlloc(p, bytes, 0); }
cudaError_t cudaFreeHost(void* p) {
  if (!p) return done(cudaSuccess);
  emulation::wait_for_device(emulation::current_device());
  return done(emulation::release(emulation::Block::Kind::pinned, p) ? cudaSuccess : cudaErrorInvalidValue);
}
cudaError_t cudaMemGetInfo(size_t* free_bytes, size_t* total) {
  *total = emulation::device_bytes();
  *free_bytes = *total - emulation::used_bytes(emulation::current_device());
  return done(cudaSuccess);
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  if (!valid(stream)) return done(cudaErrorInvalidResourceHandle);
  return done(copy(to, from, bytes, kind, stream));
}
cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  const cudaError_t code = copy(to, from, bytes, kind, nullptr);
  if (code == cudaSuccess) emulation::wait_for_stream(0);
  return done(code);
}
cudaError_t cudaMemcpyPeerAsync(void* to, int to_device, const void* from, int from_device, size_t bytes,
                                cudaStream_t stream) {
  const auto target = emulation::block_of(to), source = emulation::block_of(from);
  if (!valid(stream)) return done(cudaErrorInvalidResourceHandle);
  if (!target || !source || target->device != to_device || source->device != from_device)
    return done(cudaErrorInvalidValue);
  return done(copy(to, from, bytes, cudaMemcpyDeviceToDevice, stream));
}
cudaError_t cudaMemsetAsync(void* p, int value, size_t bytes, cudaStream_t stream) {
  if (!valid(stream)) return done(cudaErrorInvalidResourceHandle);
  if (bytes == 0) return done(cudaSuccess);
  if (side_of(p) != Side::device || !stays_inside(p, bytes)) return done(cudaErrorInvalidValue);
  emulation::enqueue(id_of(stream), {[=] { std::memset(p, value, bytes); }, "memset"});
  return done(cudaSuccess);
}
cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* p) {
  *attributes = {};
  const auto block = emulation::block_of(p);
  attributes->type = !block                                          ? cudaMemoryTypeUnregistered
                     : block->kind == emulation::Block::Kind::device ? cudaMemoryTypeDevice
                                                                     : cudaMemoryTypeHost;
  attributes->device = block ? block->device : -1;
  return done(cudaSuccess);
}

// ---- streams
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
  if (flags != cudaStreamDefault && flags != cudaStreamNonBlocking) return done(cudaErrorInvalidValue);
  *stream = reinterpret_cast<cudaStream_t>(emulation::new_stream(flags == cudaStreamDefault));
  return done(cudaSuccess);
}
cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned flags, int) {
  return cudaStreamCreateWithFlags(stream, flags);
}
cudaError_t cudaDeviceGetStreamPriorityRange(int* least, int* greatest) {
  *least = 0;
  *greatest = -1;
  return done(cudaSuccess);
}
cudaError_t cudaFuncSetAttribute(const void* function, cudaFuncAttribute attribute, int value) {
  emulation::KernelRecord* const kernel = emulation::record_of(function);
  if (!kernel) return done(cudaErrorInvalidDeviceFunction);
  if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize || value < 0 ||
      static_cast<size_t>(value) > emulation::max_shared_bytes)
    return done(cudaErrorInvalidValue);
  kernel->dynamic_shared = static_cast<size_t>(value);
  return done(cudaSuccess);
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  if (id_of(stream) == 0 || !valid(stream)) return done(cudaErrorInvalidResourceHandle);
  emulation::end_stream(id_of(stream));
  return done(cudaSuccess);
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  if (!valid(stream)) return done(cudaErrorInvalidResourceHandle);
  emulation::wait_for_stream(id_of(stream));
  return done(cudaSuccess);
}
cudaError_t cudaStreamQuery(cudaStream_t stream) {
  if (!valid(stream)) return done(cudaErrorInvalidResourceHandle);
  emulation::let_time_pass();
  return done(emulation::is_idle(id_of(stream)) ? cudaSuccess : cudaErrorNotReady);
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  if (!valid(stream) || !valid(event)) return done(cudaErrorInvalidResourceHandle);
  emulation::stream_waits_for(id_of(stream), id_of(event));
  return done(cudaSuccess);
}
cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  if (!valid(stream)) return done(cudaErrorInvalidResourceHandle);
  *status = cudaStreamCaptureStatusNone;
  return done(cudaSuccess);
}
cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t function, void* data) {
  if (!valid(stream)) return done(cudaErrorInvalidResourceHandle);
  emulation::enqueue(id_of(stream), {[=] { function(data); }, "host function"});
  return done(cudaSuccess);
}

// ---- events
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  *event = reinterpret_cast<cudaEvent_t>(emulation::new_event());
  return done(cudaSuccess);
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  if (!valid(event)) return done(cudaErrorInvalidResourceHandle);
  emulation::end_event(id_of(event));
  return done(cudaSuccess);
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  if (!valid(stream) || !valid(event)) return done(cudaErrorInvalidResourceHandle);
  emulation::record_event(id_of(event), id_of(stream));
  return done(cudaSuccess);
}
cudaError_t cudaEventQuery(cudaEvent_t event) {
  if (!valid(event)) return done(cudaErrorInvalidResourceHandle);
  emulation::let_time_pass();
  return done(emulation::is_reached(id_of(event)) ? cudaSuccess : cudaErrorNotReady);
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  if (!valid(event)) return done(cudaErrorInvalidResourceHandle);
  emulation::wait_for_event(id_of(event));
  return done(cudaSuccess);
}
// An emulated device has no time.
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t, cudaEvent_t) {
  *milliseconds = 0;
  return done(cudaErrorNotSupported);
}

// ---- errors
cudaError_t cudaPeekAtLastError() {
  done(cudaSuccess);
  return last_error;
}
cudaError_t cudaGetLastError() {
  const cudaError_t code = done(cudaSuccess) == cudaSuccess ? last_error : cudaErrorLaunchFailure;
  last_error = cudaSuccess;
  return code;
}
const char* cudaGetErrorName(cudaError_t code) {
  switch (code) {
    case cudaSuccess: return "cudaSuccess";
    case cudaErrorInvalidValue: return "cudaErrorInvalidValue";
    case cudaErrorMemoryAllocation: return "cudaErrorMemoryAllocation";
    case cudaErrorInvalidConfiguration: return "cudaErrorInvalidConfiguration";
    case cudaErrorInvalidDevice: return "cudaErrorInvalidDevice";
    case cudaErrorInvalidResourceHandle: return "cudaErrorInvalidResourceHandle";
    case cudaErrorNotReady: return "cudaErrorNotReady";
    case cudaErrorNotSupported: return "cudaErrorNotSupported";
    case cudaErrorLaunchFailure: return "cudaErrorLaunchFailure";
    default: return "cudaError";
  }
}
const char* cudaGetErrorString(cudaError_t code) {
  static thread_local std::string text;
  text = code == cudaErrorLaunchFailure ? emulation::device_fault() : cudaGetErrorName(code);
  return text.c_str();
}

}  // extern "C"
