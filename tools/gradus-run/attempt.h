// One attempt of the job on this machine: its workers are started and watched until all have ended and all machines
// agree how the attempt ended.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <gradus/distributed/detail/abort_word.h>
#include <gradus/distributed/detail/deadline.h>

#include "end_watch.h"
#include "guardian.h"
#include "hang_watch.h"
#include "meeting.h"
#include "options.h"
#include "report.h"
#include "signals.h"
#include "verdict.h"
#include "worker.h"

namespace gradus::run {

class Attempt {
 public:
  Attempt(const Options& options, const Plan& plan, const Meeting& meeting, const Guardian& guardian,
          const Signals& signals);
  Verdict run();
  Rows rows() const;

 private:
  using Deadline = dist::detail::Deadline;

  void start(std::vector<Source>& sources);
  Launch launch_of(const Worker& worker) const;
  std::string log_of(const Worker& worker) const;
  void step(EndWatch& watch);
  double next_event() const;
  void handle_signals();
  void reap();
  void judge();
  std::optional<dist::detail::Failure> abort_word() const;
  void blame_end_of(const Worker& worker);
  void blame(const Worker& worker, std::string message, int code);
  std::string words_about(const Worker& worker, const std::string& known) const;
  void declare(const Verdict& mine);
  void accept(const Verdict& verdict);
  void finish_well();
  void look_for_hangs();
  void stop();
  bool is_any_running() const;

  const Options& options_;
  const Plan& plan_;
  const Meeting& meeting_;
  const Guardian& guardian_;
  const Signals& signals_;
  Box<dist::Store> store_;
  HangWatch hangs_;
  std::vector<Worker> workers_;
  std::vector<const Worker*> failed_;  // in the order of their ends
  std::optional<Verdict> verdict_;
  std::optional<Deadline> judgement_;      // until then a better culprit than those of failed_ may come
  std::optional<Deadline> kill_;           // whoever still runs then
  std::optional<Deadline> asked_to_stop_;  // and until then another signal is the same request
  bool has_reported_ = false;
};

}  // namespace gradus::run
