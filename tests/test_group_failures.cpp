// What becomes of a process group when another process dies, hangs, never comes or does something else: a typed error
// on every rank, in time, that names the one to blame. The figures R10 to R12 are printed.
#include <dirent.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <latch>
#include <random>
#include <set>
#include <thread>

#include <fmt/format.h>

#include "catch.h"
#include "moment.h"
#include "ranks.h"
#include "thread_ranks.h"

#include <gradus/distributed/detail/engine.h>
#include <gradus/distributed/detail/group.h>
#include <gradus/gradus.h>

using namespace gradus;
using Catch::Matchers::ContainsSubstring;
using dist::ProcessGroup;
using dist::ReduceOp;
using Kind = CommError::Kind;

namespace {

double timeout_setting() { return std::stod(setting("TEST_TIMEOUT", "30")); }

/// What a rank that caught a CommError prints, and the test reads.
void tell(const CommError& error) {
  const Moment present;
  fmt::print("caught at {:.6f} without core {:.6f} kind {} rank {} op {} seq {}: {}\n", present.at,
             present.without_core, static_cast<int>(error.kind), error.rank, error.op, error.seq, error.what());
  std::fflush(stdout);
}
/// And before it begins what is to fail.
void tell_begin() {
  const Moment present;
  fmt::print("begun at {:.6f} without core {:.6f}\n", present.at, present.without_core);
  std::fflush(stdout);
}

struct Caught {
  Moment at{0, 0};
  Kind kind{};
  int rank = -2;
  std::string text;
};
std::optional<Caught> caught(const std::string& output) {
  const size_t begin = output.find("caught at ");
  if (begin == std::string::npos) return {};
  Caught result;
  int kind = 0;
  if (std::sscanf(output.c_str() + begin, "caught at %lf without core %lf kind %d rank %d", &result.at.at,
                  &result.at.without_core, &kind, &result.rank) != 4)
    return {};
  result.kind = static_cast<Kind>(kind);
  result.text = output.substr(begin, output.find('\n', begin) - begin);
  return result;
}

/// Seconds from a rank's beginning to its error; none where one of them is missing.
std::optional<double> seconds_to_error(const std::string& output) {
  const auto error = caught(output);
  const size_t at = output.find("begun at ");
  Moment begin{0, 0};
  if (!error || at == std::string::npos ||
      std::sscanf(output.c_str() + at, "begun at %lf without core %lf", &begin.at, &begin.without_core) != 2)
    return {};
  return seconds_between(begin, error->at);
}

/// This moment in the lives of all ranks.
std::vector<Moment> moments(const Ranks& ranks, int n) {
  std::vector<Moment> all;
  for (int rank = 0; rank < n; ++rank) all.emplace_back(ranks.process(rank));
  return all;
}

/// Runs until a CommError, which it must meet, and sees that the group stays closed after it.
template <class F>
void until_error(ProcessGroup& group, F&& work) {
  Kind kind{};
  try {
    work();
    FAIL("no error came");
  } catch (const CommError& error) {
    tell(error);
    kind = error.kind;
  }
  const Tensor x = ones({4});
  try {
    group.all_reduce(x).wait();
    FAIL("the group went on after a failure");
  } catch (const CommError& error) {
    CHECK(error.kind == kind);
  }
}

void wait_for_file(const std::string& path) {
  while (!std::filesystem::exists(path)) std::this_thread::sleep_for(std::chrono::milliseconds(5));
}

void figure(const char* name, double value, const std::string& target) {
  fmt::print("figure {} {:.3f} {}\n", name, value, target);
  std::fflush(stdout);
}

}  // namespace

// ---- a process is killed

TEST_CASE("ranks: work until one is killed", "[.]") {
  ProcessGroup group = dist::init({.timeout = timeout_setting()});
  group.barrier();
  fmt::print("ready\n");
  std::fflush(stdout);
  const Tensor large = zeros({1 << 20}), small = zeros({100}), parts = zeros({group.size() * 1000});
  until_error(group, [&] {
    for (;;) {
      group.all_reduce(large).wait();
      group.broadcast(large, 1).wait();
      for (int i = 0; i < 5; ++i) group.all_reduce(small).wait();
      group.all_gather(parts, zeros({1000})).wait();
    }
  });
}

TEST_CASE("a killed process is an error on every other rank, at once") {
  if (!can_have_ranks()) return;
  std::mt19937 random(20);
  double slowest = 0;
  int rounds = 0;
  std::string unnamed;  // what was said in rounds in which the error of some rank names nobody
  for (const int n : {2, 4})
    for (int round = 0; round < std::stoi(setting("TEST_ROUNDS", "15")); ++round, ++rounds) {
      Ranks ranks(n, "ranks: work until one is killed");
      const int victim = static_cast<int>(random() % static_cast<unsigned>(n));
      for (int rank = 0; rank < n; ++rank) REQUIRE(ranks.wait_for_output(rank, "ready"));
      std::this_thread::sleep_for(std::chrono::microseconds(random() % 60000));
      const std::vector<Moment> killed = moments(ranks, n);
      ranks.send_signal(victim, SIGKILL);
      const auto& ends = ranks.wait();
      INFO(n << " ranks, round " << round << ", rank " << victim << " was killed\n" << ranks.all_output());
      for (int rank = 0; rank < n; ++rank) {
        if (rank == victim) continue;
        const Ranks::End& end = ends[static_cast<size_t>(rank)];
        REQUIRE(end.signal == 0);
        REQUIRE(end.code == 0);
        const auto error = caught(end.output);
        REQUIRE(error);
        CHECK(error->kind == Kind::peer_lost);
        CHECK((error->rank == victim || error->rank == -1));
        if (error->rank != victim) unnamed += ranks.all_output();
        slowest = std::max(slowest, seconds_between(killed[static_cast<size_t>(rank)], error->at));
      }
    }
  figure("R10", slowest,
         fmt::format("< 1 s until every survivor knows ({} rounds, N = 2 and 4, 0 deaths by signal)", rounds));
  CHECK(slowest < 1);
  CHECK(unnamed.empty());
}

// ---- a process hangs

TEST_CASE("ranks: work until one is stopped", "[.]") {
  ProcessGroup group = dist::init({.timeout = timeout_setting()});
  group.barrier();
  fmt::print("ready\n");
  std::fflush(stdout);
  const Tensor x = zeros({1 << 16});
  until_error(group, [&] {
    for (;;) group.all_reduce(x).wait();
  });
}

TEST_CASE("a rank that is stopped is named when the time is over") {
  if (!can_have_ranks()) return;
  constexpr double timeout = 5;  // in which all begin, too, on a machine with much else to do
  double slowest = 0;
  for (const int n : {2, 4}) {
    Ranks ranks(n, "ranks: work until one is stopped", {.variables = {{"TEST_TIMEOUT", std::to_string(timeout)}}});
    const int victim = n - 1;
    for (int rank = 0; rank < n; ++rank) REQUIRE(ranks.wait_for_output(rank, "ready"));
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    const std::vector<Moment> stopped = moments(ranks, n);
    ranks.send_signal(victim, SIGSTOP);
    std::vector<int> others;
    for (int rank = 0; rank < victim; ++rank) others.push_back(rank);
    const auto& ends = ranks.wait(others);
    INFO(ranks.all_output());
    for (const int rank : others) {
      const Ranks::End& end = ends[static_cast<size_t>(rank)];
      REQUIRE(end.code == 0);
      const auto error = caught(end.output);
      REQUIRE(error);
      CHECK(error->kind == Kind::timeout);
      CHECK(error->rank == victim);
      CHECK_THAT(error->text, ContainsSubstring(fmt::format("rank {} did not answer", victim)));
      slowest = std::max(slowest, seconds_between(stopped[static_cast<size_t>(rank)], error->at));
    }
    // Awake again, it learns that the others have gone.
    ranks.send_signal(victim, SIGCONT);
    CHECK(ranks.wait()[static_cast<size_t>(victim)].code == 0);
  }
  figure("R11", slowest, fmt::format("< {} s, the rank is named (SIGSTOP, timeout {} s)", timeout + 1, timeout));
  CHECK(slowest < timeout + 1);
}

TEST_CASE("ranks: one is late", "[.]") {
  ProcessGroup group = dist::init({.timeout = timeout_setting()});
  const Tensor x = zeros({10});
  for (int i = 0; i < 3; ++i) group.all_reduce(x).wait();
  if (group.rank() == 1) std::this_thread::sleep_for(std::chrono::duration<double>(timeout_setting() + 1.5));
  until_error(group, [&] { group.all_reduce(x).wait(); });
}

TEST_CASE("a rank that is alive but does not come is told from one that hangs") {
  if (!can_have_ranks()) return;
  Ranks ranks(3, "ranks: one is late", {.variables = {{"TEST_TIMEOUT", "3"}}});
  const auto& ends = ranks.wait();
  INFO(ranks.all_output());
  for (const Ranks::End& end : ends) REQUIRE(end.code == 0);
  for (const int rank : {0, 2}) {
    const auto error = caught(ends[static_cast<size_t>(rank)].output);
    REQUIRE(error);
    CHECK(error->kind == Kind::timeout);
    CHECK(error->rank == 1);
    CHECK_THAT(error->text, ContainsSubstring("rank 1 is alive but has not come, its last operation is #3"));
  }
}

// ---- told by others

TEST_CASE("ranks: wait to be told", "[.]") {
  ProcessGroup group = dist::init({.timeout = timeout_setting()});
  group.barrier();
  fmt::print("ready\n");
  std::fflush(stdout);
  const Tensor x = zeros({10});
  until_error(group, [&] {
    if (group.rank() == 0) wait_for_file(setting("TEST_GO"));  // the others wait for it
    group.all_reduce(x).wait();
  });
}

TEST_CASE("a failure that the launcher writes into the store ends what waits") {
  if (!can_have_ranks()) return;
  dist::StoreServer server("127.0.0.1", 0, "");
  const std::string url = fmt::format("tcp://127.0.0.1:{}", server.port());
  const Scratch scratch;
  const std::string go = scratch / "go";
  Ranks ranks(3, "ranks: wait to be told", {.store = url, .variables = {{"TEST_GO", go}}});
  for (int rank = 0; rank < 3; ++rank) REQUIRE(ranks.wait_for_output(rank, "ready"));
  const std::vector<Moment> told = moments(ranks, 3);
  const Box<dist::Store> store = dist::open_store(url, {.prefix = "test/"});
  store->set("abort/0", R"({"rank": 0, "message": "rank 0 was killed by signal 9"})");
  const auto& ends = ranks.wait({1, 2});
  write_file(go, "");
  ranks.wait();
  INFO(ranks.all_output());
  for (const int rank : {1, 2}) {
    const auto error = caught(ends[static_cast<size_t>(rank)].output);
    REQUIRE(error);
    CHECK(error->kind == Kind::peer_lost);
    CHECK(error->rank == 0);
    CHECK_THAT(error->text, ContainsSubstring("rank 0 was killed by signal 9"));
    CHECK(seconds_between(told[static_cast<size_t>(rank)], error->at) < 1);
  }
}

TEST_CASE("ranks: one vanishes before anything is connected", "[.]") {
  ProcessGroup group = dist::init({.timeout = timeout_setting()});
  meet(3);  // else it is gone while another one still is in init()
  if (group.rank() == 2) _exit(0);
  tell_begin();
  const Tensor x = zeros({10});
  until_error(group, [&] { group.all_reduce(x).wait(); });
}

TEST_CASE("a process that vanishes leaves word in a store that sees it") {
  if (!can_have_ranks()) return;
  dist::StoreServer server("127.0.0.1", 0, "");
  Ranks ranks(3, "ranks: one vanishes before anything is connected",
              {.store = fmt::format("tcp://127.0.0.1:{}", server.port())});
  const auto& ends = ranks.wait();
  INFO(ranks.all_output());
  for (const int rank : {0, 1}) {
    const Ranks::End& end = ends[static_cast<size_t>(rank)];
    CHECK(end.code == 0);
    const auto error = caught(end.output);
    REQUIRE(error);
    CHECK(error->kind == Kind::peer_lost);
    CHECK(error->rank == 2);
    CHECK(seconds_to_error(end.output).value_or(99) < 5);
  }
}

// ---- mistakes

namespace {

struct Mistake {
  const char* name;
  void (*one)(ProcessGroup& group);    ///< what rank 1 does
  void (*other)(ProcessGroup& group);  ///< what the others do
  Kind kind;
  const char* text;
};

void reduce_floats(ProcessGroup& group) { group.all_reduce(zeros({1000})).wait(); }

const Mistake mistakes[] = {
    {"count", [](ProcessGroup& g) { g.all_reduce(zeros({2000})).wait(); }, reduce_floats, Kind::mismatch,
     "rank 0: all_reduce #2 float32[1000] sum, rank 1: all_reduce #2 float32[2000] sum"},
    {"dtype", [](ProcessGroup& g) { g.all_reduce(zeros({1000}, {.dtype = int32})).wait(); }, reduce_floats,
     Kind::mismatch, "rank 1: all_reduce #2 int32[1000] sum"},
    {"reduction", [](ProcessGroup& g) { g.all_reduce(zeros({1000}), ReduceOp::max).wait(); }, reduce_floats,
     Kind::mismatch, "rank 1: all_reduce #2 float32[1000] max"},
    {"operation", [](ProcessGroup& g) { g.broadcast(zeros({1000})).wait(); }, reduce_floats, Kind::mismatch,
     "rank 0: all_reduce #2 float32[1000] sum, rank 1: broadcast #2 float32[1000] from 0"},
    {"root", [](ProcessGroup& g) { g.broadcast(zeros({1000}), 1).wait(); },
     [](ProcessGroup& g) { g.broadcast(zeros({1000}), 0).wait(); }, Kind::mismatch,
     "rank 0: broadcast #2 float32[1000] from 0, rank 1: broadcast #2 float32[1000] from 1"},
    {"barrier", [](ProcessGroup& g) { g.barrier(); }, reduce_floats, Kind::mismatch, "rank 1: barrier #2"},
    {"message", [](ProcessGroup& g) { g.recv(zeros({20}), 0).wait(); },
     [](ProcessGroup& g) {
       if (g.rank() == 0) g.send(zeros({10}), 1).wait();
       g.barrier();
     },
     Kind::mismatch, "send #1 float32[10]"},
    {"two sends", [](ProcessGroup& g) { g.send(zeros({10}), 0).wait(); },
     [](ProcessGroup& g) {
       if (g.rank() == 0) g.send(zeros({10}), 1).wait();
       g.barrier();
     },
     Kind::mismatch, "send and receive do not fit"},
    // Without comparing first, messages that differ never meet; the roll call tells what each rank does.
    {"count, unchecked",
     [](ProcessGroup& g) { dist::detail::all_reduce_unchecked(g, zeros({2000}), ReduceOp::sum).wait(); },
     [](ProcessGroup& g) { dist::detail::all_reduce_unchecked(g, zeros({1000}), ReduceOp::sum).wait(); },
     Kind::mismatch,
     "rank 0: all_reduce #2 float32[1000] sum (not compared), rank 1: all_reduce #2 float32[2000] sum (not compared)"},
    {"checked, unchecked",
     [](ProcessGroup& g) { dist::detail::all_reduce_unchecked(g, zeros({1000}), ReduceOp::sum).wait(); }, reduce_floats,
     Kind::mismatch, "rank 0: all_reduce #2 float32[1000] sum, rank 1: all_reduce #2 float32[1000] sum (not compared)"},
};

}  // namespace

TEST_CASE("ranks: make a mistake", "[.]") {
  ProcessGroup group = dist::init({.timeout = timeout_setting()});
  group.barrier();
  meet(group.size());  // else a failure ends the barrier of one that is slow
  const Mistake& mistake = mistakes[std::stoul(setting("TEST_MISTAKE"))];
  tell_begin();
  until_error(group, [&] { (group.rank() == 1 ? mistake.one : mistake.other)(group); });
}

TEST_CASE("ranks that differ are told so, all of them") {
  if (!can_have_ranks()) return;
  constexpr double timeout = 3;  // of those that nobody compares; the others do not wait for theirs
  double slowest = 0, overdue = 0;
  int silent = 0;
  for (size_t i = 0; i < std::size(mistakes); ++i) {
    const Mistake& mistake = mistakes[i];
    const bool waits = std::string_view(mistake.text).find("not compared") != std::string_view::npos;
    Ranks ranks(
        3, "ranks: make a mistake",
        {.variables = {{"TEST_MISTAKE", std::to_string(i)}, {"TEST_TIMEOUT", waits ? std::to_string(timeout) : "30"}}});
    const auto& ends = ranks.wait();
    INFO(mistake.name << "\n" << ranks.all_output());
    for (const Ranks::End& end : ends) {
      CHECK(end.code == 0);
      const auto error = caught(end.output);
      silent += !error;
      REQUIRE(error);
      CHECK(error->kind == mistake.kind);
      CHECK_THAT(error->text, ContainsSubstring(mistake.text));
      const double seconds = seconds_to_error(end.output).value_or(99);
      slowest = std::max(slowest, waits ? 0 : seconds);
      overdue = std::max(overdue, waits ? seconds : 0);
    }
  }
  figure("R12", slowest, "< 1 s where ranks compare what they do");
  figure("R12", overdue, fmt::format("< {} s where they do not, timeout {} s", timeout + 1, timeout));
  figure("R12", silent, fmt::format("silent results of {} kinds of mismatch, want 0", std::size(mistakes)));
  CHECK(slowest < 1);
  CHECK(overdue < timeout + 1);
}

// ---- the start

TEST_CASE("ranks: fail to start", "[.]") {
  if (setting("TEST_TOGETHER") == "1") meet(2);  // one timeout for both
  const Moment begin;
  try {
    dist::init({.timeout = timeout_setting()});
    FAIL("it did start");
  } catch (const CommError& error) {
    tell(error);
    CHECK(error.kind == Kind::setup);
    CHECK(seconds_since(begin) < timeout_setting() + 1);
    CHECK_THAT(error.what(), ContainsSubstring(setting("TEST_WANT")));
  }
}

TEST_CASE("ranks: start", "[.]") {
  ProcessGroup group = dist::init();
  group.barrier();
}

TEST_CASE("who is missing at the start is named") {
  run_ranks(2, "ranks: fail to start",
            {.variables = {{"WORLD_SIZE", "4"},
                           {"LOCAL_WORLD_SIZE", "4"},
                           {"TEST_TOGETHER", "1"},
                           {"TEST_TIMEOUT", "2"},
                           {"TEST_WANT", "2 of 4 processes did not come"}}});
}

TEST_CASE("a wrong token, and a store that is not there, are told at the start") {
  dist::StoreServer server("127.0.0.1", 0, "right");
  const std::string url = fmt::format("tcp://127.0.0.1:{}", server.port());
  run_ranks(2, "ranks: fail to start",
            {.store = url, .variables = {{"GRADUS_STORE_TOKEN", "wrong"}, {"TEST_WANT", "token"}}});
  run_ranks(1, "ranks: fail to start",
            {.store = "file:///proc/no/such/folder",
             .variables = {{"WORLD_SIZE", "2"}, {"TEST_TIMEOUT", "1"}, {"TEST_WANT", "/proc/no/such/folder"}}});
}

TEST_CASE("keys left over from an earlier job are noticed") {
  if (!can_have_ranks()) return;
  const Scratch scratch;
  const std::string url = "file://" + (scratch / "store");
  run_ranks(2, "ranks: start", {.store = url});
  run_ranks(2, "ranks: fail to start", {.store = url, .variables = {{"TEST_WANT", "has come to the store"}}});
  run_ranks(2, "ranks: start", {.store = url, .variables = {{"GRADUS_RESTART_COUNT", "1"}}});
}

// ---- several failures at once

TEST_CASE("whoever tells of a failure comes back when all groups have failed, also where another was first") {
  if (!can_have_ranks()) return;
  constexpr int threads = 8;
  std::atomic<int> begun{0};
  for (int round = 0; round < 8; ++round) {
    ThreadRanks ranks(2);
    std::latch all_there(threads);
    const auto fail = [&](ProcessGroup& group) {
      all_there.arrive_and_wait();
      group.handle()->fail("there is no going on");
      try {
        (void)group.all_reduce(ones({4}));
        ++begun;
      } catch (const CommError&) {
      }
    };
    ranks.run([&](ProcessGroup& group) {
      if (group.rank() != 0) return;
      std::vector<std::thread> running;
      for (int i = 0; i < threads; ++i) running.emplace_back([&] { fail(group); });
      for (std::thread& thread : running) thread.join();
    });
  }
  CHECK(begun == 0);
}

// ---- a stranger

namespace {

/// The TCP ports on which a process listens.
std::vector<int> listening_ports(pid_t process) {
  std::set<std::string> sockets;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(fmt::format("/proc/{}/fd", process), ignored))
    sockets.insert(std::filesystem::read_symlink(entry.path(), ignored).string());
  std::vector<int> ports;
  std::ifstream table("/proc/net/tcp");
  std::string line;
  std::getline(table, line);  // titles
  while (std::getline(table, line)) {
    unsigned address = 0, port = 0, state = 0, inode = 0;
    constexpr unsigned listening = 0x0a;
    if (std::sscanf(line.c_str(), " %*d: %x:%x %*x:%*x %x %*s %*s %*s %*d %*d %u", &address, &port, &state, &inode) !=
            4 ||
        state != listening)
      break;  // those come first, and thousands of connections that have ended may follow
    if (sockets.count(fmt::format("socket:[{}]", inode))) ports.push_back(static_cast<int>(port));
  }
  return ports;
}

/// Connects to the port of this machine, writes, and keeps the connection until the end.
class Stranger {
 public:
  Stranger(int port, const std::string& bytes) : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0)
      (void)!::write(fd_, bytes.data(), bytes.size());
  }
  Stranger(Stranger&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Stranger& operator=(Stranger&&) = delete;
  ~Stranger() {
    if (fd_ >= 0) ::close(fd_);
  }

 private:
  int fd_;
};

}  // namespace

TEST_CASE("ranks: are met by a stranger", "[.]") {
  ProcessGroup group = dist::init({.timeout = timeout_setting()});
  tell_begin();
  if (group.rank() == 1)  // the port of rank 0 is open, and waits for this rank
    wait_for_file(setting("TEST_GO"));
  const Tensor x = ones({1000});
  try {
    group.all_reduce(x).wait();
    CHECK(x.data<float>()[999] == 2);  // the stranger did no harm
  } catch (const CommError& error) {
    tell(error);
  }
}

TEST_CASE("a stranger at a port of a rank is an error in time, never a wrong result") {
  if (!can_have_ranks()) return;
  constexpr double timeout = 2;
  for (const std::string& bytes :
       {std::string(96, '\xff'), std::string(96, '\0'), std::string("GET / HTTP/1.0\r\n\r\n")}) {
    const Scratch scratch;
    const std::string go = scratch / "go";
    Ranks ranks(2, "ranks: are met by a stranger",
                {.limit = 20, .variables = {{"TEST_TIMEOUT", std::to_string(timeout)}, {"TEST_GO", go}}});
    std::vector<int> ports;
    while (ports.empty() && ranks.seconds() < 10) {
      ports = listening_ports(ranks.process(0));
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    if (ports.empty()) FAIL("rank 0 listens nowhere\n" << ranks.all_output());
    std::vector<Stranger> strangers;
    for (const int port : ports) strangers.emplace_back(port, bytes);
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    write_file(go, "");
    const auto& ends = ranks.wait();
    INFO(ranks.all_output());
    for (const Ranks::End& end : ends) {
      CHECK_FALSE(end.hung);
      CHECK(end.signal == 0);
      CHECK(end.code == 0);
      if (caught(end.output)) CHECK(seconds_to_error(end.output).value_or(99) < timeout + 1);
    }
  }
}

// ---- what is left behind

TEST_CASE("a failure leaves a record of the last operations") {
  if (!can_have_ranks()) return;
  const Scratch scratch;
  Ranks ranks(
      3, "ranks: make a mistake",
      {.variables = {{"TEST_MISTAKE", "0"}, {"TEST_TIMEOUT", "5"}, {"GRADUS_FLIGHT_RECORDER", scratch.path()}}});
  const auto& ends = ranks.wait();
  INFO(ranks.all_output());
  for (int rank = 0; rank < 3; ++rank) {
    CHECK(ends[static_cast<size_t>(rank)].code == 0);
    const std::string record = read_file(scratch / fmt::format("flight-world-rank{}.txt", rank));
    CHECK_THAT(record, ContainsSubstring("ranks differ"));
    CHECK_THAT(record, ContainsSubstring("done     barrier #1"));
    CHECK_THAT(record, ContainsSubstring("failed   all_reduce #2"));
  }
  // Without a folder, or with one that is not there, it is the log that has them.
  for (const std::string& folder : {std::string(), scratch / "absent"}) {
    std::map<std::string, std::string> variables = {{"TEST_MISTAKE", "0"}, {"TEST_TIMEOUT", "5"}};
    if (!folder.empty()) variables["GRADUS_FLIGHT_RECORDER"] = folder;
    Ranks logging(2, "ranks: make a mistake", {.variables = variables});
    logging.wait();
    for (int rank = 0; rank < 2; ++rank)
      CHECK_THAT(logging.output(rank), ContainsSubstring("its last operations:\ndone     barrier #1"));
  }
}
