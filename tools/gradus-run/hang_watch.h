// Which rank holds up the job: of those that beat the one with the fewest steps, and of these the one that was heard of
// longest ago.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <gradus/distributed/detail/deadline.h>
#include <gradus/distributed/store.h>

#include "meeting.h"
#include "options.h"
#include "worker.h"

namespace gradus::run {

/// Each machine knows its own ranks; through the store they find out whose is behind those of all others.
class HangWatch {
 public:
  HangWatch(const Options& options, const Plan& plan, dist::Store& store);

  struct Hang {
    const Worker& worker;
    std::string message;
    bool is_over;  // the time is, not only half of it
  };
  /// Tells of a hang twice: when half of the time is over, and at its end.
  std::optional<Hang> look(const std::vector<Worker>& workers);
  /// Seconds until it is time to look again.
  double next_look(const std::vector<Worker>& workers) const;

 private:
  /// What the others know of this machine: its rank that is behind.
  struct Standing {
    int64_t step;
    /// In the order in which ranks had been silent for half of the time, 0 before. So it is the store that says who was
    /// silent first: machines have no clock in common.
    int64_t place;
    bool operator==(const Standing&) const = default;
    std::string text() const;
    /// Nothing for what is no standing.
    static std::optional<Standing> parse(const std::string& text);
  };
  void tell(const Worker* worker, bool is_silent);
  bool is_behind_all() const;
  std::string key(size_t node) const;

  const double limit_;  // seconds; 0 when nobody is to look
  const Plan& plan_;
  dist::Store& store_;
  const Worker* silent_ = nullptr;
  Standing told_;
  dist::detail::Deadline next_word_{0};  // to and from the other machines, as long as nothing happens
  int halves_seen_ = 0, halves_told_ = 0;
};

}  // namespace gradus::run
