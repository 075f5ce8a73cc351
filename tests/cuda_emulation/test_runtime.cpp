// The runtime of the emulated devices as a program sees it: what is copied when, and what is refused with which code.
#include <cstdlib>
#include <cstring>
#include <vector>

#include "catch.h"
#include "planted.h"
#include "seed.h"
#include "streams.h"

using Catch::Matchers::ContainsSubstring;
using gradus::emulation::Seed;

namespace {

// Floats on the current device.
struct DeviceFloats {
  explicit DeviceFloats(size_t n) : bytes(n * sizeof(float)) {
    REQUIRE(cudaMalloc(reinterpret_cast<void**>(&p), bytes) == cudaSuccess);
  }
  ~DeviceFloats() { cudaFree(p); }
  size_t bytes;
  float* p = nullptr;
};
struct PinnedFloats {
  explicit PinnedFloats(size_t n) {
    REQUIRE(cudaMallocHost(reinterpret_cast<void**>(&p), n * sizeof(float)) == cudaSuccess);
  }
  ~PinnedFloats() { cudaFreeHost(p); }
  float* p = nullptr;
};

cudaStream_t new_stream() {
  cudaStream_t stream = nullptr;
  REQUIRE(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking) == cudaSuccess);
  return stream;
}

void reverse(cudaStream_t stream, const float* x, float* y) {
  gradus::cuda::start<planted::reverse>(stream, 4, 256, 0, x, y, false);
}

#if defined(__SANITIZE_THREAD__)
constexpr uint64_t seeds = 6;  // there a CUDA thread is expensive
#else
constexpr uint64_t seeds = 20;
#endif

}  // namespace

TEST_CASE("memory goes there and back, through a kernel") {
  for (uint64_t seed = 0; seed < seeds; ++seed) {
    const Seed order(seed);
    std::vector<float> x(1024), y(1024);
    for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i);
    const DeviceFloats a(1024), b(1024);
    const cudaStream_t stream = new_stream();
    CHECK(cudaMemcpyAsync(a.p, x.data(), a.bytes, cudaMemcpyHostToDevice, stream) == cudaSuccess);
    std::fill(x.begin(), x.end(), -1.0f);  // pageable memory has been read already
    reverse(stream, a.p, b.p);
    CHECK(cudaMemcpyAsync(y.data(), b.p, b.bytes, cudaMemcpyDeviceToHost, stream) == cudaSuccess);
    CHECK(y[0] == 255);
    CHECK(y[1023] == 768);
    CHECK(cudaStreamDestroy(stream) == cudaSuccess);
  }
}

TEST_CASE("pinned memory is read and written when its turn comes") {
  const PinnedFloats x(1024), y(1024);
  const DeviceFloats a(1024), b(1024);
  const cudaStream_t stream = new_stream();
  std::fill(x.p, x.p + 1024, 1.0f);
  CHECK(cudaMemcpyAsync(a.p, x.p, a.bytes, cudaMemcpyHostToDevice, stream) == cudaSuccess);
  std::fill(x.p, x.p + 1024, 2.0f);  // a mistake: nobody has waited
  reverse(stream, a.p, b.p);
  y.p[0] = 7;
  CHECK(cudaMemcpyAsync(y.p, b.p, b.bytes, cudaMemcpyDeviceToHost, stream) == cudaSuccess);
  CHECK(y.p[0] == 7);  // and a second one would be to read this
  CHECK(cudaStreamSynchronize(stream) == cudaSuccess);
  CHECK(y.p[0] == 2);
  CHECK(cudaStreamDestroy(stream) == cudaSuccess);
}

TEST_CASE("an event keeps a second stream waiting") {
  int early = 0;
  for (uint64_t seed = 0; seed < seeds; ++seed) {
    const Seed order(seed);
    for (const bool waits : {true, false}) {
      const DeviceFloats a(1024), b(1024);
      const PinnedFloats y(1024);
      const cudaStream_t first = new_stream(), second = new_stream();
      cudaEvent_t event = nullptr;
      CHECK(cudaEventCreateWithFlags(&event, cudaEventDisableTiming) == cudaSuccess);
      CHECK(cudaMemsetAsync(a.p, 0, a.bytes, first) == cudaSuccess);
      reverse(first, a.p, b.p);
      CHECK(cudaEventRecord(event, first) == cudaSuccess);
      if (waits) CHECK(cudaStreamWaitEvent(second, event, 0) == cudaSuccess);
      CHECK(cudaMemcpyAsync(y.p, b.p, b.bytes, cudaMemcpyDeviceToHost, second) == cudaSuccess);
      CHECK(cudaDeviceSynchronize() == cudaSuccess);
      if (waits) CHECK(y.p[5] == 0);
      early += y.p[5] != 0;  // fresh device memory is NaN
      CHECK(cudaEventDestroy(event) == cudaSuccess);
      CHECK(cudaStreamDestroy(first) == cudaSuccess);
      CHECK(cudaStreamDestroy(second) == cudaSuccess);
    }
  }
  CHECK(early > 0);
}

TEST_CASE("what the runtime refuses") {
  const DeviceFloats a(16);
  std::vector<float> host(64);
  CHECK(cudaMemcpy(a.p, host.data(), a.bytes + 1, cudaMemcpyHostToDevice) == cudaErrorInvalidValue);
  CHECK(cudaGetLastError() == cudaErrorInvalidValue);
  CHECK(cudaGetLastError() == cudaSuccess);
  CHECK(cudaMemcpy(host.data(), a.p, 4, cudaMemcpyHostToDevice) == cudaErrorInvalidValue);
  CHECK(cudaMemcpy(a.p + 15, host.data(), 8, cudaMemcpyHostToDevice) == cudaErrorInvalidValue);
  CHECK(cudaMemsetAsync(host.data(), 0, 4, nullptr) == cudaErrorInvalidValue);
  CHECK(cudaFree(host.data()) == cudaErrorInvalidValue);
  CHECK(cudaFree(a.p + 1) == cudaErrorInvalidValue);
  CHECK(cudaSetDevice(2) == cudaErrorInvalidDevice);
  CHECK(cudaStreamSynchronize(reinterpret_cast<cudaStream_t>(999999)) == cudaErrorInvalidResourceHandle);
  CHECK(cudaStreamDestroy(nullptr) == cudaErrorInvalidResourceHandle);
  float milliseconds = 1;
  CHECK(cudaEventElapsedTime(&milliseconds, nullptr, nullptr) == cudaErrorNotSupported);
  gradus::cuda::start<planted::early_return>(nullptr, 0, 32, 0, nullptr, 0, false);
  CHECK(cudaGetLastError() == cudaErrorInvalidConfiguration);
}

TEST_CASE("memory runs out, is counted, and says whose it is") {
  size_t free_before = 0, total = 0, free_after = 0;
  CHECK(cudaMemGetInfo(&free_before, &total) == cudaSuccess);
  void* p = nullptr;
  CHECK(cudaMalloc(&p, total + 1) == cudaErrorMemoryAllocation);
  CHECK(p == nullptr);
  CHECK(cudaGetLastError() == cudaErrorMemoryAllocation);
  CHECK(cudaSetDevice(1) == cudaSuccess);
  CHECK(cudaMalloc(&p, 1000) == cudaSuccess);
  cudaPointerAttributes attributes;
  CHECK(cudaPointerGetAttributes(&attributes, static_cast<char*>(p) + 999) == cudaSuccess);
  CHECK(attributes.type == cudaMemoryTypeDevice);
  CHECK(attributes.device == 1);
  CHECK(cudaSetDevice(0) == cudaSuccess);
  CHECK(cudaMemGetInfo(&free_after, &total) == cudaSuccess);
  CHECK(free_after == free_before);
  CHECK(cudaFree(p) == cudaSuccess);
  CHECK(cudaPointerGetAttributes(&attributes, p) == cudaSuccess);
  CHECK(attributes.type == cudaMemoryTypeUnregistered);
}

TEST_CASE("a device does not pass for a GPU") {
  cudaDeviceProp properties;
  REQUIRE(cudaGetDeviceProperties(&properties, 0) == cudaSuccess);
  CHECK_THAT(properties.name, ContainsSubstring("EMULATION") && ContainsSubstring("not a GPU"));
  int count = 0;
  CHECK(cudaGetDeviceCount(&count) == cudaSuccess);
  CHECK(count == 2);
}

TEST_CASE("a kernel's fault comes to light where somebody waits, and stays") {
  const DeviceFloats y(64);
  float* to = y.p;
  gradus::cuda::start<planted::early_return>(nullptr, 1, 64, 0, to, 50, true);
  CHECK(cudaPeekAtLastError() == cudaSuccess);
  CHECK(cudaDeviceSynchronize() == cudaErrorLaunchFailure);
  CHECK_THAT(cudaGetErrorString(cudaErrorLaunchFailure),
             ContainsSubstring("early_return") && ContainsSubstring("has ended"));
  CHECK(cudaMemsetAsync(to, 0, 4, nullptr) == cudaErrorLaunchFailure);
  CHECK(cudaGetLastError() == cudaErrorLaunchFailure);
  gradus::emulation::clear_device_fault();
  CHECK(cudaGetLastError() == cudaSuccess);
  CHECK(cudaMemsetAsync(to, 0, 4, nullptr) == cudaSuccess);
  CHECK(cudaDeviceSynchronize() == cudaSuccess);
}
