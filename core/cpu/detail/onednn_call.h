// For the onednn*.cpp files alone: how oneDNN is called.
#pragma once

#include <string>

#include <oneapi/dnnl/dnnl.hpp>

#include <gradus/core/error.h>

// The OpenMP that oneDNN itself runs on, whichever it is; absent when it was built for another threading library.
extern "C" [[gnu::weak]] void omp_set_num_threads(int);
extern "C" [[gnu::weak]] int omp_get_max_threads();

namespace gradus::cpu::onednn {

/// While it lives, oneDNN uses the calling thread alone: threads of its own would compete with our pool and make
/// results depend on their number. The thread's setting is put back, as the user may use OpenMP too.
class OneThread {
 public:
  OneThread() {
    if (!omp_set_num_threads || !omp_get_max_threads) return;
    before_ = omp_get_max_threads();
    if (before_ != 1) omp_set_num_threads(1);
  }
  OneThread(const OneThread&) = delete;
  OneThread& operator=(const OneThread&) = delete;
  ~OneThread() {
    if (before_ != 1) omp_set_num_threads(before_);
  }

 private:
  int before_ = 1;
};

[[noreturn]] inline void throw_failed(const char* op, int status) {
  throw Error(std::string(op) + ": oneDNN failed with status " + std::to_string(status) +
              "; GRADUS_ONEDNN=0 in the environment does without it");
}

inline const dnnl::engine& engine() {
  static const dnnl::engine& cpu = *new dnnl::engine(dnnl::engine::kind::cpu, 0);  // outlives every thread
  return cpu;
}

inline dnnl::stream& stream() {
  static thread_local dnnl::stream own(engine());
  return own;
}

/// Runs a primitive and waits, with oneDNN's errors as ours.
inline void execute(const char* op, const dnnl::primitive& primitive,
                    const std::unordered_map<int, dnnl::memory>& args) {
  try {
    primitive.execute(stream(), args);
  } catch (const dnnl::error& error) {
    throw_failed(op, error.status);
  }
}

}  // namespace gradus::cpu::onednn
