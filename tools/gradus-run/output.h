// The workers' output, line by line: to the terminal, to a log of each worker, or both.
#pragma once

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include <gradus/distributed/detail/deadline.h>
#include <gradus/distributed/detail/fd.h>

namespace gradus::run {

/// What one worker writes and where it goes.
struct Source {
  dist::detail::Fd out, err;  // the ends to read
  dist::detail::Fd log;       // where there is to be one
  std::string prefix;         // of each line on the terminal
  bool to_terminal = true;
};

/// Reads on a thread of its own: a terminal that takes nothing holds up the workers' output, not the supervision.
class Output {
 public:
  explicit Output(std::vector<Source> sources);
  /// Reads what is still in the pipes; not longer than two seconds when somebody keeps one open.
  ~Output();

 private:
  struct Stream {
    const Source* source;
    const dist::detail::Fd* fd;
    int terminal;  // STDOUT_FILENO or STDERR_FILENO
    std::string rest = {};
    bool open = true;
  };

  void run();
  void read(Stream& stream);
  static void emit(const Stream& stream, std::string_view lines);

  std::vector<Source> sources_;
  std::vector<Stream> streams_;
  dist::detail::Fd wake_;
  std::thread thread_;
};

}  // namespace gradus::run
