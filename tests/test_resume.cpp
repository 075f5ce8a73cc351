// Jobs whose processes are killed again and again, and that end with the bits of one that was left in peace. The hidden
// cases go on for as long as tools/soak says.
#include <chrono>
#include <random>

#include "thread_ranks.h"
#include "training_job.h"

namespace {

std::string undisturbed(int n, const JobOptions& options) {
  Job job(options);
  job.start(n);
  CHECK(job.exit_code() == 0);
  INFO(job.output());
  CHECK(job.weights().size() > 1000);
  return job.weights();
}

/// Whether the job ended well, with these weights, and never went back behind a checkpoint.
bool ended_as(Job& job, const std::string& wanted) {
  CHECK(job.exit_code() == 0);
  INFO(job.output());
  CHECK(job.weights() == wanted);
  CHECK_FALSE(job.lost_something());
  return job.weights() == wanted && !job.lost_something();
}

using Random = std::mt19937;
int below(Random& random, int n) { return static_cast<int>(random() % static_cast<unsigned>(n)); }

/// Lets the job make a few steps after its last restart, and a little more.
void let_run(Job& job, Random& random, int steps) {
  REQUIRE(job.wait_for_steps(below(random, steps)));
  std::this_thread::sleep_for(std::chrono::microseconds(below(random, 10'000)));
}

}  // namespace

TEST_CASE("worker: train", "[.]") { Worker().run(); }

TEST_CASE(
    "after kill -9 of a process, or of the whole job, again and again, it ends with the weights of an undisturbed "
    "run") {
  if (!can_have_ranks()) return;
  Random random(11);
  int kills = 0, equal_bits = 0;
  for (const auto& [n, rounds] : {std::pair(1, 4), std::pair(2, 10), std::pair(4, 6)}) {
    const JobOptions options{.steps = 15 * rounds, .async = n == 2};
    const std::string wanted = undisturbed(n, options);
    Job job(options);
    job.start(n);
    for (int round = 0; round < rounds; ++round, ++kills) {
      let_run(job, random, 7);
      if (below(random, 4) == 0) {
        job.kill_all();
        job.start(n);
      } else {
        job.kill_rank(below(random, n));
      }
    }
    equal_bits += ended_as(job, wanted);
  }
  fmt::print(
      "figure R1 {} kills, {} of 3 runs with the bits of an undisturbed one and no acknowledged step lost, target 20, "
      "all\n",
      kills, equal_bits);
}

TEST_CASE(
    "a job that comes back with another number of processes each time, ZeRO or not, ends with the same weights, too") {
  if (!can_have_ranks()) return;
  const JobOptions options{.steps = 80, .any_size = true};
  const std::string wanted = undisturbed(1, options);
  Random random(12);
  Job job(options);
  job.start(4);
  for (const int n : {2, 1, 4, 1, 2}) {
    let_run(job, random, 10);
    job.kill_all();
    job.start(n, n != 1);
  }
  fmt::print("figure R1 4, 2, 1, 4, 1 and 2 processes one after the other: {}, target the bits of one\n",
             ended_as(job, wanted) ? "the bits of one" : "other bits");
}

// ---- for hours: tools/soak

namespace {

double minutes() { return std::stod(std::getenv("GRADUS_SOAK_MINUTES") ? std::getenv("GRADUS_SOAK_MINUTES") : "1"); }
double now() {
  return std::chrono::duration<double, std::ratio<60>>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

int64_t median(std::vector<int64_t>& values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

}  // namespace

TEST_CASE("soak: kills", "[.]") {
  const JobOptions options{.steps = 150, .any_size = true, .limit = 600};
  const std::string wanted = undisturbed(1, options);
  Random random(static_cast<unsigned>(time(nullptr)));
  const double start = now();
  int jobs = 0, kills = 0, equal_bits = 0;
  for (; now() < start + minutes(); ++jobs) {
    Job job(options);
    int n = 1 << below(random, 3);
    job.start(n, below(random, 2) == 0);
    for (int round = 0; round < 10; ++round, ++kills) {
      let_run(job, random, 10);
      if (below(random, 2) == 0) {
        job.kill_rank(below(random, n));
      } else {
        job.kill_all();
        n = 1 << below(random, 3);
        job.start(n, below(random, 2) == 0);
      }
    }
    equal_bits += ended_as(job, wanted);
    fmt::print("{:7.1f} min  {} jobs, {} kills, {} with the bits of an undisturbed one\n", now() - start, jobs + 1,
               kills, equal_bits);
    std::fflush(stdout);
  }
  fmt::print("figure R1 {} kills, {} of {} jobs with the bits of an undisturbed one, target all\n", kills, equal_bits,
             jobs);
}

TEST_CASE("soak: memory", "[.]") {
  const double duration = minutes();
  Job job({.steps = 1'000'000'000, .async = true, .limit = static_cast<unsigned>(60 * duration + 60)});
  job.start(2);
  const double start = now();
  // A sample may fall into a save, which has a copy of what it writes: so medians, of the second quarter of the time
  // (in the first one caches fill) and of the last.
  constexpr size_t quarters = 4;
  std::vector<int64_t> kib[quarters], files[quarters];
  while (now() < start + duration) {
    std::this_thread::sleep_for(std::chrono::seconds(1));
    const Job::Memory memory = job.memory();
    const auto quarter = static_cast<size_t>((now() - start) / duration * quarters);
    if (quarter >= quarters || memory.kib == 0) continue;
    kib[quarter].push_back(memory.kib);
    files[quarter].push_back(memory.files);
  }
  job.stop();
  CHECK(job.exit_code() == 0);
  const auto rise = [](std::vector<int64_t>& from, std::vector<int64_t>& to) {
    REQUIRE_FALSE(from.empty());
    REQUIRE_FALSE(to.empty());
    return median(to) - median(from);
  };
  const double slope = static_cast<double>(rise(kib[1], kib[3])) / 1024 / (duration / 2) * 60;
  const int64_t more_files = rise(files[1], files[3]);
  fmt::print(
      "figure R19 {:.1f} minutes: memory {:+.2f} MiB an hour (medians {} KiB and {} KiB), target < 1; open files "
      "{:+}, target 0\n",
      duration, slope, median(kib[1]), median(kib[3]), more_files);
  CHECK(more_files == 0);
  if (duration >= 10) CHECK(slope < 1);  // in less, a few pages are much an hour
}
