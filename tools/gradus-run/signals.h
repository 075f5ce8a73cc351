// Signals as events: blocked in all threads, read from a descriptor.
#pragma once

#include <signal.h>

#include <optional>

#include <gradus/distributed/detail/fd.h>

namespace gradus::run {

class Signals {
 public:
  /// To be called before any thread is started.
  Signals();
  int fd() const { return fd_.get(); }
  /// The next one that came; nothing when there is none.
  std::optional<int> next() const;

  /// While one lives, a signal to stop ends the launcher at once: there are no workers, only waiting for machines.
  class EndAtOnce {
   public:
    EndAtOnce();
    ~EndAtOnce();
    EndAtOnce(const EndAtOnce&) = delete;
    EndAtOnce& operator=(const EndAtOnce&) = delete;
  };

 private:
  dist::detail::Fd fd_;
};

/// SIGINT, SIGTERM and SIGHUP ask for the end; the others are only passed on.
bool asks_to_stop(int signal);

}  // namespace gradus::run
