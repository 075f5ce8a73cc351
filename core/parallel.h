// One pool of threads for all of Gradus's CPU work. Results never depend on the number of threads: callers split their
// work by fixed sizes and let the pool share the pieces out.
#pragma once

#include <cstdint>
#include <type_traits>
#include <utility>

#include <gradus/core/api.h>

namespace gradus {

/// Threads that parallel_for uses, the caller included: GRADUS_NUM_THREADS, else the CPUs this process may run on.
GRADUS_API int num_threads();
GRADUS_API void set_num_threads(int n);

/// A borrowed callable `void(int64_t begin, int64_t end)`; valid during the call it is passed to.
class RangeFunction {
 public:
  template <class F>
  requires std::is_invocable_v<F&, int64_t, int64_t> RangeFunction(F&& f)
      : object_(const_cast<void*>(static_cast<const void*>(std::addressof(f)))),
        call_([](void* object, int64_t begin, int64_t end) {
          (*static_cast<std::remove_reference_t<F>*>(object))(begin, end);
        }) {}
  void operator()(int64_t begin, int64_t end) const { call_(object_, begin, end); }

 private:
  void* object_;
  void (*call_)(void*, int64_t, int64_t);
};

namespace detail {
GRADUS_API void parallel_for_pool(int64_t begin, int64_t end, int64_t grain, RangeFunction body);
}

/// Calls body(b, e) over pieces of [begin, end) of at most about `grain` indices, in any order and on any thread;
/// returns when all are done. Runs inline when one piece is enough or when called from within. The first exception is
/// rethrown.
template <class F>
void parallel_for(int64_t begin, int64_t end, int64_t grain, F&& body) {
  if (end <= begin) return;
  if (end - begin <= grain)
    body(begin, end);
  else
    detail::parallel_for_pool(begin, end, grain, body);
}

/// While it lives, parallel_for on this thread runs inline: for threads that work beside the main one, which needs the
/// pool for itself.
class GRADUS_API SerialScope {
 public:
  SerialScope();
  SerialScope(const SerialScope&) = delete;
  SerialScope& operator=(const SerialScope&) = delete;
  ~SerialScope();

 private:
  bool before_;
};

}  // namespace gradus
