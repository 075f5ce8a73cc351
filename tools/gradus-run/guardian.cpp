// The guardian reads a pipe whose only writer is the launcher: its end of file is the launcher's end.
#include "guardian.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <set>
#include <stdexcept>
#include <system_error>

#include "console.h"

namespace gradus::run {
namespace {

/// In memory where nobody says otherwise: heartbeats and the end of a job are not to wait for a busy disk.
std::filesystem::path scratch_parent() {
  constexpr const char* memory = "/dev/shm";
  const bool use_memory = !std::getenv("TMPDIR") && access(memory, W_OK | X_OK) == 0;
  return use_memory ? memory : std::filesystem::temp_directory_path();
}

/// Reads until the launcher is gone; the groups that are left then.
std::set<pid_t> groups_until_the_end(int pipe) {
  std::set<pid_t> groups;
  for (;;) {
    pid_t group = 0;  // arrives whole: it is shorter than PIPE_BUF
    const ssize_t n = ::read(pipe, &group, sizeof group);
    if (n < 0 && errno == EINTR) continue;
    if (n != sizeof group) return groups;
    if (group > 0) {
      groups.insert(group);
    } else {
      groups.erase(-group);
    }
  }
}

[[noreturn]] void guard(int pipe, const std::string& scratch) {
  setsid();  // what is sent to the launcher's group, or its terminal's, is not meant for this process
  for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2}) ::signal(number, SIG_IGN);
  prctl(PR_SET_NAME, "gradus-guardian");
  const int nowhere = open("/dev/null", O_RDWR);
  for (int fd = 0; fd < 3; ++fd) dup2(nowhere, fd);
  for (const pid_t group : groups_until_the_end(pipe)) kill(-group, SIGKILL);
  std::error_code ignored;
  std::filesystem::remove_all(scratch, ignored);
  _exit(0);
}

}  // namespace

Guardian::Guardian() {
  scratch_ = (scratch_parent() / "gradus-run-XXXXXX").string();
  if (!mkdtemp(scratch_.data()))
    throw std::runtime_error(fmt::format("cannot make the folder {}: {}; set TMPDIR", scratch_, std::strerror(errno)));
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) throw std::system_error(errno, std::generic_category(), "pipe");
  dist::detail::Fd reader(ends[0]);
  pipe_ = dist::detail::Fd(ends[1]);
  pid_ = fork();
  if (pid_ < 0) throw std::system_error(errno, std::generic_category(), "fork");
  if (pid_ == 0) {
    pipe_.reset();
    guard(reader.get(), scratch_);
  }
}

Guardian::~Guardian() {
  pipe_.reset();
  while (waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

void Guardian::tell(pid_t group) const {
  write_all(pipe_.get(), {reinterpret_cast<const char*>(&group), sizeof group});
}

}  // namespace gradus::run
