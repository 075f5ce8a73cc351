// signalfd, and handlers for the time when nothing has to be ended in good order.
#include "signals.h"

#include <sys/signalfd.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

namespace gradus::run {
namespace {

sigset_t set_of(std::initializer_list<int> signals) {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : signals) sigaddset(&set, signal);
  return set;
}

}  // namespace

bool asks_to_stop(int signal) { return signal == SIGINT || signal == SIGTERM || signal == SIGHUP; }

Signals::Signals() {
  sigset_t set = set_of({SIGCHLD, SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2});
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) {
    // A handler rather than the default: process 1 of a container would not be ended by that.
    const auto before = ::signal(number, [](int signal) { _exit(128 + signal); });
    if (before != SIG_IGN) continue;
    ::signal(number, SIG_IGN);  // nohup: stays as it was, for the workers, too
    sigdelset(&set, number);
  }
  ::signal(SIGPIPE, SIG_IGN);
  sigprocmask(SIG_BLOCK, &set, nullptr);
  fd_ = dist::detail::Fd(signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!fd_) throw std::system_error(errno, std::generic_category(), "signalfd");
}

std::optional<int> Signals::next() const {
  signalfd_siginfo info{};
  ssize_t n;
  do {
    n = ::read(fd_.get(), &info, sizeof info);
  } while (n < 0 && errno == EINTR);
  if (n != sizeof info) return {};
  return static_cast<int>(info.ssi_signo);
}

Signals::EndAtOnce::EndAtOnce() {
  const sigset_t set = set_of({SIGINT, SIGTERM, SIGHUP});
  sigprocmask(SIG_UNBLOCK, &set, nullptr);
}
Signals::EndAtOnce::~EndAtOnce() {
  const sigset_t set = set_of({SIGINT, SIGTERM, SIGHUP});
  sigprocmask(SIG_BLOCK, &set, nullptr);
}

}  // namespace gradus::run
