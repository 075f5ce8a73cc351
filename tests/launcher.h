// gradus-run as a shell sees it: started in the background with a hard limit, its output kept, its processes found.
#pragma once

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <map>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "catch.h"
#include "moment.h"
#include "scratch.h"

using Words = std::vector<std::string>;

inline void sleep_for(double seconds) { std::this_thread::sleep_for(std::chrono::duration<double>(seconds)); }

inline bool comes_true(const std::function<bool()>& condition, double seconds = 20) {
  for (const double end = now() + seconds; now() < end; sleep_for(0.005))
    if (condition()) return true;
  return condition();
}

struct Result {
  int code = -1;
  std::string out, err;
  double seconds = 0;
};

/// A launcher in the background. It ends after `limit` seconds in any case, and all that it started with it.
class Launcher {
 public:
  explicit Launcher(const Words& arguments, unsigned limit = 60) : start_(now()) {
    Words words = {GRADUS_RUN};
    words.insert(words.end(), arguments.begin(), arguments.end());
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    const std::string out = folder_ / "out", err = folder_ / "err", mark = "GRADUS_TEST_MARK=" + folder_.path();
    pid = fork();
    if (pid == 0) {
      alarm(limit);
      dup2(open(out.c_str(), O_CREAT | O_WRONLY | O_APPEND, 0600), 1);
      dup2(open(err.c_str(), O_CREAT | O_WRONLY | O_APPEND, 0600), 2);
      putenv(const_cast<char*>(mark.c_str()));
      execvp(argv[0], argv.data());
      _exit(126);
    }
  }
  ~Launcher() {
    if (pid > 0) {
      kill(pid, SIGKILL);
      waitpid(pid, nullptr, 0);
    }
  }
  Launcher(const Launcher&) = delete;
  Launcher& operator=(const Launcher&) = delete;

  Result wait() {
    int status = 0;
    waitpid(std::exchange(pid, -1), &status, 0);
    return {WIFSIGNALED(status) ? 1000 + WTERMSIG(status) : WEXITSTATUS(status), out(), err(), now() - start_};
  }
  std::string out() const { return read_file(folder_ / "out"); }
  std::string err() const { return read_file(folder_ / "err"); }
  bool says(const std::string& text) const {
    return comes_true([&] { return (out() + err()).find(text) != std::string::npos; });
  }
  /// All processes that have this launcher's mark in their environment: itself, workers, and theirs.
  std::vector<pid_t> processes() const {
    std::vector<pid_t> found;
    for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
      const std::string name = entry.path().filename();
      if (name.find_first_not_of("0123456789") != name.npos) continue;
      if (read_file(entry.path() / "environ").find(folder_.path()) != std::string::npos)
        found.push_back(std::stoi(name));
    }
    return found;
  }

  /// Of them, those that are left after some seconds, though they had a core to end on.
  std::vector<pid_t> processes_after(double seconds) const {
    std::map<pid_t, Moment> first_seen;
    const double begin = now();
    for (;; sleep_for(0.005)) {
      std::vector<pid_t> left = processes();
      double excuse = 0;
      for (const pid_t process : left) {
        const Moment present(process), &first = first_seen.try_emplace(process, present).first->second;
        excuse = std::max(excuse, present.at - first.at - seconds_between(first, present));
      }
      if (left.empty() || now() - begin - excuse > seconds) return left;
    }
  }

  pid_t pid = -1;

 private:
  Scratch folder_;
  double start_;
};

inline Result run(const Words& arguments) { return Launcher(arguments).wait(); }
inline Words shell(Words options, const std::string& script) {
  options.insert(options.end(), {"sh", "-c", script});
  return options;
}
/// In a worker's script: goes on when `count` ranks of this attempt have come here. A failure that is too early would
/// end others before they have done what a test looks for.
inline std::string when_all(const Scratch& folder, int count) {
  const std::string mine = folder.path() + "/at-$GRADUS_RESTART_COUNT-";
  return "touch " + mine + "$RANK; until test $(ls " + mine + "* | wc -l) -ge " + std::to_string(count) +
         "; do sleep 0.02; done; ";
}
/// A hidden case of this program as the worker.
inline Words worker(Words options, const std::string& tag) {
  options.insert(options.end(), {std::filesystem::read_symlink("/proc/self/exe"), tag});
  return options;
}

inline std::vector<std::string> lines(const std::string& text) {
  std::vector<std::string> all;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    all.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return all;
}
