// The launcher's side of a worker's heartbeat.
#pragma once

#include <cstdint>
#include <string>

#include <gradus/distributed/detail/heartbeat_page.h>

namespace gradus::run {

class Pulse {
 public:
  /// Makes the file that the worker will map.
  explicit Pulse(const std::string& path);
  ~Pulse();
  Pulse(Pulse&& other) noexcept;
  Pulse& operator=(Pulse&&) = delete;

  /// Whether there ever was a heartbeat.
  bool has_begun() const { return last() != 0; }
  /// Seconds since the last one.
  double silence() const;
  int64_t step() const { return page_->step.load(std::memory_order_relaxed); }
  /// "step 417, backward"; empty before the first heartbeat.
  std::string text() const;
  /// Whether this worker is behind the other: the one with fewer steps, or who was heard of longer ago.
  bool is_behind(const Pulse& other) const;

 private:
  int64_t last() const { return page_->nanoseconds.load(std::memory_order_acquire); }

  dist::detail::HeartbeatPage* page_ = nullptr;
};

}  // namespace gradus::run
