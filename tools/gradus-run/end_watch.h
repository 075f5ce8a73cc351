// The end of an attempt as the other machines see it.
#pragma once

#include <atomic>
#include <string>
#include <thread>

#include <gradus/core/box.h>
#include <gradus/distributed/detail/fd.h>
#include <gradus/distributed/store.h>

#include "meeting.h"
#include "verdict.h"

namespace gradus::run {

/// The store's key that holds the verdict.
std::string end_key(const Plan& plan);
/// What is said of an attempt when the store does not answer any more.
Verdict lost_store(const std::exception& error);

/// Waits for the attempt's end on any machine. (A launcher that dies is one: this connection's will says so.)
class EndWatch {
 public:
  EndWatch(const Meeting& meeting, const Plan& plan);
  ~EndWatch();
  EndWatch(const EndWatch&) = delete;
  EndWatch& operator=(const EndWatch&) = delete;

  /// Becomes readable at the end.
  int fd() const { return event_.get(); }
  /// To be asked then.
  const Verdict& verdict() const { return verdict_; }

 private:
  void wait();

  const Plan& plan_;
  const Meeting& meeting_;
  Box<dist::Store> store_;
  dist::detail::Fd event_;
  Verdict verdict_;
  std::atomic<bool> has_ended_ = false;
  std::thread thread_;
};

}  // namespace gradus::run
