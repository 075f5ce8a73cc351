// What a kernel sees when g++ or clang compiles it: CUDA's names, on top of the scheduler. Included by
// cuda/device/portable.cuh and by nothing else. What is missing here is not used by the kernels of Gradus, or has a
// wrapper of its own with a version for the host.
#pragma once

#include <cuda_runtime.h>  // types only, and before the macros below: it declares variables of these names

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <string>
#include <type_traits>

#include <cuda_emulation/scheduler.h>

#define GRADUS_CUDA_EMULATED 1

#undef __shared__
#define __shared__ static_assert(false, "write GRADUS_SHARED(type, name, dims)");
#undef __launch_bounds__
#define __launch_bounds__(...)

#define threadIdx (::gradus::emulation::place.thread)
#define blockIdx (::gradus::emulation::place.block)
#define blockDim (::gradus::emulation::place.block_dim)
#define gridDim (::gradus::emulation::place.grid_dim)
inline constexpr int warpSize = 32;

// GRADUS_SHARED(float, tile, [32][33]);  GRADUS_SHARED(float, total, );
#define GRADUS_SHARED(type, name, dims)                       \
  static constinit ::gradus::emulation::SharedKey name##_key; \
  using name##_type = type dims;                              \
  name##_type& name = *static_cast<name##_type*>(             \
      ::gradus::emulation::shared_array(name##_key, sizeof(name##_type), alignof(name##_type), #name))
#define GRADUS_DYNAMIC_SHARED(type, name) type* name = static_cast<type*>(::gradus::emulation::dynamic_shared_array())

namespace gradus::emulation {

/// One for each kernel (each instantiation of a template) that the program could launch.
struct KernelRecord {
  KernelRecord(const char* signature, const void* function);
  std::string name;
  std::atomic<uint64_t> grids = 0;         ///< that have run
  std::atomic<size_t> dynamic_shared = 0;  ///< what cudaFuncSetAttribute has granted
};
template <auto kernel>
struct RecordOf {
  static const char* signature() { return __PRETTY_FUNCTION__; }
  static inline KernelRecord record{signature(), reinterpret_cast<const void*>(kernel)};
};
/// The record of the kernel that starts at an address, or null.
KernelRecord* record_of(const void* function);

/// The launch of a kernel goes into the stream's queue (runtime.cpp).
void launch(cudaStream_t stream, KernelRecord& kernel, dim3 grid, dim3 block, size_t shared_bytes,
            std::function<void()> thread);

}  // namespace gradus::emulation

// What cuda/device/portable.cuh wants.
namespace gradus::cuda {

template <auto kernel>
const char* signature() {
  return gradus::emulation::RecordOf<kernel>::signature();
}
template <auto kernel, class... Args>
void start(cudaStream_t stream, dim3 grid, dim3 block, size_t shared_bytes, const Args&... args) {
  gradus::emulation::launch(stream, gradus::emulation::RecordOf<kernel>::record, grid, block, shared_bytes,
                            [=] { kernel(args...); });
}

}  // namespace gradus::cuda

#define GRADUS_EMULATION_UNTRACED __attribute__((no_sanitize("thread")))

namespace gradus::emulation {

template <class T>
uint64_t to_bits(T value) {
  static_assert(sizeof(T) <= 8 && std::is_trivially_copyable_v<T>);
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof value);
  return bits;
}
template <class T>
T from_bits(uint64_t bits) {
  T value;
  std::memcpy(static_cast<void*>(&value), &bits, sizeof value);
  return value;
}

// The value of lane `source`; a lane that the mask does not name has handed in nothing, and what CUDA leaves undefined
// is a NaN here.
template <class T>
GRADUS_EMULATION_UNTRACED T shuffle(unsigned mask, T value, unsigned source, const char* operation, Site site) {
  const uint64_t* values = warp_meeting(mask, to_bits(value), operation, site);
  return from_bits<T>(mask >> source & 1 ? values[source] : ~uint64_t(0));
}
// A lane outside of the caller's segment of `width` lanes gives the caller's own value.
inline unsigned within(int lane_wanted, int width) {
  const int mine = static_cast<int>(lane()), first = mine & ~(width - 1);
  return static_cast<unsigned>(lane_wanted < first || lane_wanted >= first + width ? mine : lane_wanted);
}
template <class Combine>
GRADUS_EMULATION_UNTRACED unsigned combine_lanes(unsigned mask, unsigned value, unsigned start, const char* operation,
                                                 Site site, Combine combine) {
  const uint64_t* values = warp_meeting(mask, value, operation, site);
  unsigned result = start;
  for (unsigned l = 0; l < 32; ++l)
    if (mask >> l & 1) result = combine(result, static_cast<unsigned>(values[l]), l);
  return result;
}

// Read, change, write, as one. Orders memory for ThreadSanitizer, so that «the last block does the rest» is no race.
template <class T, class Change>
T change_atomically(T* p, Change change) {
  using Bits = std::conditional_t<sizeof(T) == 8, uint64_t, std::conditional_t<sizeof(T) == 4, uint32_t, uint16_t>>;
  Bits* bits = reinterpret_cast<Bits*>(p);
  Bits before = __atomic_load_n(bits, __ATOMIC_RELAXED);
  while (!__atomic_compare_exchange_n(bits, &before,
                                      std::bit_cast<Bits>(static_cast<T>(change(std::bit_cast<T>(before)))), false,
                                      __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) {
  }
  return std::bit_cast<T>(before);
}

}  // namespace gradus::emulation

// ---- barriers
using GradusSite = gradus::emulation::Site;
inline void __syncthreads(GradusSite site = GradusSite::here()) {
  gradus::emulation::block_barrier(false, gradus::emulation::Vote::none, site);
}
inline int __syncthreads_or(int predicate, GradusSite site = GradusSite::here()) {
  return gradus::emulation::block_barrier(predicate != 0, gradus::emulation::Vote::any, site);
}
inline int __syncthreads_and(int predicate, GradusSite site = GradusSite::here()) {
  return gradus::emulation::block_barrier(predicate != 0, gradus::emulation::Vote::all, site);
}
inline int __syncthreads_count(int predicate, GradusSite site = GradusSite::here()) {
  return gradus::emulation::block_barrier(predicate != 0, gradus::emulation::Vote::count, site);
}
inline void __syncwarp(unsigned mask = ~0u, GradusSite site = GradusSite::here()) {
  gradus::emulation::warp_meeting(mask, 0, "__syncwarp", site);
}
inline void __threadfence() {}
inline void __threadfence_block() {}

// ---- between the lanes of a warp
template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32, GradusSite site = GradusSite::here()) {
  const int first = static_cast<int>(gradus::emulation::lane()) & ~(width - 1);
  return gradus::emulation::shuffle(mask, value, static_cast<unsigned>(first | (source & (width - 1))), "__shfl_sync",
                                    site);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int flip, int width = 32, GradusSite site = GradusSite::here()) {
  const int source = static_cast<int>(gradus::emulation::lane()) ^ flip;
  return gradus::emulation::shuffle(mask, value, gradus::emulation::within(source, width), "__shfl_xor_sync", site);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, GradusSite site = GradusSite::here()) {
  const int source = static_cast<int>(gradus::emulation::lane() + delta);
  return gradus::emulation::shuffle(mask, value, gradus::emulation::within(source, width), "__shfl_down_sync", site);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, GradusSite site = GradusSite::here()) {
  const int source = static_cast<int>(gradus::emulation::lane()) - static_cast<int>(delta);
  return gradus::emulation::shuffle(mask, value, gradus::emulation::within(source, width), "__shfl_up_sync", site);
}
inline unsigned __ballot_sync(unsigned mask, int predicate, GradusSite site = GradusSite::here()) {
  return gradus::emulation::combine_lanes(mask, predicate != 0, 0u, "__ballot_sync", site,
                                          [](unsigned all, unsigned value, unsigned l) { return all | value << l; });
}
inline int __any_sync(unsigned mask, int predicate, GradusSite site = GradusSite::here()) {
  return __ballot_sync(mask, predicate, site) != 0;
}
inline int __all_sync(unsigned mask, int predicate, GradusSite site = GradusSite::here()) {
  return __ballot_sync(mask, predicate, site) == mask;
}
inline unsigned __reduce_add_sync(unsigned mask, unsigned value, GradusSite site = GradusSite::here()) {
  return gradus::emulation::combine_lanes(mask, value, 0u, "__reduce_add_sync", site,
                                          [](unsigned sum, unsigned v, unsigned) { return sum + v; });
}

// The lanes that hand in the same value.
template <class T>
GRADUS_EMULATION_UNTRACED unsigned __match_any_sync(unsigned mask, T value, GradusSite site = GradusSite::here()) {
  const uint64_t mine = gradus::emulation::to_bits(value);
  const uint64_t* values = gradus::emulation::warp_meeting(mask, mine, "__match_any_sync", site);
  unsigned same = 0;
  for (unsigned l = 0; l < 32; ++l)
    if (mask >> l & 1 && values[l] == mine) same |= 1u << l;
  return same;
}

// ---- atomics
template <class T>
T atomicAdd(T* p, std::type_identity_t<T> value) {
  return gradus::emulation::change_atomically(p, [value](T old) { return old + value; });
}
template <class T>
T atomicMax(T* p, std::type_identity_t<T> value) {
  return gradus::emulation::change_atomically(p, [value](T old) { return std::max(old, value); });
}
template <class T>
T atomicMin(T* p, std::type_identity_t<T> value) {
  return gradus::emulation::change_atomically(p, [value](T old) { return std::min(old, value); });
}
template <class T>
T atomicExch(T* p, std::type_identity_t<T> value) {
  return gradus::emulation::change_atomically(p, [value](T) { return value; });
}
template <class T>
T atomicCAS(T* p, std::type_identity_t<T> expected, std::type_identity_t<T> value) {
  return gradus::emulation::change_atomically(p, [=](T old) { return old == expected ? value : old; });
}
inline unsigned atomicInc(unsigned* p, unsigned limit) {
  return gradus::emulation::change_atomically(p, [limit](unsigned old) { return old >= limit ? 0 : old + 1; });
}

// ---- arithmetic
template <class T>
T __ldg(const T* p) {
  return *p;
}
inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
inline int __popc(unsigned x) { return std::popcount(x); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __clz(int x) { return std::countl_zero(static_cast<unsigned>(x)); }
inline unsigned __umulhi(unsigned a, unsigned b) { return static_cast<unsigned>(static_cast<uint64_t>(a) * b >> 32); }
