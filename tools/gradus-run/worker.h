// One process of the job: how it is started, and how it ended.
#pragma once

#include <sched.h>
#include <sys/types.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <gradus/distributed/detail/abort_word.h>

#include "output.h"
#include "pulse.h"

namespace gradus::run {

/// What a worker is started with.
struct Launch {
  std::vector<std::string> command;
  std::vector<std::pair<std::string, std::string>> variables;  // beside the launcher's own
  std::optional<cpu_set_t> cores;
};

class Worker {
 public:
  Worker(int rank, std::string scratch);

  /// Fork and exec, in a process group of its own that dies with the launcher. Returns errno when the program cannot be
  /// executed, else 0. The calling thread must live as long as the worker: the kernel ties the two together.
  int start(const Launch& launch, Source& source);

  int rank() const { return rank_; }
  pid_t pid() const { return pid_; }
  bool is_running() const { return pid_ > 0 && !status_; }
  bool has_failed() const { return status_ && *status_ != 0; }
  /// To all processes of its group.
  void signal(int number) const;
  void ended(int status) { status_ = status; }

  /// As a shell has it: 128 + n for signal n.
  int exit_code() const;
  /// "exit 3", "SIGKILL", "running".
  std::string ending() const;
  /// What it left behind when it failed (distributed/detail/error_file.h).
  std::optional<dist::detail::Failure> last_words() const;
  const Pulse& pulse() const { return pulse_; }
  /// Whether it was stopped (SIGSTOP, a debugger).
  bool is_stopped() const;

  std::string error_file() const { return scratch_ + "/error.json"; }
  std::string heartbeat_file() const { return scratch_ + "/heartbeat"; }

 private:
  int rank_;
  std::string scratch_;
  Pulse pulse_;
  pid_t pid_ = -1;
  std::optional<int> status_;  // as waitpid() has it
};

}  // namespace gradus::run
