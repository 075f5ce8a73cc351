// Groups and the store of their job: one that pauses, one that a rank serves, one that a rank leaves early. And groups
// of one process, which fail together.
#include <sys/stat.h>

#include <filesystem>
#include <random>
#include <thread>

#include <fmt/format.h>

#include "catch.h"
#include "free_port.h"
#include "ranks.h"
#include "thread_ranks.h"

#include <gradus/distributed/store.h>
#include <gradus/gradus.h>

using namespace gradus;
using Catch::Matchers::ContainsSubstring;
using dist::ProcessGroup;
using Kind = CommError::Kind;

namespace {

void sleep_for(double seconds) { std::this_thread::sleep_for(std::chrono::duration<double>(seconds)); }

void say(const std::string& line) {
  fmt::print("{}\n", line);
  std::fflush(stdout);
}

/// Among all ranks: that of the test, or the one that rank 0 serves where the test gave a port.
ProcessGroup init() {
  dist::InitOptions options{.timeout = 30};
  if (const std::string port = setting("TEST_PORT"); !port.empty()) {
    options.env.store = "tcp://127.0.0.1:" + port;
    options.env.hosts_store = options.env.rank == 0;
  }
  return dist::init(options);
}

/// The store of a launcher: in a process of its own, which can be stopped.
class Server {
 public:
  Server() : process_(1, "ranks: serve a store") {
    REQUIRE(process_.wait_for_output(0, "ready"));
    const std::string output = process_.output(0);
    const size_t begin = output.find("tcp://");
    url = output.substr(begin, output.find(' ', begin) - begin);
  }
  void stop() {
    process_.send_signal(0, SIGSTOP);
    waitpid(process_.process(0), nullptr, WUNTRACED);
  }
  void go_on() { process_.send_signal(0, SIGCONT); }
  /// With the keys of the jobs that Ranks makes.
  Box<dist::Store> open() const { return dist::open_store(url, {.prefix = "test/", .timeout = 20}); }

  std::string url;

 private:
  Ranks process_;
};

void check_all_ended_well(Ranks& ranks) {
  const auto& ends = ranks.wait();
  INFO(ranks.all_output());
  for (const Ranks::End& end : ends) {
    CHECK_FALSE(end.hung);
    CHECK(end.code == 0);
  }
}

}  // namespace

TEST_CASE("ranks: serve a store", "[.]") {
  const dist::StoreServer server("127.0.0.1", 0, "");
  say(fmt::format("tcp://127.0.0.1:{} is ready", server.port()));
  for (;;) pause();
}

// ---- a store that pauses: its machine is moved, its launcher is stopped for a while

TEST_CASE("ranks: start when it is time", "[.]") {
  if (setting("RANK") == "1")
    while (!std::filesystem::exists(setting("TEST_GO"))) sleep_for(0.005);
  init().barrier();
}

TEST_CASE("ranks meet in a store that pauses") {
  if (!can_have_ranks()) return;
  Server server;
  const Scratch scratch;
  Ranks ranks(2, "ranks: start when it is time",
              {.limit = 20, .store = server.url, .variables = {{"TEST_GO", scratch / "go"}}});
  server.open()->get("attempt/0/here/0", 20);
  server.stop();
  sleep_for(1.2);
  server.go_on();
  write_file(scratch / "go", "");
  check_all_ended_well(ranks);
}

TEST_CASE("ranks: work until they are told", "[.]") {
  ProcessGroup group = init();
  group.barrier();
  say("ready");
  try {
    for (const Tensor x = zeros({100});; sleep_for(0.01)) group.all_reduce(x).wait();
  } catch (const CommError& error) {
    say(fmt::format("told: {}", error.what()));
  }
}

TEST_CASE("a store that pauses ends nobody, and tells of failures afterwards") {
  if (!can_have_ranks()) return;
  Server server;
  Ranks ranks(2, "ranks: work until they are told", {.limit = 30, .store = server.url});
  for (int rank = 0; rank < 2; ++rank) REQUIRE(ranks.wait_for_output(rank, "ready"));
  server.stop();
  sleep_for(3);
  server.go_on();
  const Box<dist::Store> store = server.open();
  sleep_for(4.5);  // a look may have taken two seconds, and the next one comes two seconds later
  CHECK_FALSE(store->find("abort/0"));
  store->set("abort/0", R"({"rank": 0, "message": "a test ends this"})");
  check_all_ended_well(ranks);
  for (int rank = 0; rank < 2; ++rank) CHECK_THAT(ranks.output(rank), ContainsSubstring("a test ends this"));
}

TEST_CASE("ranks: meet somebody who dies", "[.]") {
  if (setting("RANK") == "1")
    for (;;) pause();
  try {
    init();
    FAIL("it did start");
  } catch (const CommError& error) {
    CHECK(error.kind == Kind::peer_lost);
    CHECK(error.rank == 2);
  }
}

TEST_CASE("a process that dies while the others come is noticed at once") {
  if (!can_have_ranks()) return;
  Server server;
  Ranks ranks(3, "ranks: meet somebody who dies", {.limit = 20, .store = server.url});
  const Box<dist::Store> store = server.open();
  for (const char* rank : {"0", "2"}) store->get(std::string("attempt/0/here/") + rank, 20);
  ranks.send_signal(2, SIGKILL);
  const auto& ends = ranks.wait({0});
  INFO(ranks.all_output());
  CHECK(ends[0].code == 0);
}

// ---- a store that rank 0 serves

TEST_CASE("ranks: the first one has nothing more to do", "[.]") {
  ProcessGroup world = init();
  ProcessGroup others = world.split(world.rank() == 0 ? -1 : 0);
  const Tensor large = full({4 << 20}, world.rank());
  world.broadcast(large).wait();
  CHECK(large.data<float>()[large.numel() - 1] == 0);
  if (world.rank() == 0) return;
  sleep_for(0.7);  // the watch looks into the store meanwhile
  const Tensor x = ones({1});
  others.all_reduce(x).wait();  // its first operation: members find each other by the store
  CHECK(x.item<float>() == static_cast<float>(world.size() - 1));
}

TEST_CASE("the rank that serves the store ends when the others have") {
  if (!can_have_ranks()) return;
  for (int round = 0; round < 3; ++round) {
    const FreePort port;
    Ranks ranks(4, "ranks: the first one has nothing more to do",
                {.limit = 25, .variables = {{"TEST_PORT", std::to_string(port.number())}}});
    check_all_ended_well(ranks);
    CHECK_THAT(ranks.all_output(), !ContainsSubstring("cannot look"));
  }
}

TEST_CASE("after a failure the rank that serves the store does not wait for one that hangs") {
  if (!can_have_ranks()) return;
  const FreePort port;
  Ranks ranks(3, "ranks: work until they are told",
              {.limit = 20, .variables = {{"TEST_PORT", std::to_string(port.number())}}});
  for (int rank = 0; rank < 3; ++rank) REQUIRE(ranks.wait_for_output(rank, "ready"));
  ranks.send_signal(1, SIGSTOP);
  ranks.send_signal(2, SIGKILL);
  const auto& ends = ranks.wait({0});
  INFO(ranks.all_output());
  CHECK_FALSE(ends[0].hung);
  CHECK_THAT(ends[0].output, ContainsSubstring("told"));
}

// ---- groups of one process fail together

TEST_CASE("ranks: two groups work until one is killed", "[.]") {
  ProcessGroup world = init(), other = world.split(0);
  other.barrier();
  say("ready");
  const auto is_lost = [](const ProcessGroup& group) {
    try {
      for (const Tensor x = zeros({1 << 16});;) group.all_reduce(x).wait();
    } catch (const CommError& error) {
      return error.kind == Kind::peer_lost;
    }
  };
  bool other_is_lost = false;
  std::thread thread([&] { other_is_lost = is_lost(other); });
  CHECK(is_lost(world));
  thread.join();
  CHECK(other_is_lost);
  if (!setting("TEST_LEAVE").empty()) _exit(other_is_lost ? 0 : 1);
}

namespace {

/// Both groups of all ranks but one end with an error.
void kill_one(
    Ranks& ranks, const std::function<void()>& before = [] {}) {
  static std::mt19937 random(2);
  const int n = 3, victim = static_cast<int>(random() % n);
  for (int rank = 0; rank < n; ++rank) REQUIRE(ranks.wait_for_output(rank, "ready"));
  std::this_thread::sleep_for(std::chrono::microseconds(random() % 30000));
  before();
  ranks.send_signal(victim, SIGKILL);
  const auto& ends = ranks.wait();
  INFO("rank " << victim << " was killed\n" << ranks.all_output());
  for (int rank = 0; rank < n; ++rank) {
    CHECK_FALSE(ends[static_cast<size_t>(rank)].hung);
    if (rank != victim) CHECK(ends[static_cast<size_t>(rank)].code == 0);
  }
}

}  // namespace

TEST_CASE("when a process dies, all groups of the others end that were busy") {
  if (!can_have_ranks()) return;
  for (int round = 0; round < std::stoi(setting("TEST_ROUNDS", "8")); ++round) {
    Ranks ranks(3, "ranks: two groups work until one is killed", {.limit = 20});
    kill_one(ranks);
  }
  // It takes long until the word is in the store: the other group notices the death before.
  Server server;
  Ranks ranks(3, "ranks: two groups work until one is killed", {.limit = 20, .store = server.url});
  kill_one(ranks, [&] { server.stop(); });
}

TEST_CASE("a folder for records that hangs keeps no group from ending") {
  if (!can_have_ranks()) return;
  const Scratch scratch;
  for (int rank = 0; rank < 3; ++rank)  // opening such a file takes until somebody reads it
    REQUIRE(mkfifo((scratch / fmt::format("flight-world-rank{}.txt", rank)).c_str(), 0600) == 0);
  Ranks ranks(3, "ranks: two groups work until one is killed",
              {.limit = 20, .variables = {{"GRADUS_FLIGHT_RECORDER", scratch.path()}, {"TEST_LEAVE", "1"}}});
  kill_one(ranks);
}
