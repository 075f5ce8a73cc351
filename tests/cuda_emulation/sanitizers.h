// What the sanitizers want to know of fibers, barriers and poisoned memory; nothing where there is no sanitizer. The
// build defines GRADUS_EMULATION_TSAN for the files that are compiled without -fsanitize=thread but linked with it.
#pragma once

#include <cstddef>

#if defined(__SANITIZE_ADDRESS__)
#define GRADUS_EMULATION_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define GRADUS_EMULATION_ASAN 1
#endif
#endif

#if defined(GRADUS_EMULATION_ASAN)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(GRADUS_EMULATION_TSAN)
#include <sanitizer/tsan_interface.h>
#endif

namespace gradus::emulation::sanitizers {

#if defined(GRADUS_EMULATION_ASAN)
inline void leave(void** fake_stack, const void* bottom, size_t bytes) {
  __sanitizer_start_switch_fiber(fake_stack, bottom, bytes);
}
inline void arrive(void* fake_stack, const void** bottom, size_t* bytes) {
  __sanitizer_finish_switch_fiber(fake_stack, bottom, bytes);
}
inline void poison(void* p, size_t bytes) { __asan_poison_memory_region(p, bytes); }
inline void unpoison(void* p, size_t bytes) { __asan_unpoison_memory_region(p, bytes); }
#else
inline void leave(void**, const void*, size_t) {}
inline void arrive(void*, const void**, size_t*) {}
inline void poison(void*, size_t) {}
inline void unpoison(void*, size_t) {}
#endif

#if defined(GRADUS_EMULATION_TSAN)
/// Every CUDA thread is a thread of ThreadSanitizer: then it must not share a stack with another one.
inline constexpr bool races = true;
inline void* current_thread() { return __tsan_get_current_fiber(); }
inline void* new_thread() { return __tsan_create_fiber(0); }
inline void forget_thread(void* thread) { __tsan_destroy_fiber(thread); }
inline void become(void* thread) { __tsan_switch_to_fiber(thread, __tsan_switch_to_fiber_no_sync); }
inline void release(void* what) { __tsan_release(what); }
inline void acquire(void* what) { __tsan_acquire(what); }
#else
inline constexpr bool races = false;
inline void* current_thread() { return nullptr; }
inline void* new_thread() { return nullptr; }
inline void forget_thread(void*) {}
inline void become(void*) {}
inline void release(void*) {}
inline void acquire(void*) {}
#endif

}  // namespace gradus::emulation::sanitizers
