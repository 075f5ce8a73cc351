// Deadlines of a process group at their two edges: ranks that are slow, but in time, are left in peace; those that
// hang, or that a broken link cuts off, are told of in time. For seconds in each test run, for long by tools/soak.
#include <random>

#include "launcher.h"
#include "ranks.h"
#include "soak.h"
#include "thread_ranks.h"
#include "told_errors.h"
#include "two_machines.h"

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

// ---- what is late is told in time

TEST_CASE("worker: all-reduces until it fails", "[.]") {
  dist::ProcessGroup group = dist::init({.timeout = timeout_setting()});
  group.barrier();
  fmt::print("ready\n");
  std::fflush(stdout);
  const Tensor x = zeros({1 << 20});
  try {
    for (;;) group.all_reduce(x).wait();
  } catch (const CommError& error) {
    tell(error);
  }
}

namespace {

/// A rank is stopped; seconds until all others know which.
double stop_rank(int n, double timeout) {
  Ranks ranks(n, "worker: all-reduces until it fails", {.variables = {{"TEST_TIMEOUT", fmt::format("{}", timeout)}}});
  const int victim = n - 1;
  for (int rank = 0; rank < n; ++rank) REQUIRE(ranks.wait_for_output(rank, "ready"));
  const double stopped = now();
  ranks.send_signal(victim, SIGSTOP);
  std::vector<int> others;
  for (int rank = 0; rank < victim; ++rank) others.push_back(rank);
  double slowest = 0;
  const auto& ends = ranks.wait(others);
  INFO(ranks.all_output());
  for (const int rank : others) {
    const auto error = caught(ends[static_cast<size_t>(rank)].output);
    REQUIRE(error);
    CHECK(error->rank == victim);
    slowest = std::max(slowest, error->at.at - stopped);
  }
  return slowest;
}

/// Two machines with two ranks each, and a cable between them that is pulled in the middle of an all-reduce; seconds
/// until all ranks know. Nothing where there can be no such machines.
std::optional<double> pull_cable(double timeout) {
  const Scratch folder;
  const TwoMachines machines(folder, R"(
export MASTER_ADDR=10.77.0.1 MASTER_PORT=29400 WORLD_SIZE=4 LOCAL_WORLD_SIZE=2
for rank in 0 1 2 3; do
  test $rank -lt 2 && n=a || n=b
  RANK=$rank LOCAL_RANK=$((rank % 2)) ip netns exec $n "$WORKER" "worker: all-reduces until it fails" >$1/$rank 2>&1 &
done
while test $(cat $1/? | grep -c ready) -lt 4; do sleep 0.05; done
sleep 0.3
cut -d' ' -f1 /proc/uptime >$1/pulled
ip -n a link set va down
wait
)",
                             30 + timeout);
  if (!machines.exist()) return {};
  setenv("WORKER", std::filesystem::read_symlink("/proc/self/exe").c_str(), 1);
  setenv("TEST_TIMEOUT", fmt::format("{}", timeout).c_str(), 1);
  setenv("GRADUS_NUM_THREADS", "1", 1);
  const std::string log = folder / "log";
  machines.run(folder.path(), log);
  const double pulled = std::atof(read_file(folder / "pulled").c_str());
  std::string output = read_file(log);
  for (const char* rank : {"0", "1", "2", "3"}) output += read_file(folder / rank);
  INFO(output);
  REQUIRE(pulled > 0);
  double slowest = 0;
  for (const int rank : {0, 1, 2, 3}) {
    const auto error = caught(read_file(folder / std::to_string(rank)));
    REQUIRE(error);
    slowest = std::max(slowest, error->at.at - pulled);
    // The store is beside ranks 0 and 1: they ask there who does not answer. The others cannot ask anybody.
    if (rank < 2) CHECK(error->rank == 2);
  }
  return slowest;
}

}  // namespace

TEST_CASE("a link that goes down in the middle of an all-reduce is an error on both sides") {
  constexpr double timeout = 2;
  if (!can_have_ranks()) return;
  if (const auto seconds = pull_cable(timeout)) {
    fmt::print("figure R11 {:.2f} < {} s until all ranks know that the link is down, timeout {} s\n", *seconds,
               timeout + 1, timeout);
    CHECK(*seconds < timeout + 1);
  }
}

TEST_CASE("soak: deadlines", "[.]") {
  REQUIRE(can_have_ranks());
  const Since start;
  double stopped = 0, pulled = 0;
  int rounds = 0;
  for (; rounds == 0 || start.seconds() < soak_seconds(); ++rounds) {
    stopped = std::max({stopped, stop_rank(2, deadline), stop_rank(4, deadline)});
    pulled = std::max(pulled, pull_cable(deadline).value_or(0));
    fmt::print("{:.1f} minutes, {} rounds, slowest {:.2f} s, {:.2f} s\n", start.minutes(), rounds + 1, stopped, pulled);
    std::fflush(stdout);
  }
  fmt::print("figure R11 {:.2f} s until all know which of 2 or 4 ranks was stopped, {} rounds, target < {}\n", stopped,
             rounds, deadline + 1);
  fmt::print(
      "figure R11 {:.2f} s until all know that the link is down, {} rounds (0: not to be had here), target < {}\n",
      pulled, rounds, deadline + 1);
  CHECK(stopped < deadline + 1);
  CHECK(pulled < deadline + 1);
}
