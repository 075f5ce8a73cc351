// Starting a process: all that needs memory is made before fork(), because the child of a program with threads may only
// make system calls.
#include "worker.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <system_error>

#include <fmt/format.h>

namespace gradus::run {
namespace {

using dist::detail::Fd;

struct Pipe {
  Fd read, write;
  Pipe() {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) throw std::system_error(errno, std::generic_category(), "pipe");
    read = Fd(ends[0]);
    write = Fd(ends[1]);
  }
};

/// The launcher's environment with the worker's variables in the place of equal names.
std::vector<std::string> environment_with(const std::vector<std::pair<std::string, std::string>>& variables) {
  std::vector<std::string> all;
  for (char** entry = environ; *entry; ++entry) {
    const std::string_view text = *entry;
    const bool is_replaced = std::any_of(variables.begin(), variables.end(), [&](const auto& variable) {
      return text.substr(0, text.find('=')) == variable.first;
    });
    if (!is_replaced) all.emplace_back(text);
  }
  for (const auto& [name, value] : variables) all.push_back(fmt::format("{}={}", name, value));
  return all;
}

std::vector<char*> pointers_to(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (std::string& text : texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

struct Child {
  char** argv;
  char** envp;
  int out, err, failure;
  const cpu_set_t* cores;
  pid_t launcher;
};

/// In the new process. Only returns by ending it.
[[noreturn]] void become(const Child& child) {
  setpgid(0, 0);
  // Asked for first, then looked: a launcher that died in between would never send it.
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != child.launcher) _exit(1);
  ::signal(SIGPIPE, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  const int nowhere = open("/dev/null", O_RDONLY);
  if (child.cores) sched_setaffinity(0, sizeof *child.cores, child.cores);
  if (dup2(nowhere, 0) >= 0 && dup2(child.out, 1) >= 0 && dup2(child.err, 2) >= 0)
    execvpe(child.argv[0], child.argv, child.envp);
  const int error = errno;
  (void)!::write(child.failure, &error, sizeof error);
  _exit(127);
}

}  // namespace

Worker::Worker(int rank, std::string scratch)
    : rank_(rank),
      scratch_((std::filesystem::create_directories(scratch), std::move(scratch))),
      pulse_(heartbeat_file()) {}

int Worker::start(const Launch& launch, Source& source) {
  Pipe out, err, failure;
  std::vector<std::string> command = launch.command, environment = environment_with(launch.variables);
  const std::vector<char*> argv = pointers_to(command), envp = pointers_to(environment);
  const Child child{const_cast<char**>(argv.data()),
                    const_cast<char**>(envp.data()),
                    out.write.get(),
                    err.write.get(),
                    failure.write.get(),
                    launch.cores ? &*launch.cores : nullptr,
                    getpid()};
  pid_ = fork();
  if (pid_ < 0) return errno;
  if (pid_ == 0) become(child);
  setpgid(pid_, pid_);  // here, too: whichever comes first
  source.out = std::move(out.read);
  source.err = std::move(err.read);
  failure.write.reset();
  int error = 0;  // the end of file without a word is exec()
  while (::read(failure.read.get(), &error, sizeof error) < 0 && errno == EINTR) {
  }
  return error;
}

void Worker::signal(int number) const {
  if (is_running()) kill(-pid_, number);
}

int Worker::exit_code() const {
  if (!status_) return 0;
  return WIFSIGNALED(*status_) ? 128 + WTERMSIG(*status_) : WEXITSTATUS(*status_);
}

std::string Worker::ending() const {
  if (!status_) return pid_ > 0 ? "running" : "not started";
  if (!WIFSIGNALED(*status_)) return fmt::format("exit {}", WEXITSTATUS(*status_));
  const char* const name = sigabbrev_np(WTERMSIG(*status_));
  return name ? fmt::format("SIG{}", name) : fmt::format("signal {}", WTERMSIG(*status_));
}

std::optional<dist::detail::Failure> Worker::last_words() const {
  std::ifstream file(error_file(), std::ios::binary);
  if (!file) return {};
  std::string text(64 << 10, '\0');  // a message that is longer is no JSON then, and left out
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(file.gcount()));
  return dist::detail::Failure::parse(text);
}

bool Worker::is_stopped() const {
  std::ifstream file(fmt::format("/proc/{}/stat", pid_));
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  const size_t name_end = text.rfind(')');
  return name_end != text.npos && name_end + 2 < text.size() &&
         (text[name_end + 2] == 'T' || text[name_end + 2] == 't');
}

}  // namespace gradus::run
