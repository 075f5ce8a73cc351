// Several processes at once, for tests of what they do together: each rank runs a hidden test case of the same program.
// POSIX only; knows nothing of groups but the variables by which a launcher tells a rank who it is.
#pragma once

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "catch.h"
#include "scratch.h"

struct RanksOptions {
  double limit = 60;       ///< seconds after which what still runs is killed, and counts as hung
  std::string store = {};  ///< empty: a folder of this run alone
  std::map<std::string, std::string> variables = {};  ///< more of the environment, such as what the test case is to do
};

/// A running set of processes. What they print is kept, and shown when something is wrong.
class Ranks {
 public:
  struct End {
    int code = -1;   ///< exit code; -1 when a signal ended it
    int signal = 0;  ///< that ended it
    bool hung = false;
    double seconds = 0;  ///< from the start of all
    std::string output;
  };

  Ranks(int n, const std::string& test_case, const RanksOptions& options = {}) : limit_(options.limit) {
    for (int rank = 0; rank < n; ++rank) start(rank, n, test_case, options);
    ends_.resize(static_cast<size_t>(n));
  }
  Ranks(const Ranks&) = delete;
  Ranks& operator=(const Ranks&) = delete;
  ~Ranks() {
    for (const pid_t pid : pids_)
      if (pid > 0) {
        ::kill(pid, SIGKILL);
        waitpid(pid, nullptr, 0);
      }
  }

  double seconds() const { return std::chrono::duration<double>(Clock::now() - start_).count(); }
  pid_t process(int rank) const { return pids_.at(static_cast<size_t>(rank)); }
  void send_signal(int rank, int signal) { ::kill(pids_.at(static_cast<size_t>(rank)), signal); }
  std::string output(int rank) const { return read_file(output_file(rank)); }
  /// Waits until a rank has printed `text`; false when it ends without, or takes too long. The next assertion that
  /// fails shows what all have printed, then.
  bool wait_for_output(int rank, const std::string& text) const {
    const auto has_printed = [&] { return output(rank).find(text) != std::string::npos; };
    for (; !has_printed(); std::this_thread::sleep_for(std::chrono::milliseconds(5))) {
      if (seconds() < limit_ && !has_ended(rank)) continue;
      if (has_printed()) break;
      UNSCOPED_INFO("rank " << rank << " did not print \"" << text << "\" in " << seconds() << " s\n" << all_output());
      return false;
    }
    return true;
  }

  /// Waits for the ranks, or for these of them.
  const std::vector<End>& wait(std::vector<int> ranks = {}) {
    if (ranks.empty())
      for (size_t r = 0; r < pids_.size(); ++r) ranks.push_back(static_cast<int>(r));
    for (bool left = true; left;) {
      left = false;
      for (const int rank : ranks) left = !collect(rank) || left;
      if (left) std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    return ends_;
  }

  /// Everything that was printed, for INFO().
  std::string all_output() const {
    std::string text;
    for (size_t r = 0; r < pids_.size(); ++r)
      text += "---- rank " + std::to_string(r) + "\n" + output(static_cast<int>(r));
    return text;
  }

 private:
  using Clock = std::chrono::steady_clock;

  std::string output_file(int rank) const { return scratch_ / ("rank" + std::to_string(rank) + ".log"); }

  void start(int rank, int n, const std::string& test_case, const RanksOptions& options) {
    const std::string number = std::to_string(rank), count = std::to_string(n);
    std::map<std::string, std::string> variables = {
        {"RANK", number},
        {"WORLD_SIZE", count},
        {"LOCAL_RANK", number},
        {"LOCAL_WORLD_SIZE", count},
        {"GRADUS_STORE", options.store.empty() ? "file://" + (scratch_ / "store") : options.store},
        {"GRADUS_RUN_ID", "test"},
        {"GRADUS_NUM_THREADS", "1"},
        {"TEST_MEETING", scratch_.path()},
    };
    for (const auto& [name, value] : options.variables) variables[name] = value;
    std::vector<std::string> settings;
    for (char** entry = environ; *entry; ++entry)
      if (const std::string text = *entry; !variables.count(text.substr(0, text.find('=')))) settings.push_back(text);
    for (const auto& [name, value] : variables) settings.push_back(name + "=" + value);
    std::vector<char*> environment;
    for (std::string& setting : settings) environment.push_back(setting.data());
    environment.push_back(nullptr);
    std::string program = "/proc/self/exe", name = test_case;
    char* const arguments[] = {program.data(), name.data(), nullptr};
    const std::string file = output_file(rank);

    const pid_t parent = getpid(), pid = fork();
    REQUIRE(pid >= 0);
    if (pid == 0) {  // only what is allowed between fork and exec of a program with threads
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      if (getppid() != parent) _exit(127);
      const int fd = ::open(file.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
      dup2(fd, STDOUT_FILENO);
      dup2(fd, STDERR_FILENO);
      execve(arguments[0], arguments, environment.data());
      _exit(127);
    }
    pids_.push_back(pid);
  }

  bool has_ended(int rank) const {
    siginfo_t info{};
    const pid_t pid = pids_[static_cast<size_t>(rank)];
    return pid == 0 || (waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid);
  }

  // Whether the rank has ended; kills it when it is late.
  bool collect(int rank) {
    pid_t& pid = pids_[static_cast<size_t>(rank)];
    if (pid == 0) return true;
    End& end = ends_[static_cast<size_t>(rank)];
    if (seconds() > limit_ && !end.hung) {
      end.hung = true;
      ::kill(pid, SIGKILL);
    }
    int status = 0;
    if (waitpid(pid, &status, WNOHANG) != pid) return false;
    pid = 0;
    end.seconds = seconds();
    end.code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    end.signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    end.output = output(rank);
    return true;
  }

  const Scratch scratch_;
  const double limit_;
  const Clock::time_point start_ = Clock::now();
  std::vector<pid_t> pids_;
  std::vector<End> ends_;
};

/// Runs the hidden test case as n ranks, all of which must end well.
inline void run_ranks(int n, const std::string& test_case, const RanksOptions& options = {}) {
  Ranks ranks(n, test_case, options);
  const std::vector<Ranks::End>& ends = ranks.wait();
  std::string ill;
  for (size_t r = 0; r < ends.size(); ++r)
    if (ends[r].hung || ends[r].code != 0)
      ill +=
          "rank " + std::to_string(r) + (ends[r].hung ? " hung" : " ended with " + std::to_string(ends[r].code)) + "; ";
  if (!ill.empty()) FAIL(n << " ranks of \"" << test_case << "\": " << ill << "\n" << ranks.all_output());
}

/// A setting that the test gave to its ranks; the fallback where there is none.
inline std::string setting(const char* name, const std::string& fallback = {}) {
  const char* const value = std::getenv(name);
  return value ? value : fallback;
}

/// In a rank: goes on when the ranks 0 to n - 1 have come here. It needs no group, so that what becomes of the group
/// later meets no rank that is still before it. Once in a test case.
inline void meet(int n) {
  const std::string place = setting("TEST_MEETING") + "/met-";
  write_file(place + setting("RANK"), "");
  for (int rank = 0; rank < n; ++rank)
    while (access((place + std::to_string(rank)).c_str(), F_OK) != 0)
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
}
