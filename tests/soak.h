// How long the hidden cases of tools/soak go on.
#pragma once

#include <chrono>
#include <cstdlib>
#include <string>

/// GRADUS_SOAK_MINUTES, in seconds; a minute without it.
inline double soak_seconds() {
  const char* const minutes = std::getenv("GRADUS_SOAK_MINUTES");
  return 60 * (minutes ? std::stod(minutes) : 1);
}

/// A clock since when this was made.
class Since {
 public:
  double seconds() const { return std::chrono::duration<double>(Clock::now() - start_).count(); }
  double minutes() const { return seconds() / 60; }

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point start_ = Clock::now();
};
