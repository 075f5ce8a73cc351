// A moment on the monotonic clock until which something is tried.
#pragma once

#include <algorithm>
#include <chrono>

namespace gradus::dist::detail {

class Deadline {
 public:
  /// Seconds from now. Less than 0 (or not a number) is 0; more than a year is a year.
  explicit Deadline(double seconds)
      : end_(Clock::now() + std::chrono::duration_cast<Clock::duration>(
                                std::chrono::duration<double>(seconds > 0 ? std::min(seconds, 365 * 86400.0) : 0))) {}

  /// Seconds that are left, 0 or more.
  double left() const { return std::max(0.0, std::chrono::duration<double>(end_ - Clock::now()).count()); }
  bool passed() const { return Clock::now() >= end_; }
  /// What poll() takes: milliseconds that are left, rounded up, so that it does not return before the deadline.
  int poll_ms() const {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(end_ - Clock::now()).count();
    return static_cast<int>(std::clamp<decltype(left)>(left, 0, 1 << 30));
  }
  bool operator<(const Deadline& other) const { return end_ < other.end_; }

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point end_;
};

}  // namespace gradus::dist::detail
