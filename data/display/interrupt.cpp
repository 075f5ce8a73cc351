// The signal handler behind Interrupt. It may call async-signal-safe functions only.
#include <gradus/data/display/interrupt.h>

#include <signal.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <ctime>

namespace gradus {
namespace {

constexpr std::array signals = {SIGINT, SIGTERM, SIGUSR1};
constexpr int64_t same_signal = 500'000'000;  // nanoseconds

std::atomic<int> first_signal{0};
std::atomic<int64_t> first_time{0};
std::atomic<int> guards{0};
static_assert(std::atomic<int>::is_always_lock_free && std::atomic<int64_t>::is_always_lock_free);

int64_t nanoseconds() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

void on_signal(int number) {
  const int saved_errno = errno;
  const int64_t now = nanoseconds();
  int none = 0;
  if (first_signal.load() == 0) first_time = now;  // before the flag: a second signal never sees an old time
  if (!first_signal.compare_exchange_strong(none, number) && now - first_time >= same_signal) _exit(128 + number);
  errno = saved_errno;
}

}  // namespace

struct Interrupt::Handlers {
  std::array<struct sigaction, signals.size()> actions;
};

Interrupt::Interrupt() : previous_(make_box<Handlers>()) {
  if (guards++ == 0) first_signal = 0;
  struct sigaction action {};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART;  // a read of training data must not fail because of the signal
  sigemptyset(&action.sa_mask);
  for (const int number : signals) sigaddset(&action.sa_mask, number);
  for (size_t i = 0; i < signals.size(); ++i) {
    sigaction(signals[i], nullptr, &previous_->actions[i]);
    if (previous_->actions[i].sa_handler != SIG_IGN) sigaction(signals[i], &action, nullptr);
  }
}

Interrupt::~Interrupt() {
  for (size_t i = 0; i < signals.size(); ++i) sigaction(signals[i], &previous_->actions[i], nullptr);
  --guards;
}

int Interrupt::signal() const { return first_signal; }

}  // namespace gradus
