// gradus-run on several machines: launchers that meet on the loopback, and in network namespaces where the kernel lets
// us make some.
#include <memory>

#include "free_port.h"
#include "launcher.h"
#include "two_machines.h"

#include <gradus/distributed/env.h>
#include <gradus/distributed/heartbeat.h>
#include <gradus/distributed/store.h>
#include <gradus/fmt.h>

using namespace gradus;
using Catch::Matchers::ContainsSubstring;

namespace {

std::string address_of(const FreePort& port) { return fmt::format("127.0.0.1:{}", port.number()); }

Words nodes(const std::string& count, const std::string& address, const Words& more = {}) {
  Words options = {"--nnodes", count, "--rdzv", address, "--nproc", "2", "--stop-timeout", "5"};
  options.insert(options.end(), more.begin(), more.end());
  return options;
}

/// Two machines that were given the same line; the first one serves the store.
struct Pair {
  Pair(const Words& more, const std::string& script) : line(shell(nodes("2", address, more), script)), first(line) {
    REQUIRE(first.says("waiting for 2 machines"));
    second = std::make_unique<Launcher>(line);
  }
  const FreePort port;
  const std::string address = address_of(port);
  const Words line;
  Launcher first;
  std::unique_ptr<Launcher> second;
};

}  // namespace

TEST_CASE("two machines share the ranks") {
  Pair pair({},
            "echo $RANK $LOCAL_RANK $GROUP_RANK $WORLD_SIZE $LOCAL_WORLD_SIZE $MASTER_ADDR:$MASTER_PORT $GRADUS_STORE");
  const Result first = pair.first.wait(), second = pair.second->wait();
  INFO(first.err << second.err);
  CHECK(first.code == 0);
  CHECK(second.code == 0);
  const std::string master =
      first.out.substr(first.out.find("127.0.0.1:"), first.out.find('\n') - first.out.find("127.0.0.1:"));
  CHECK_THAT(master, ContainsSubstring("tcp://" + pair.address));
  for (const char* rank : {"[rank0]: 0 0 0 4 2 ", "[rank1]: 1 1 0 4 2 "})
    CHECK_THAT(first.out, ContainsSubstring(rank + master));
  for (const char* rank : {"[rank2]: 2 0 1 4 2 ", "[rank3]: 3 1 1 4 2 "})
    CHECK_THAT(second.out, ContainsSubstring(rank + master));
}

TEST_CASE("a failure on one machine ends the attempt on all, and all start again together") {
  const Scratch folder;
  Pair pair({"--max-restarts", "1"}, "echo rank $RANK try $GRADUS_RESTART_COUNT; " + when_all(folder, 4) +
                                         "test $RANK = 3 && exit 9; exec sleep 30");
  const Result first = pair.first.wait(), second = pair.second->wait();
  INFO(first.err << second.err);
  CHECK(first.code == 9);
  CHECK(second.code == 9);
  CHECK(first.seconds < 15);
  for (const Result* result : {&first, &second}) {
    CHECK_THAT(result->err, ContainsSubstring("rank 3 failed: exit 9; starting again (1 of 1)"));
    CHECK_THAT(result->out, ContainsSubstring("try 0") && ContainsSubstring("try 1"));
  }
  // The first one's table has the rows of both.
  for (const char* row : {"     0 ", "     1 ", "     2 ", "*    3 "}) CHECK_THAT(first.err, ContainsSubstring(row));
}

TEST_CASE("a machine that is lost can come back") {
  Pair pair({"--max-restarts", "1"},
            "echo rank $RANK try $GRADUS_RESTART_COUNT; test $GRADUS_RESTART_COUNT = 1 || exec sleep 30");
  REQUIRE(pair.second->says("rank 2 try 0"));
  REQUIRE(pair.first.says("rank 1 try 0"));
  kill(pair.second->pid, SIGKILL);
  REQUIRE(pair.first.says("the launcher of node 1"));
  CHECK(pair.second->processes_after(1).empty());
  Launcher replacement(pair.line);
  const Result first = pair.first.wait(), second = replacement.wait();
  INFO(first.err << second.err);
  CHECK(first.code == 0);
  CHECK(second.code == 0);
  CHECK_THAT(second.out, ContainsSubstring("rank 3 try 1"));
}

TEST_CASE("the job ends with its first launcher") {
  Pair pair({"--max-restarts", "5"}, "echo ready; exec sleep 30");
  REQUIRE(pair.second->says("ready"));
  REQUIRE(pair.first.says("ready"));
  kill(pair.first.pid, SIGKILL);
  const Result second = pair.second->wait();
  CHECK(second.code == 1);
  CHECK_THAT(second.err, ContainsSubstring("the first launcher of the job is gone"));
  CHECK(pair.first.processes_after(1).empty());
  CHECK(pair.second->processes_after(1).empty());
}

TEST_CASE("a signal to one launcher ends the job everywhere") {
  Pair pair({"--max-restarts", "5"}, "echo ready; exec sleep 30");
  REQUIRE(pair.second->says("ready"));
  REQUIRE(pair.first.says("ready"));
  kill(pair.second->pid, SIGTERM);
  CHECK(pair.second->wait().code == 128 + SIGTERM);
  CHECK(pair.first.wait().code == 128 + SIGTERM);
}

TEST_CASE("of all machines only the one whose rank is behind says who hangs, and kills it") {
  const auto hangs = [](const std::string& rank, const std::string& step, const std::string& last_beat) {
    setenv("HANGS", (rank + " " + step + " " + last_beat).c_str(), 1);
    const FreePort port;
    const Words line = worker(nodes("2", address_of(port), {"--heartbeat", "3"}), "[.hangs]");
    Launcher first(line);
    REQUIRE(first.says("waiting for 2 machines"));
    Launcher second(line);
    const Result results[] = {first.wait(), second.wait()};
    unsetenv("HANGS");
    INFO(results[0].err << results[1].err);
    const std::string &table = results[0].err, warning = "gradus-run: rank ";
    CHECK_THAT(table, ContainsSubstring("failed after 1 attempt: rank " + rank + ": step " + step + ", forward for "));
    const size_t node = rank < "2" ? 0 : 1;
    CHECK_THAT(results[node].err, ContainsSubstring(warning + rank));
    CHECK_THAT(results[1 - node].err, !ContainsSubstring(warning));
    CHECK(table.find("SIGKILL") != table.npos);
    CHECK(table.find("SIGKILL") == table.rfind("SIGKILL"));  // one of them
  };
  hangs("3", "5", "0");  // heard of a second earlier than the others
  hangs("0", "4", "2");  // heard of a second later, but a step behind
}

TEST_CASE("with MIN:MAX fewer machines will do") {
  const FreePort port;
  const std::string address = address_of(port);
  const Words more = {"--last-call", "3", "--max-restarts", "1"};
  const std::string script =
      "echo size $WORLD_SIZE; test $GRADUS_RESTART_COUNT = 1 && exit 0; while ! test -e $STOP; do sleep 0.05; done; "
      "exit 3";
  const Scratch folder;
  setenv("STOP", (folder / "stop").c_str(), 1);
  Launcher first(shell(nodes("1:2", address, more), script));
  REQUIRE(first.says("size 2"));
  Launcher late(shell(nodes("1:2", address, more), script));  // takes part in the next attempt
  REQUIRE(late.says("waiting for its next attempt"));
  write_file(folder / "stop", "");
  const Result one = first.wait(), two = late.wait();
  INFO(one.err << two.err);
  CHECK(one.code == 0);
  CHECK(two.code == 0);
  CHECK_THAT(one.out, ContainsSubstring("size 4"));
  CHECK_THAT(two.out, ContainsSubstring("size 4"));
}

TEST_CASE("machines have the places that they were given") {
  const FreePort port;
  const std::string address = address_of(port), script = "echo node $GROUP_RANK";
  Launcher two(shell(nodes("3", address, {"--node-rank", "2"}), script)),
      one(shell(nodes("3", address, {"--node-rank", "1"}), script)),
      zero(shell(nodes("3", address, {"--node-rank", "0"}), script));
  CHECK_THAT(zero.wait().out, ContainsSubstring("node 0"));
  CHECK_THAT(one.wait().out, ContainsSubstring("node 1"));
  CHECK_THAT(two.wait().out, ContainsSubstring("node 2"));
}

TEST_CASE("machines that do not come, or are not of the job") {
  const FreePort port;
  const std::string address = address_of(port);
  const Result alone = run(shell(nodes("2", address, {"--rdzv-timeout", "0.5"}), "exit 0"));
  CHECK(alone.code == 1);
  CHECK(alone.seconds < 15);
  CHECK_THAT(alone.err, ContainsSubstring("1 of 2 machines came"));
  CHECK_THAT(run(shell(nodes("2", address, {"--rdzv-timeout", "0.5", "--node-rank", "1"}), "exit 0")).err,
             ContainsSubstring("refused"));

  setenv("GRADUS_STORE_TOKEN", "one", 1);
  Launcher first(shell(nodes("2", address), "exit 0"));
  REQUIRE(first.says("waiting"));
  setenv("GRADUS_STORE_TOKEN", "another", 1);
  const Result stranger = run(shell(nodes("2", address), "exit 0"));
  unsetenv("GRADUS_STORE_TOKEN");
  CHECK(stranger.code == 1);
  CHECK_THAT(stranger.err, ContainsSubstring("token"));
  kill(first.pid, SIGTERM);  // while it waits, which it would do for ten minutes
  const Result ended = first.wait();
  CHECK(ended.code == 128 + SIGTERM);
  CHECK(ended.seconds < 15);
}

TEST_CASE("a port that something else has is told") {
  const FreePort foreign;
  foreign.listen_only();
  const Result result = run(shell(nodes("2", address_of(foreign), {"--rdzv-timeout", "0.5"}), "exit 0"));
  CHECK(result.code == 1);
  CHECK_THAT(result.err, ContainsSubstring("does not answer") && ContainsSubstring("cannot listen there"));
}

// Two machines with a cable that can be pulled.
TEST_CASE("machines in network namespaces, and a cable that is pulled") {
  const Scratch folder;
  const TwoMachines machines(folder, R"(
line="$GRADUS_RUN --nnodes 2 --rdzv 10.77.0.1:29400 --nproc 2 --stop-timeout 2 sh -c"
ip netns exec a $line "$1" >$2/a 2>&1 & a=$!
ip netns exec b $line "$1" >$2/b 2>&1 & b=$!
if test "$3" = pull; then
  while ! grep -q rank3 $2/b || ! grep -q rank1 $2/a; do sleep 0.05; done
  ip -n a link set va down
fi
code=0
wait $a || code=$?
echo a $code
code=0
wait $b || code=$?
echo b $code
)",
                             50);
  if (!machines.exist()) return;
  setenv("GRADUS_RUN", GRADUS_RUN, 1);
  const auto in_namespaces = [&](const std::string& job, const std::string& cable) {
    const double start = now();
    machines.run(fmt::format("'{}' {} {}", job, folder.path(), cable), folder / "codes");
    INFO(read_file(folder / "a") << read_file(folder / "b") << read_file(folder / "codes"));
    return std::pair(read_file(folder / "codes"), now() - start);
  };
  CHECK(in_namespaces("test $RANK = 3 && sleep 0.2 && exit 6; exec sleep 30", "").first == "a 6\nb 6\n");
  const auto [codes, seconds] = in_namespaces("echo ready; exec sleep 40", "pull");
  CHECK(codes == "a 1\nb 1\n");
  fmt::print("a pulled cable ended both machines after {:.1f} s\n", seconds);
  CHECK(seconds < 20);
  CHECK_THAT(read_file(folder / "a"), ContainsSubstring("the launcher of node 1"));
  CHECK_THAT(read_file(folder / "b"), ContainsSubstring("the first launcher of the job is gone"));
}

// ---- workers

TEST_CASE("worker: one hangs, the others wait for it in step 5", "[.hangs]") {
  const dist::Env env = dist::Env::detect();
  int rank = 0, step = 0;
  double last_beat = 0;
  REQUIRE(std::sscanf(std::getenv("HANGS"), "%d %d %lf", &rank, &step, &last_beat) == 3);
  const auto store = dist::open_store(env.store, {.token = env.token, .prefix = env.job + "/", .timeout = 20});
  if (store->add("came", 1) == env.size) store->set("all", "");
  store->get("all", 20);
  if (env.rank == rank) {
    const double end = now() + last_beat;
    do {
      dist::heartbeat(step, "forward");
      store->set("hangs", "");
      sleep_for(0.1);
    } while (now() < end);
  } else {
    store->get("hangs", 20);
    sleep_for(1);
    dist::heartbeat(5, "all_reduce");
  }
  sleep_for(30);
}
