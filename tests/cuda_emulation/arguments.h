// What the runtime and the stand-ins of NVIDIA's libraries ask of the pointers and streams that they are given.
#pragma once

#include <driver_types.h>

#include <cstddef>
#include <string>

#include "streams.h"

namespace gradus::emulation {

/// cudaStreamLegacy is 1, cudaStreamPerThread 2: the backend uses neither, so both mean the default stream.
inline StreamId id_of(cudaStream_t stream) {
  const auto id = reinterpret_cast<StreamId>(stream);
  return id <= 2 ? 0 : id;
}

/// Empty when `bytes` bytes of the device's memory begin at p, on a multiple of `alignment`; else what is wrong.
std::string fault_in_memory(const void* p, size_t bytes, size_t alignment, int device);
/// Empty when the stream exists, on that device; else what is wrong.
std::string fault_in_stream(cudaStream_t stream, int device);

inline bool overlap(const void* p, size_t p_bytes, const void* q, size_t q_bytes) {
  const auto *a = static_cast<const char*>(p), *b = static_cast<const char*>(q);
  return a < b + q_bytes && b < a + p_bytes;
}

}  // namespace gradus::emulation
