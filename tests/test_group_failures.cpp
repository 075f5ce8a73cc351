// What becomes of a process group when another process dies, hangs or never comes: a typed error on every rank, in
// time, that names the one to blame. The figures R10 and R11 are printed.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <latch>
#include <random>
#include <thread>

#include <fmt/format.h>

#include "catch.h"
#include "moment.h"
#include "ranks.h"
#include "thread_ranks.h"
#include "told_errors.h"

#include <gradus/distributed/detail/group.h>
#include <gradus/gradus.h>

using namespace gradus;
using Catch::Matchers::ContainsSubstring;
using dist::ProcessGroup;
using dist::ReduceOp;
using Kind = CommError::Kind;

namespace {

/// This moment in the lives of all ranks.
std::vector<Moment> moments(const Ranks& ranks, int n) {
  std::vector<Moment> all;
  for (int rank = 0; rank < n; ++rank) all.emplace_back(ranks.process(rank));
  return all;
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

TEST_CASE("an error in a subgroup names the ranks by their numbers in the job, its field by that in the group") {
  if (!can_have_ranks()) return;
  ThreadRanks ranks(3);
  std::string text;
  int named = -2;
  ranks.run([&](ProcessGroup& group) {
    ProcessGroup pair = group.split(group.rank() == 0 ? -1 : 0, {.timeout = 2});
    pair.barrier();
    if (group.rank() != 1) return std::this_thread::sleep_for(std::chrono::seconds(3));
    try {
      pair.recv(ones({4}), 1).wait();
    } catch (const CommError& error) {
      text = error.what();
      named = error.rank;
    }
  });
  CHECK_THAT(text, ContainsSubstring("rank 2 is alive but has not come"));
  CHECK_THAT(text, ContainsSubstring("rank 1 waited 2 s in recv #1 float32[4] from 2"));
  CHECK(named == 1);
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

TEST_CASE("when an error has been thrown, nobody writes to the operation's tensors any more") {
  if (!can_have_ranks()) return;
  const Tensor inputs = normal({2, 1 << 20}, 0, 1);
  std::atomic<int> changed{0};
  for (int round = 0; round < 20; ++round) {
    ThreadRanks ranks(2);
    ranks.run([&](ProcessGroup& group) {
      const Tensor x = inputs[group.rank()].clone();
      try {
        const dist::Work running = group.all_reduce(x, ReduceOp::mean);
        std::this_thread::sleep_for(std::chrono::microseconds(300 * round));
        if (group.rank() == 0) group.handle()->fail("there is no going on");
        running.wait();
      } catch (const CommError&) {
      }
      const Tensor then = x.clone();
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
      changed += std::memcmp(x.data<float>(), then.data<float>(), static_cast<size_t>(x.nbytes())) != 0;
    });
  }
  CHECK(changed == 0);
}
