// Deadlines of a process group at their two edges: ranks that are slow, but in time, are left in peace. For seconds in
// each test run, for an hour by tools/soak.
#include <random>

#include "launcher.h"
#include "ranks.h"
#include "soak.h"
#include "thread_ranks.h"

#include <gradus/distributed/heartbeat.h>
#include <gradus/fmt.h>
#include <gradus/gradus.h>

using namespace gradus;

namespace {

constexpr double deadline = 5;

double uniform(std::mt19937& random, double low, double high) {
  return std::uniform_real_distribution<>(low, high)(random);
}

}  // namespace

// ---- steps that take now longer, now shorter

// Each rank computes for 20 to 60 ms, as it happens, and then meets the others. About every 500th step somebody takes
// its time: up to four fifths of the deadline.
TEST_CASE("worker: steps that jitter", "[.]") {
  dist::ProcessGroup group = dist::init({.timeout = deadline});
  const int n = group.size();
  std::mt19937 random(std::random_device{}());
  const Since start;
  double reported = 0, longest = 0;
  for (int64_t step = 1, going_on = 1; going_on; ++step) {
    dist::heartbeat(step, "compute");
    const bool pauses = random() % static_cast<unsigned>(500 * n) == 0;
    sleep_for(pauses ? uniform(random, 0.5 * deadline, 0.8 * deadline) : uniform(random, 0.020, 0.060));
    dist::heartbeat("all_reduce");
    const bool is_over = start.seconds() > soak_seconds();  // rank 0 tells when it is time to end
    const Tensor x = full({1000}, group.rank() + 1), ends = full({1}, group.rank() == 0 && is_over);
    const Since waiting;
    group.all_reduce(x).wait();
    group.all_reduce(ends).wait();
    longest = std::max(longest, waiting.seconds());
    REQUIRE(x.data<float>()[999] == n * (n + 1) / 2);
    going_on = ends.data<float>()[0] == 0;
    if (group.rank() == 0 && (!going_on || start.minutes() > reported + 1)) {
      reported = start.minutes();
      fmt::print("{:.1f} minutes, {} steps, longest wait {:.2f} s\n", start.minutes(), step, longest);
      std::fflush(stdout);
    }
  }
}

namespace {

/// Jobs of 2 and 4 processes side by side, in which every failure, restart and report of a rank that hangs is a false
/// alarm.
void jitter(double seconds) {
  setenv("GRADUS_NUM_THREADS", "1", 1);
  setenv("GRADUS_SOAK_MINUTES", fmt::format("{}", seconds / 60).c_str(), 1);
  const auto options = [](const char* n) {
    return worker({"--no-prefix", "--heartbeat", fmt::format("{}", deadline), "--max-restarts", "3", "--nproc", n},
                  "worker: steps that jitter");
  };
  const auto limit = static_cast<unsigned>(seconds + 60);
  Launcher two(options("2"), limit), four(options("4"), limit);
  int alarms = 0;
  for (Launcher* launcher : {&two, &four}) {
    const Result result = launcher->wait();
    INFO(result.out << result.err);
    CHECK(result.code == 0);
    int pauses = 0;
    for (const std::string& line : lines(result.err)) {
      const bool is_pause = line.find("others wait") != line.npos;  // said after half the deadline, and true
      pauses += is_pause;
      if (is_pause) continue;
      fmt::print("{}\n", line);
      ++alarms;
    }
    std::string progress = "nothing";
    for (const std::string& line : lines(result.out))
      if (line.find("longest wait") != line.npos) progress = line;
    fmt::print("{} processes: {}, {} pauses of more than {} s\n", launcher == &two ? 2 : 4, progress, pauses,
               deadline / 2);
    CHECK(progress != "nothing");
  }
  fmt::print("figure R11 {} 0 false alarms in {:.1f} minutes of steps that take 20 to 60 ms, deadline {} s\n", alarms,
             seconds / 60, deadline);
  CHECK(alarms == 0);
}

}  // namespace

TEST_CASE("ranks whose steps take now longer, now shorter, are left in peace") {
  if (can_have_ranks()) jitter(5);
}

TEST_CASE("soak: jitter", "[.]") {
  REQUIRE(can_have_ranks());
  jitter(soak_seconds());
}
