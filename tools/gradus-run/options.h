// What the command line asks for.
#pragma once

#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

namespace gradus::run {

struct UsageError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct Options {
  int nproc = 1;  // workers on this machine
  int min_nodes = 1, max_nodes = 1;
  std::optional<int> node_rank;  // of this machine; without it the one that owns the address of `rdzv` is the first
  std::string rdzv;              // host:port; empty on one machine
  std::string job;               // by default a new one each time on one machine, and "job" on several
  double rdzv_timeout = 600, last_call = 30;
  int max_restarts = 0;
  double stop_timeout = 30;
  double heartbeat = 0;  // 0: hangs are not looked for
  std::string redirect;  // folder of the workers' logs
  bool tee = false;
  std::optional<bool> prefix;  // by default where there are several workers
  bool bind_cores = false;
  bool help = false, version = false;
  std::vector<std::string> command;
};

/// Throws UsageError.
Options parse_options(int argc, char** argv);

extern const char* const usage;

}  // namespace gradus::run
