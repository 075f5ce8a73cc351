// gradus-run on one machine: small programs are its workers. The hidden cases at the end are workers, too.
#include <sched.h>

#include <map>
#include <regex>

#include "launcher.h"

#include <gradus/core/error.h>
#include <gradus/distributed/detail/abort_word.h>
#include <gradus/distributed/detail/error_file.h>
#include <gradus/distributed/env.h>
#include <gradus/distributed/heartbeat.h>
#include <gradus/distributed/store.h>
#include <gradus/fmt.h>

using namespace gradus;
using Catch::Matchers::ContainsSubstring;
namespace fs = std::filesystem;

TEST_CASE("workers know who they are") {
  const Result result = run(shell({"--nproc", "3", "--rdzv-id", "night", "--max-restarts", "4"},
                                  "echo $RANK $LOCAL_RANK $GROUP_RANK $WORLD_SIZE $LOCAL_WORLD_SIZE $GRADUS_RUN_ID "
                                  "$GRADUS_RESTART_COUNT $GRADUS_MAX_RESTARTS ${#GRADUS_STORE_TOKEN} $MASTER_ADDR"));
  CHECK(result.code == 0);
  CHECK(result.err.empty());
  auto said = lines(result.out);
  std::sort(said.begin(), said.end());
  CHECK(said == Words{"[rank0]: 0 0 0 3 3 night 0 4 32 127.0.0.1", "[rank1]: 1 1 0 3 3 night 0 4 32 127.0.0.1",
                      "[rank2]: 2 2 0 3 3 night 0 4 32 127.0.0.1"});
  CHECK(run({"sh", "-c", "echo $WORLD_SIZE"}).out == "1\n");  // alone: no prefix
  CHECK(run({"--nproc", "auto", "--", "sh", "-c", "exit 5"}).code == 5);
  cpu_set_t all, some;
  REQUIRE(sched_getaffinity(0, sizeof all, &all) == 0);
  CPU_ZERO(&some);
  for (int cpu = 0; CPU_COUNT(&some) < std::min(2, CPU_COUNT(&all)); ++cpu)
    if (CPU_ISSET(cpu, &all)) CPU_SET(cpu, &some);
  sched_setaffinity(0, sizeof some, &some);
  CHECK(lines(run({"--nproc", "cpu", "sh", "-c", "echo x"}).out).size() == static_cast<size_t>(CPU_COUNT(&some)));
  sched_setaffinity(0, sizeof all, &all);
  setenv("GRADUS_NUM_THREADS", "3", 1);
  CHECK(run({"sh", "-c", "echo $GRADUS_NUM_THREADS"}).out == "3\n");
  unsetenv("GRADUS_NUM_THREADS");
}

TEST_CASE("workers meet in the launcher's store") {
  const Result result = run(worker({"--nproc", "3"}, "[.meets]"));
  INFO(result.err);
  CHECK(result.code == 0);
  CHECK_THAT(result.out, ContainsSubstring("sum 6"));
}

TEST_CASE("the exit code is that of the first failure") {
  CHECK(run(shell({"--nproc", "3"}, "exit 0")).code == 0);
  CHECK(run(shell({"--nproc", "2"}, "test $RANK = 0 || exit 9")).code == 9);
  CHECK(run(shell({}, "kill -SEGV $$")).code == 128 + SIGSEGV);
  CHECK(run(shell({}, "kill -KILL $$")).code == 128 + SIGKILL);
  CHECK(run({"/no/such/program"}).code == 127);
  CHECK(run({"/etc/passwd"}).code == 126);
  // Nothing is waited for that the others, who were not started, would write.
  double quickest = 60;
  for (int i = 0; i < 3; ++i) quickest = std::min(quickest, run({"--nproc", "3", "/no/such/program"}).seconds);
  CHECK(quickest < 2);

  const Scratch folder;
  const Result result = run(shell({"--nproc", "4"}, "trap 'echo told; exit 1' TERM; " + when_all(folder, 4) +
                                                        "test $RANK = 2 && exit 7; while :; do sleep 0.02; done"));
  CHECK(result.code == 7);
  CHECK(result.seconds < 15);
  CHECK_THAT(result.err, ContainsSubstring("rank 2 failed: exit 7") && ContainsSubstring("*    2"));
  CHECK(lines(result.out).size() == 3);  // the others were told
}

TEST_CASE("one who tells of another's failure is not to blame") {
  // Rank 0 notices that a peer is gone and ends before that peer, which has a second to do so, too.
  const Scratch folder;
  const Result result =
      run(shell({"--nproc", "2"},
                when_all(folder, 2) +
                    "if test $RANK = 0; then echo '{\"rank\":0,\"kind\":\"peer_lost\",\"message\":\"a peer is gone\"}' "
                    ">$GRADUS_ERROR_FILE; exit 3; else sleep 0.1; kill -KILL $$; fi"));
  CHECK(result.code == 128 + SIGKILL);
  CHECK_THAT(result.err, ContainsSubstring("rank 1 failed: SIGKILL"));
  // With nobody else to blame, it counts.
  CHECK(run(shell({"--nproc", "2"},
                  "echo '{\"rank\":0,\"kind\":\"timeout\",\"message\":\"nobody answers\"}' >$GRADUS_ERROR_FILE; "
                  "test $RANK = 1 && exec sleep 9; exit 3"))
            .code == 3);
}

TEST_CASE("whom the groups accuse is to blame") {
  const Result hung = run(worker({"--nproc", "2"}, "[.accuses]"));  // of hanging
  CHECK(hung.code == 3);
  CHECK(hung.seconds < 15);
  CHECK_THAT(hung.err,
             ContainsSubstring("failed after 1 attempt: rank 1 does not answer") && ContainsSubstring("*    1  "));
  setenv("ACCUSED", "exits", 1);
  const Result gone = run(worker({"--nproc", "2"}, "[.accuses]"));
  unsetenv("ACCUSED");
  CHECK(gone.code == 7);
  CHECK_THAT(gone.err, ContainsSubstring("rank 1 failed: exit 7"));
}

TEST_CASE("when the groups know nobody to blame, a failure that explains itself counts") {
  const Result result = run(worker({"--nproc", "2", "--max-restarts", "1"}, "[.blames_nobody]"));
  CHECK(result.code == 7);
  CHECK_THAT(result.err, ContainsSubstring("*    1  "));
  // It left no words: those of the groups are told, each time.
  CHECK_THAT(result.err, ContainsSubstring("rank 1 failed: exit 7; starting again (1 of 1)\n"
                                           "gradus-run: the groups failed: no rank is missing\n"
                                           "gradus-run: failed after 2 attempts: rank 1 failed: exit 7\n") &&
                             ContainsSubstring("\nthe groups failed: no rank is missing\n"));
}

TEST_CASE("what is told of a failure, and what is not understood") {
  using dist::detail::Failure;
  const auto same = Failure::parse(Failure{3, CommError::Kind::mismatch, "ranks \"differ\""}.text());
  REQUIRE(same);
  CHECK(same->rank == 3);
  CHECK(same->kind == CommError::Kind::mismatch);
  CHECK(same->message == "ranks \"differ\"");
  CHECK_FALSE(Failure::parse(Failure{0, {}, "x"}.text())->kind);
  for (const char* text : {"", "[]", "{}", "{\"message\":1}", "{\"rank\":1,\"kind\":\"timeout\"}"})
    CHECK_FALSE(Failure::parse(text));
  for (const char* rank : {"-2", "4294967297", "18446744073709551615", "1.5", "\"1\"", "null"}) {
    const auto odd = Failure::parse(fmt::format(R"({{"rank": {}, "kind": "odd", "message": "x"}})", rank));
    REQUIRE(odd);
    CHECK(odd->rank == -1);
    CHECK_FALSE(odd->kind);
  }
}

TEST_CASE("the table tells of each rank, and what the first to fail said") {
  const Result result = run(worker({"--nproc", "2"}, "[.throws]"));
  CHECK(result.code == 128 + SIGABRT);
  CHECK_THAT(result.err, ContainsSubstring("rank 1 said: all_reduce: \xef\xbf\xbd wrong"));  // no UTF-8: replaced
  CHECK_THAT(result.err, ContainsSubstring("step 417, backward"));
  for (const char* title : {"rank", "host", "ending", "last step", "log"})
    CHECK_THAT(result.err, ContainsSubstring(title));
  for (const std::string& junk : Words{"", "{", "[]", "{\"message\":1}", std::string(100000, '['), "\\377"}) {
    const Result other = run(shell({}, "printf '%s' '" + junk + "' >$GRADUS_ERROR_FILE; exit 4"));
    CHECK(other.code == 4);
    CHECK_THAT(other.err, !ContainsSubstring("said"));
  }
}

TEST_CASE("lines of output stay whole") {
  const Result result =
      run(shell({"--nproc", "4"},
                "i=0; while test $i -lt 500; do printf 'line %s' $i; printf ' of %s\\n' $RANK; echo e$i >&2; "
                "i=$((i+1)); done; printf 'no end'"));
  CHECK(result.code == 0);
  std::map<std::string, int> counts;
  for (const std::string& line : lines(result.out)) {
    const bool whole = std::regex_match(line, std::regex(R"(\[rank(\d)\]: (line \d+ of \1|no end))"));
    if (!whole) FAIL("a broken line: " << line);
    ++counts[line.substr(0, 8)];
  }
  CHECK(counts ==
        std::map<std::string, int>{{"[rank0]:", 501}, {"[rank1]:", 501}, {"[rank2]:", 501}, {"[rank3]:", 501}});
  CHECK(lines(result.err).size() == 2000);
  CHECK(result.out.back() == '\n');

  CHECK(run(shell({"--no-prefix", "--nproc", "2"}, "echo x")).out == "x\nx\n");
  CHECK(run(shell({"--log-prefix"}, "echo x")).out == "[rank0]: x\n");
  const Result endless =
      run(shell({"--log-prefix"}, "head -c 200000 /dev/zero | tr '\\0' x"));  // broken, but all there
  CHECK(std::count(endless.out.begin(), endless.out.end(), 'x') == 200000);
}

TEST_CASE("logs of each rank") {
  const Scratch folder;
  const Words redirect = {"--nproc", "2", "--max-restarts", "1", "--redirect", folder / "logs"};
  const std::string script = "echo out $RANK; echo err $RANK >&2; test $GRADUS_RESTART_COUNT = 1";
  const Result result = run(shell(redirect, script));
  CHECK(result.code == 0);
  CHECK(result.out.empty());
  for (const std::string attempt : {"0", "1"})
    for (const std::string rank : {"0", "1"}) {
      auto said = lines(read_file(folder / ("logs/" + attempt + "/rank" + rank + ".log")));
      std::sort(said.begin(), said.end());
      if (attempt == "1") CHECK(said == Words{"err " + rank, "out " + rank});
    }
  Words tee = redirect;
  tee.back() = folder / "tee";
  tee.push_back("--tee");
  CHECK_THAT(run(shell(tee, script)).out, ContainsSubstring("[rank1]: out 1"));
  CHECK_THAT(read_file(folder / "tee/1/rank1.log"), ContainsSubstring("out 1"));
  CHECK_THAT(run(shell({"--redirect", folder / "f"}, "exit 3")).err, ContainsSubstring(folder / "f/0/rank0.log"));
  CHECK(run(shell({"--redirect", "/proc/nothing"}, "exit 0")).code == 1);
  // Groups that fail leave their records there, too, wherever the worker has gone.
  run(shell({"--redirect", folder / "r"}, "cd /; echo there >$GRADUS_FLIGHT_RECORDER/record"));
  CHECK(read_file(folder / "r/0/record") == "there\n");
}

TEST_CASE("a full folder for temporary files is an error that names it") {
  const Scratch folder;
  const auto in_namespace = [&](const std::string& what) {
    const std::string script = write_file(
        folder / "script", "mount -t tmpfs -o size=16k none " + (folder / "full") + " && " + what + " >/dev/null");
    return std::system(fmt::format("timeout -s KILL 20 unshare -Urm sh {} 2>{}", script, folder / "err").c_str());
  };
  fs::create_directory(folder / "full");
  if (in_namespace("true") != 0) {
    fmt::print("a full disk: SKIPPED, unshare -Urm does not work here\n");
    return;
  }
  const std::string fill = "{ head -c 100000 /dev/zero >$TMPDIR/fill || true; }";
  const int status = in_namespace(fmt::format("export TMPDIR={} && {} && {} true", folder / "full", fill, GRADUS_RUN));
  CHECK(WEXITSTATUS(status) == 1);  // and no SIGBUS
  CHECK_THAT(read_file(folder / "err"),
             ContainsSubstring("heartbeat: No space left on device") && ContainsSubstring("TMPDIR"));
}

TEST_CASE("all ranks start again after a failure") {
  const Scratch folder;
  const Result result =
      run(shell({"--nproc", "2", "--max-restarts", "3"}, "echo $RANK/$GRADUS_RESTART_COUNT; " + when_all(folder, 2) +
                                                             "test $GRADUS_RESTART_COUNT = 2 && exit 0; "
                                                             "test $RANK = 1 && exit 3; exec sleep 30"));
  CHECK(result.code == 0);
  CHECK(result.seconds < 15);
  CHECK_THAT(result.err, ContainsSubstring("starting again (2 of 3)"));
  for (const char* line : {"0/0", "1/0", "0/1", "1/1", "0/2", "1/2"}) CHECK_THAT(result.out, ContainsSubstring(line));
  const Result spent = run(shell({"--max-restarts", "2"}, "echo try; exit 6"));
  CHECK(spent.code == 6);
  CHECK(lines(spent.out).size() == 3);
  CHECK_THAT(spent.err, ContainsSubstring("failed after 3 attempts"));
  CHECK(lines(run({"--max-restarts", "5", "/no/such/program"}).err).size() < 5);  // would not help
  const Result saved = run(shell({"--max-restarts", "5"}, "echo try; exit 75"));  // to be queued again, not started
  CHECK(saved.code == 75);
  CHECK(saved.out == "try\n");
}

TEST_CASE("the failure is told to the groups through the store") {
  const Result result = run(worker({"--nproc", "2"}, "[.watches]"));
  CHECK(result.code == 5);
  CHECK_THAT(result.out, ContainsSubstring("abort word") && ContainsSubstring("\"rank\":1"));
}

TEST_CASE("signals go to all workers") {
  const std::string patient =
      "trap 'echo usr1' USR1; trap 'echo saved; exit 0' TERM; trap 'echo int; exit 1' INT; echo ready; "
      "while :; do sleep 0.02; done";
  {
    Launcher launcher(shell({"--nproc", "2", "--max-restarts", "3"}, patient));
    REQUIRE(launcher.says("[rank0]: ready"));
    REQUIRE(launcher.says("[rank1]: ready"));
    kill(launcher.pid, SIGUSR1);
    REQUIRE(launcher.says("[rank0]: usr1"));
    REQUIRE(launcher.says("[rank1]: usr1"));
    kill(launcher.pid, SIGTERM);
    const Result result = launcher.wait();
    CHECK(result.code == 0);
    CHECK_THAT(result.out, ContainsSubstring("[rank0]: saved") && ContainsSubstring("[rank1]: saved"));
    CHECK(std::count(result.out.begin(), result.out.end(), '\n') == 6);  // each signal came once
  }
  {  // two at once are one
    Launcher launcher(shell({}, "trap 'sleep 0.3; echo saved; exit 0' TERM; echo ready; while :; do sleep 0.02; done"));
    REQUIRE(launcher.says("ready"));
    const auto first = std::chrono::steady_clock::now();
    kill(launcher.pid, SIGTERM);
    sleep_for(0.1);
    kill(launcher.pid, SIGTERM);
    const bool at_once = std::chrono::steady_clock::now() - first < std::chrono::milliseconds(300);
    const Result result = launcher.wait();
    if (at_once) CHECK(result.out == "ready\nsaved\n");
  }
  {
    Launcher launcher(shell({"--nproc", "2", "--max-restarts", "3"}, patient));
    REQUIRE(launcher.says("[rank1]: ready"));
    REQUIRE(launcher.says("[rank0]: ready"));
    kill(launcher.pid, SIGINT);
    CHECK(launcher.wait().code == 1);  // asked to stop: it does not start again
  }
  {
    Launcher launcher(shell({"--nproc", "2"}, "echo ready; exec sleep 30"));
    REQUIRE(launcher.says("[rank1]: ready"));
    kill(launcher.pid, SIGTERM);
    CHECK(launcher.wait().code == 128 + SIGTERM);
  }
}

TEST_CASE("a worker that does not end is killed") {
  const std::string stubborn = "while :; do sleep 0.05; done";
  const Scratch folder;
  {
    Launcher launcher(shell({"--nproc", "2", "--stop-timeout", "0.5"},
                            "trap '' TERM; " + when_all(folder, 2) + "test $RANK = 0 && exit 4; " + stubborn));
    const Result result = launcher.wait();
    CHECK(result.code == 4);
    CHECK(result.seconds > 0.5);
    CHECK(result.seconds < 15);
    CHECK_THAT(result.err, ContainsSubstring("SIGKILL"));
  }
  {
    Launcher launcher(
        shell({"--nproc", "2", "--stop-timeout", "30"}, "trap 'echo told' TERM; echo ready; " + stubborn));
    REQUIRE(launcher.says("[rank0]: ready"));
    REQUIRE(launcher.says("[rank1]: ready"));
    kill(launcher.pid, SIGTERM);
    REQUIRE(launcher.says("told"));
    sleep_for(0.6);
    kill(launcher.pid, SIGTERM);  // the second one means it
    const Result result = launcher.wait();
    CHECK(result.code == 128 + SIGKILL);
    CHECK(result.seconds < 15);
  }
}

TEST_CASE("a launcher that is killed leaves nothing behind") {
  int worst = 0;
  const int rounds = 10;
  for (int round = 0; round < rounds; ++round) {
    // Workers with children, in the background and behind a pipe; some that ignore signals.
    Launcher launcher(shell({"--nproc", "3"},
                            "trap '' TERM HUP; sleep 1000 & sleep 1000 | cat & echo $GRADUS_ERROR_FILE; sleep 1000"));
    if (round > 0) REQUIRE(launcher.says("[rank2]:"));  // the first round kills it while it starts them
    if (round > 1) CHECK(comes_true([&] { return launcher.processes().size() >= 10; }));
    const std::string said = launcher.out();
    kill(launcher.pid, SIGKILL);
    waitpid(std::exchange(launcher.pid, -1), nullptr, 0);
    const auto left = launcher.processes_after(1);
    worst = std::max(worst, static_cast<int>(left.size()));
    for (const pid_t pid : left) kill(pid, SIGKILL);
    if (const size_t at = said.find('/'); at != std::string::npos) {
      const std::string scratch = said.substr(at, said.find("/0-") - at);
      CHECK(comes_true([&] { return !fs::exists(scratch); }));
    }
  }
  fmt::print("figure R13 {} 0 processes left 1 s after kill -9 of the launcher, {} rounds\n", worst, rounds);
  CHECK(worst == 0);
}

TEST_CASE("what a worker leaves running ends with it") {
  Launcher launcher(shell({"--nproc", "2"}, "sleep 1000 & exit 0"));
  const Result result = launcher.wait();
  CHECK(result.code == 0);
  CHECK(result.seconds < 15);
  CHECK(launcher.processes_after(1).empty());
}

TEST_CASE("a rank that hangs is named") {
  Launcher launcher(worker({"--nproc", "3", "--heartbeat", "2.5", "--stop-timeout", "1"}, "[.hangs]"));
  const Result result = launcher.wait();
  INFO(result.err);
  CHECK(result.code != 0);
  CHECK(std::regex_search(
      result.err, std::regex("\ngradus-run: failed after 1 attempt: rank 1: step 5, forward for \\d+ s, others wait")));
  CHECK(std::regex_search(result.err,
                          std::regex("^gradus-run: rank 1: step 5, forward for \\d+ s, others wait")));  // before
  CHECK(result.seconds < 15);
  // A phase is any bytes, and told in words that must be UTF-8.
  setenv("PHASE", "\xff", 1);
  const Result garbled = run(worker({"--nproc", "2", "--heartbeat", "1.5", "--stop-timeout", "1"}, "[.hangs]"));
  unsetenv("PHASE");
  INFO(garbled.err);
  CHECK_THAT(garbled.err, ContainsSubstring("failed after 1 attempt: rank 1: step 5, \xef\xbf\xbd for"));
  // One that is slow but goes on is left alone.
  const Result slow = run(worker({"--nproc", "2", "--heartbeat", "3"}, "[.slow]"));
  INFO(slow.err);
  CHECK(slow.code == 0);
}

TEST_CASE("each worker has cores of its own") {
  const std::string cores = "grep Cpus_allowed_list /proc/self/status";
  const auto said = lines(run(shell({"--nproc", "2", "--no-prefix", "--bind-cores"}, cores)).out);
  REQUIRE(said.size() == 2);
  cpu_set_t usable;
  REQUIRE(sched_getaffinity(0, sizeof usable, &usable) == 0);
  if (CPU_COUNT(&usable) > 1) CHECK(said[0] != said[1]);
  CHECK(run(shell({"--nproc", "8", "--bind-cores"}, "exit 0")).code == 0);  // more workers than cores
}

TEST_CASE("what is not understood is refused, with a hint") {
  const auto refused = [](const Words& arguments, const std::string& word) {
    const Result result = run(arguments);
    INFO(fmt::format("{}", fmt::join(arguments, " ")));
    CHECK(result.code == 2);
    CHECK_THAT(result.err, ContainsSubstring(word) && ContainsSubstring("--help"));
  };
  refused({}, "no program");
  refused({"--nproc", "2"}, "no program");
  refused({"--nprocs", "2", "true"}, "unknown option --nprocs");
  refused({"--nproc"}, "needs a value");
  refused({"--tee=1", "true"}, "takes no value");
  refused({"--tee", "true"}, "--redirect");
  refused({"--nnodes", "2", "true"}, "--rdzv");
  for (const std::string bad : {"0", "-1", "x", "2x", "", "99999999999"}) {
    refused({"--nproc", bad, "true"}, "--nproc");
    refused({"--nnodes", bad, "--rdzv", "localhost:1", "true"}, "--nnodes");
  }
  for (const std::string bad : {"-1", "x", "1s", "", "nan", "inf"}) {
    refused({"--stop-timeout", bad, "true"}, "--stop-timeout");
    refused({"--heartbeat=" + bad, "true"}, "--heartbeat");
  }
  refused({"--nnodes", "3:2", "--rdzv", "localhost:1", "true"}, "--nnodes");
  for (const std::string bad : {"localhost", "localhost:0", "localhost:x", ":29400", "::1:29400", ""})
    refused({"--rdzv", bad, "true"}, "want HOST:PORT");
  refused({"--nproc_per_node=2", "true"}, "here it is --nproc");
  refused({"--max_restarts", "2", "true"}, "here it is --max-restarts");
  refused({"--rdzv-backend", "c10d", "true"}, "leave it out");
  const Result help = run({"--help"});
  CHECK(help.code == 0);
  CHECK(help.err.empty());
  for (const char* word : {"usage:", "--nproc 4 ./train", "--max-restarts", "--heartbeat", "Exit code"})
    CHECK_THAT(help.out, ContainsSubstring(word));
  for (const std::string& line : lines(help.out)) CHECK(line.size() <= 120);
  CHECK_THAT(run({"--version"}).out, ContainsSubstring("gradus-run 0."));
}

// ---- workers

TEST_CASE("worker: adds its rank in the store and reads the others'", "[.meets]") {
  const dist::Env env = dist::Env::detect();
  REQUIRE(env.starter == "gradus-run");
  const auto store = dist::open_store(env.store, {.token = env.token, .prefix = env.job + "/", .timeout = 10});
  store->add("sum", env.rank + 1);
  if (store->add("came", 1) == env.size) store->set("all", "");
  store->get("all", 10);
  if (env.rank == 0) fmt::print("sum {}\n", store->get("sum", 1));
}

TEST_CASE("worker: rank 1 throws what nobody catches", "[.throws]") {
  const dist::Env env = dist::Env::detect();
  dist::detail::write_uncaught_errors(env.rank);
  dist::heartbeat(417, "backward");
  if (env.rank == 0) sleep_for(20);
  std::thread([] { throw Error("all_reduce: \xff wrong"); }).join();
}

TEST_CASE("worker: rank 1 fails, rank 0 reads of it", "[.watches]") {
  const dist::Env env = dist::Env::detect();
  signal(SIGTERM, SIG_IGN);
  const auto store = dist::open_store(env.store, {.token = env.token, .prefix = env.job + "/", .timeout = 10});
  store->set(fmt::format("ready/{}", env.rank), "");
  store->get("ready/0", 20);
  if (env.rank == 1) _exit(5);
  fmt::print("abort word {}\n", store->get("abort/0", 10));
  std::fflush(stdout);  // the launcher's SIGTERM follows, and Catch gives the signals back when the case ends
}

TEST_CASE("worker: rank 0 accuses rank 1 and ends", "[.accuses]") {
  const dist::Env env = dist::Env::detect();
  const auto store = dist::open_store(env.store, {.token = env.token, .prefix = env.job + "/", .timeout = 10});
  if (env.rank == 1) {
    if (!std::getenv("ACCUSED")) sleep_for(30);
    store->get("abort/0", 20);
    _exit(7);
  }
  store->set("abort/0", R"({"rank": 1, "kind": "timeout", "message": "rank 1 does not answer"})");
  _exit(3);
}

TEST_CASE("worker: rank 0 cannot say why its group failed, rank 1 ends after it", "[.blames_nobody]") {
  const dist::Env env = dist::Env::detect();
  const auto store = dist::open_store(env.store, {.token = env.token, .prefix = env.job + "/", .timeout = 20});
  const std::string rank_0 = fmt::format("rank 0 of {}", env.attempt);
  if (env.rank == 1) {
    const int other = std::stoi(store->get(rank_0, 20));
    comes_true([&] { return kill(other, 0) != 0; });  // the launcher has seen its end
    _exit(7);
  }
  const dist::detail::Failure failure{-1, CommError::Kind::timeout, "no rank is missing"};
  store->set(dist::detail::abort_key(env.attempt), failure.text());
  write_file(std::getenv("GRADUS_ERROR_FILE"), failure.text());
  store->set(rank_0, std::to_string(getpid()));
  _exit(3);
}

TEST_CASE("worker: rank 1 hangs in step 5", "[.hangs]") {
  const dist::Env env = dist::Env::detect();
  const auto store = dist::open_store(env.store, {.token = env.token, .prefix = env.job + "/", .timeout = 20});
  if (store->add("came", 1) == env.size) store->set("all", "");
  store->get("all", 20);  // who waits here for one that starts late does not hang
  const char* const phase = std::getenv("PHASE");
  dist::heartbeat(5, phase ? phase : "forward");
  if (env.rank == 1) store->set("hangs", "");
  store->get("hangs", 20);  // ranks are never far from each other
  if (env.rank != 1) dist::heartbeat("all_reduce");
  sleep_for(30);
}

TEST_CASE("worker: steps of half a second", "[.slow]") {
  for (int step = 0; step < 8; ++step) {
    dist::heartbeat(step, "forward");
    sleep_for(0.5);
  }
}
