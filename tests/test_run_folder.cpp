// Run folders of several processes and of jobs that are started again. What a folder holds is tested in
// test_report.cpp. Hidden test cases are what the ranks run (ranks.h).
#include "catch.h"
#include "ranks.h"

#include <gradus/data/display/run_folder.h>
#include <gradus/distributed/detail/engine.h>

using namespace gradus;

TEST_CASE("run folder: a job that is started again finds its folder") {
  const Scratch scratch;
  const auto folder = [&](const char* job, int attempt) {
    dist::Env env;
    env.job = job;
    env.attempt = attempt;
    const RunFolder run({.root = scratch / "runs", .group = dist::init({.env = env})});
    return run.path();
  };
  const std::string first = folder("a/7", 0), other = folder("b", 0);
  CHECK(first != other);
  CHECK(folder("a/7", 1) == first);
  CHECK(folder("a/7", 2) == first);
  CHECK(folder("b", 1) == other);
  const std::string anew = folder("a/7", 0);  // the same name, but a job from the start
  CHECK(anew != first);
  CHECK(folder("a/7", 1) == anew);
  CHECK(folder("c", 1) != anew);  // the first attempt did not come so far
  CHECK(folder("", 1) != folder("", 1));
}

TEST_CASE("ranks: run folder", "[.]") {
  const dist::ProcessGroup world = dist::init();
  {
    RunFolder run({.root = setting("ROOT"), .group = world});
    for (const std::string& path : world.all_gather_text(run.path())) CHECK(path == run.path());
    CHECK(run.metrics().rows.empty());
    world.barrier();
    run.log({{"rank", world.rank()}});
    world.barrier();
    CHECK(run.metrics().rows.size() == 1);
    CHECK(run.metrics().rows[0].number("rank") == 0);
  }
  CHECK_THROWS_AS(RunFolder({.resume = setting("ROOT") + "/absent", .group = world}), IoError);
  world.barrier();
}

TEST_CASE("run folder: ranks share one, and rank 0 writes") {
  const Scratch scratch;
  if (dist::detail::find_gloo()) run_ranks(2, "ranks: run folder", {.variables = {{"ROOT", scratch / "runs"}}});
}
