// Threads of the library's own, on which no signal of the program is handled.
#pragma once

#include <pthread.h>
#include <signal.h>

#include <thread>
#include <utility>

namespace gradus::dist::detail {

/// A thread that leaves signals to the program's threads: its handlers may take locks, or longer than a deadline lets
/// them. Threads that it starts, such as Gloo's, do the same. What a fault of the thread itself raises, and what
/// profilers send, still comes.
template <class F>
std::thread quiet_thread(F&& f) {
  sigset_t signals, before;
  sigfillset(&signals);
  for (const int signal : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS, SIGPROF})
    sigdelset(&signals, signal);
  struct Mask {
    ~Mask() { pthread_sigmask(SIG_SETMASK, &before, nullptr); }
    const sigset_t& before;
  } const restored{before};
  pthread_sigmask(SIG_SETMASK, &signals, &before);
  return std::thread(std::forward<F>(f));
}

}  // namespace gradus::dist::detail
