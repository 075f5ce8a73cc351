// The last operations of a group, always noted: what to read when a job has hung. And what becomes of them when the
// group fails.
#pragma once

#include <array>
#include <chrono>
#include <string>

#include <gradus/distributed/detail/collective.h>

namespace gradus::dist::detail {

/// Not synchronised: its channel is.
class FlightRecorder {
 public:
  enum class State : uint8_t { queued, running, done, failed };
  static constexpr size_t capacity = 1024;

  /// Returns the record's number.
  size_t add(const Collective& collective);
  void set(size_t record, State state);
  /// The newest `count` records, a line each, oldest first.
  std::string text(size_t count = capacity) const;

 private:
  using Clock = std::chrono::steady_clock;
  struct Record {
    Fingerprint what;
    Clock::time_point queued, begun, ended;
    State state;
  };
  static_assert(sizeof(Record) <= 64);

  std::array<Record, capacity> records_{};
  size_t size_ = 0;  // ever added
};

/// What a group that failed leaves to people.
struct LastRecord {
  std::string group, why;
  int rank = -1;  ///< in the job
  FlightRecorder operations;

  /// To a file where the folder GRADUS_FLIGHT_RECORDER is there, its end to the log where not. Takes as long as the
  /// file system does.
  void write() const;
};

}  // namespace gradus::dist::detail
