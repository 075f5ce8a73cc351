// How long something took, for tests that promise seconds. A promise is one of the code: time in which a process was
// ready to go on, and no core of a busy machine took it, is taken off.
#pragma once

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>

/// Seconds on the clock that all processes of a machine share.
inline double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// Seconds for which the threads of a process have waited for a core since they began; 0 where the kernel does not say.
inline double seconds_without_core(pid_t process) {
  std::error_code gone;
  int64_t all = 0;
  for (const auto& thread : std::filesystem::directory_iterator("/proc/" + std::to_string(process) + "/task", gone)) {
    int64_t running = 0, waiting = 0;  // nanoseconds
    if (std::ifstream(thread.path() / "schedstat") >> running >> waiting) all += waiting;
  }
  return static_cast<double>(all) * 1e-9;
}

/// A moment in the life of a process.
struct Moment {
  explicit Moment(pid_t process = getpid()) : at(now()), without_core(seconds_without_core(process)) {}
  Moment(double at_, double without_core_) : at(at_), without_core(without_core_) {}
  double at, without_core;
};

/// Seconds between two moments of the same process in which it could go on, if it had something to do.
inline double seconds_between(const Moment& from, const Moment& to) {
  // What threads that have ended meanwhile had waited is forgotten.
  return to.at - from.at - std::max(0.0, to.without_core - from.without_core);
}
inline double seconds_since(const Moment& from) { return seconds_between(from, Moment()); }
