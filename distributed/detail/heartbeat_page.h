// What a worker and its launcher share: the file GRADUS_HEARTBEAT_FILE, mapped by both.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <string>

namespace gradus::dist::detail {

/// The launcher makes it, with no_step. Bytes are written one by one, so one who looks meanwhile may see half of each
/// phase.
struct HeartbeatPage {
  std::atomic<int64_t> nanoseconds;  ///< CLOCK_MONOTONIC at the last heartbeat, 0 before; written last
  std::atomic<int64_t> step;
  std::array<std::atomic<char>, 40> phase;

  /// Before there is a step.
  static constexpr int64_t no_step = -1;

  void write(const char* text, int64_t now) {
    size_t i = 0;
    for (; i + 1 < phase.size() && text[i]; ++i) phase[i].store(text[i], std::memory_order_relaxed);
    phase[i].store('\0', std::memory_order_relaxed);
    nanoseconds.store(now, std::memory_order_release);
  }
  std::string phase_text() const {
    std::string text;
    for (const auto& byte : phase) {
      const char c = byte.load(std::memory_order_relaxed);
      if (!c) break;
      text.push_back(c);
    }
    return text;
  }
};
static_assert(std::atomic<int64_t>::is_always_lock_free && std::atomic<char>::is_always_lock_free);

}  // namespace gradus::dist::detail
