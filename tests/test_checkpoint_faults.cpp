// Checkpoints when something goes wrong: broken and full disks, kill -9, flipped bits, manifests made to deceive.
// Nothing of it costs the checkpoint before.
#include <signal.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <zlib.h>

#include <cerrno>
#include <chrono>
#include <random>
#include <thread>

#include "weights.h"

#include <gradus/fmt.h>

using namespace gradus;
using Catch::Matchers::ContainsSubstring;
using data::Checkpointer;
namespace fs = std::filesystem;

TEST_CASE("each of 10,000 flipped bits is found, and the checkpoint before is used") {
  const Scratch scratch;
  Weights weights;
  Checkpointer checkpoints(scratch.path(), quiet);
  for (const int64_t step : {1, 2}) save_step(checkpoints, weights, step);
  std::mt19937 random(3);
  int found = 0;
  constexpr int flips = 10'000;
  for (int i = 0; i < flips; ++i) {
    const std::string path =
        scratch / (i % 4 ? "step-00000002/rank-00000-of-00001.safetensors" : "step-00000002/manifest.json");
    const std::string whole = read_file(path);
    std::string flipped = whole;
    flipped[random() % flipped.size()] ^= static_cast<char>(1 << random() % 8);
    write_file(path, flipped);
    found += checkpoints.available() == std::vector<int64_t>{1};
    if (i % 1000 == 0) captured_stderr([&] { CHECK(checkpoints.resume(weights) == 1); });
    write_file(path, whole);
  }
  CHECK(checkpoints.available() == std::vector<int64_t>{1, 2});
  CHECK(found == flips);
  fmt::print("figure R5 {} of {} flipped bits found, target all\n", found, flips);
}

namespace {

/// A save of 30 into a folder with checkpoints 1 and 2.
struct Scenario {
  const char* name;
  int64_t step;
  bool can_exchange = true;  // two names in one step; NFS cannot
};
const Scenario scenarios[] = {
    {"a new step", 3}, {"a step anew", 2}, {"a step anew, where names cannot change places", 2, false}};

/// Makes the save. `fault` says what goes wrong, from the save's first call on.
void save_30(const Scenario& scenario, const std::string& folder, const data::sys::Fault& fault) {
  Weights weights;
  Checkpointer checkpoints(folder, quiet);
  for (const int64_t step : {1, 2}) save_step(checkpoints, weights, step);
  weights.set(30);
  data::sys::inject([&scenario, fault](int64_t call, std::string_view name) {
    const int error = fault(call, name);
    return name == "exchange" && !scenario.can_exchange ? EINVAL : error;
  });
  checkpoints.save(scenario.step, weights);
}

/// What a fresh program finds: the weights' value, and the checkpoints.
struct Found {
  float value;
  std::vector<int64_t> steps;
};
Found found_in(const std::string& folder) {
  Weights weights;
  Checkpointer checkpoints(folder, quiet);
  checkpoints.resume(weights);
  return {weights.value(), checkpoints.available()};
}

int64_t entries_in(const std::string& folder) { return std::distance(fs::directory_iterator(folder), {}); }

/// Whether the next save works, and cleans up.
bool goes_on(const std::string& folder) {
  Weights weights;
  Checkpointer checkpoints(folder, quiet);
  save_step(checkpoints, weights, 4);
  return resumed_step(folder) == 4 && entries_in(folder) == 2;
}

/// Saves while `fault` makes calls fail. Whether the save went through without an error.
bool survives(const Scenario& scenario, const data::sys::Fault& fault) {
  const Scratch scratch;
  std::string problem;
  const std::string warning = captured_stderr([&] {
    try {
      save_30(scenario, scratch.path(), fault);
    } catch (const CheckpointError& error) {
      problem = error.what();
    }
  });
  no_faults();
  INFO(problem << warning);
  const bool not_saved = problem.find(fmt::format("step {} was not saved", scenario.step)) != std::string::npos;
  const bool unsafe = problem.find(fmt::format("step {} is saved, but", scenario.step)) != std::string::npos;
  CHECK(not_saved + unsafe == !problem.empty());
  const int64_t entries = entries_in(scratch.path());
  const Found found = found_in(scratch.path());
  CHECK(found.value == (not_saved ? 2 : 30));
  // Behind a save that went through, the oldest is gone, or a warning says why something is left.
  const bool one_less = problem.empty() && found.steps == std::vector<int64_t>{2, 3};
  CHECK((one_less || found.steps == (scenario.step == 2 || not_saved ? std::vector<int64_t>{1, 2}
                                                                     : std::vector<int64_t>{1, 2, 3})));
  if (problem.empty()) CHECK((entries == 2) == warning.empty());
  CHECK(goes_on(scratch.path()));
  return problem.empty();
}

}  // namespace

TEST_CASE(
    "system calls of a save fail, one, two, or all from some moment on: a typed error that is true, and nothing older "
    "is lost") {
  int trials = 0, errors = 0;
  for (const Scenario& scenario : scenarios) {
    INFO(scenario.name);
    const int errors_before = errors;
    int64_t calls = 0;
    const auto attempt = [&](const data::sys::Fault& fault) {
      errors += !survives(scenario, fault);
      ++trials;
    };
    attempt([&](int64_t call, std::string_view) {
      calls = call;
      return 0;
    });
    CHECK(errors == errors_before);
    CHECK(calls > 15);
    for (int64_t k = 1; k <= calls; ++k) {
      INFO("call " << k << " of " << calls);
      for (const int error : {EIO, ENOSPC, EINTR, EACCES, data::sys::short_write}) {
        INFO("error " << error);
        attempt([=](int64_t call, std::string_view) { return call == k ? error : 0; });
      }
      INFO("and all behind it");
      attempt([=](int64_t call, std::string_view) { return call >= k ? EIO : 0; });
      for (int64_t next = k + 1; next <= calls; ++next) {
        INFO("and call " << next);
        attempt([=](int64_t call, std::string_view) { return call == k || call == next ? EIO : 0; });
      }
    }
  }
  CHECK(errors > 300);
  fmt::print("figure R3 {} saves with one, two or many failing calls, {} typed errors, 0 checkpoints lost, target 0\n",
             trials, errors);
}

TEST_CASE("where names cannot change places, a checkpoint is back at once when another does not come to its place") {
  const Scratch scratch;
  int renames = 0;
  CHECK_THROWS_WITH(
      save_30(scenarios[2], scratch.path(),
              [&](int64_t, std::string_view name) { return name == "rename" && ++renames == 2 ? EIO : 0; }),
      ContainsSubstring("step 2 was not saved"));
  no_faults();
  CHECK(fs::exists(scratch / "step-00000002/manifest.json"));
  CHECK(found_in(scratch.path()).value == 2);
}

TEST_CASE("kill -9 at each system call of a save leaves the checkpoint before, or the new one") {
  int kills = 0;
  for (const Scenario& scenario : scenarios) {
    bool killed = true;
    for (int64_t k = 1; killed; ++k) {
      const Scratch scratch;
      const pid_t child = fork();
      if (child == 0) {
        save_30(scenario, scratch.path(), [=](int64_t call, std::string_view) {
          if (call == k) kill(getpid(), SIGKILL);
          return 0;
        });
        _exit(0);
      }
      int status = 0;
      waitpid(child, &status, 0);
      killed = WIFSIGNALED(status);
      kills += killed;
      INFO(scenario.name << ", call " << k);
      const Found found = found_in(scratch.path());
      CHECK((found.value == 30 || (found.value == 2 && killed)));
      CHECK(std::ssize(found.steps) >= 2);
      CHECK(goes_on(scratch.path()));
    }
  }
  CHECK(kills > 60);
  fmt::print("figure R2 {} kills, one at each system call of a save, 0 torn or lost, target 0\n", kills);
}

TEST_CASE("kill -9 at any moment of a save leaves a valid checkpoint, and none that was acknowledged is lost") {
  const Scratch scratch;
  constexpr int rounds = 1000;
  int64_t acknowledged = 0;
  int torn = 0, lost = 0;
  int64_t half = 0;  // folders with a checkpoint's name that are none
  std::mt19937 random(4);
  for (int round = 0; round < rounds; ++round) {
    int pipe_ends[2];
    REQUIRE(pipe(pipe_ends) == 0);
    const pid_t child = fork();
    if (child == 0) {  // saves as fast as it can, and says after each save which step is safe
      close(pipe_ends[0]);
      Weights weights({{"w", 20'000}, {"b", 3}});
      Checkpointer checkpoints(scratch.path(), {.every = 1, .keep = 2, .async = round % 2 == 0, .signals = false});
      for (int64_t step = acknowledged + 1;; ++step) {
        weights.set(static_cast<float>(step));
        checkpoints.step(step, weights);
        checkpoints.wait();
        if (write(pipe_ends[1], &step, sizeof step) != sizeof step) _exit(1);
      }
    }
    close(pipe_ends[1]);
    int64_t step = 0;
    if (read(pipe_ends[0], &step, sizeof step) != sizeof step) FAIL("the child saved nothing");
    acknowledged = step;
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 20'000));
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
    while (read(pipe_ends[0], &step, sizeof step) == sizeof step) acknowledged = step;
    close(pipe_ends[0]);

    Weights weights({{"w", 20'000}, {"b", 3}});
    Checkpointer checkpoints(scratch.path(), quiet);
    const int64_t found = checkpoints.resume(weights);
    torn += weights.value() != static_cast<float>(found);
    lost += found < acknowledged;
    for (const auto& entry : fs::directory_iterator(scratch.path()))
      half += entry.path().filename().string().find('.') == std::string::npos;
    half -= static_cast<int64_t>(checkpoints.available().size());
    acknowledged = found;
  }
  CHECK(torn == 0);
  CHECK(lost == 0);
  CHECK(half == 0);
  fmt::print("figure R2 {} kills, {} torn, {} lost, {} half written, target 0\n", rounds, torn, lost, half);
}

TEST_CASE("a full disk is an error, the checkpoint before stays, and training may go on") {
  const Scratch scratch;
  if (geteuid() != 0 || mount("tmpfs", scratch.path().c_str(), "tmpfs", 0, "size=12m") != 0) {
    fmt::print("SKIPPED a full disk: mounting a small tmpfs needs root\n");
    return;
  }
  {
    Weights weights({{"w", 1'000'000}});  // 4 MB
    Checkpointer checkpoints(scratch.path(), {.keep = 1, .signals = false});
    save_step(checkpoints, weights, 1);
    write_file(scratch / "ballast", std::string(5 << 20, 'x'));
    weights.set(2);
    CHECK_THROWS_WITH(checkpoints.save(2, weights), ContainsSubstring("bytes") && ContainsSubstring("are free"));
    CHECK(checkpoints.available() == std::vector<int64_t>{1});
    // Other programs may take the space that was free when we asked: a folder without any for names.
    fail_call(4, ENOSPC);
    fs::remove(scratch / "ballast");
    CHECK_THROWS_WITH(checkpoints.save(2, weights), ContainsSubstring("No space left"));
    CHECK(checkpoints.available() == std::vector<int64_t>{1});
    no_faults();
    save_step(checkpoints, weights, 3);
    CHECK(checkpoints.available() == std::vector<int64_t>{3});
  }
  umount(scratch.path().c_str());
}

namespace {

/// A manifest whose last line is the CRC-32 of those above, as a reader wants it.
std::string signed_manifest(std::string text) {
  constexpr size_t last_line = sizeof "  \"crc32\": \"01234567\"\n}\n" - 1;
  text.resize(text.size() - last_line);
  const uLong crc = crc32(0, reinterpret_cast<const Bytef*>(text.data()), static_cast<uInt>(text.size()));
  return text + fmt::format("  \"crc32\": \"{:08x}\"\n}}\n", crc);
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  REQUIRE(at != std::string::npos);
  return text.replace(at, from.size(), to);
}

}  // namespace

TEST_CASE("a manifest that is made to deceive is refused, whatever its checksum") {
  const Scratch scratch;
  Weights weights;
  Checkpointer checkpoints(scratch.path(), quiet);
  for (const int64_t step : {1, 2}) save_step(checkpoints, weights, step);
  const std::string path = scratch / "step-00000002/manifest.json", whole = read_file(path);
  const std::string b = R"({"name": "model/b", "dtype": "F32", "shape": [3], "pieces": [[0, 0, 3]]})";
  struct Attack {
    std::string from, to;
  };
  const std::vector<Attack> attacks = {
      {"gradus-checkpoint-2", "gradus-checkpoint-1"},
      {"\"step\": 2", "\"step\": 1"},
      {"\"step\": 2", "\"step\": -2"},
      {"\"step\": 2", "\"step\": 2.0"},
      {"\"step\": 2", "\"step\": 18446744073709551618"},
      {"\"step\": 2,", "\"step\": 2, \"step\": 2,"},
      {"\"step\": 2,", "\"step\": 2, \"more\": 0,"},
      {"rank-00000-of-00001.safetensors", "../step-00000001/rank-00000-of-00001.safetensors"},
      {"rank-00000-of-00001.safetensors", "/etc/passwd"},
      {"rank-00000-of-00001.safetensors", "rank-00001-of-00001.safetensors"},
      {"rank-00000-of-00001.safetensors", "rank-00000-of-00002.safetensors"},
      {"\"size\": ", "\"size\": 9223372036854775807"},
      {"\"crc32\": \"", "\"crc32\": \"0x"},
      {"\"files\": [", "\"files\": [], \"rest\": ["},
      {"\"files\": [", std::string(100'000, '[')},
      {"\"F32\"", "\"F33\""},
      {"\"F32\"", "\"F64\""},
      {b, b + ", " + b},
      {b, replaced(b, "model/b", "model/w")},
      {b, replaced(b, "model/b", "model/\\u0000")},
      {b, replaced(b, "model/b", "model/\xff")},
      {b, replaced(b, "model/b", std::string(5000, 'b'))},
      {b, replaced(b, "[0, 0, 3]", "[1, 0, 3]")},
      {b, replaced(b, "[0, 0, 3]", "[9223372036854775807, 0, 3]")},
      {b, replaced(b, "[0, 0, 3]", "[0, 0, 4]")},
      {b, replaced(b, "[0, 0, 3]", "[0, 1, 3]")},
      {b, replaced(b, "[0, 0, 3]", "[0, 9223372036854775807, 3]")},
      {b, replaced(b, "[0, 0, 3]", "[0, 1, 9223372036854775807]")},
      {b, replaced(b, "[0, 0, 3]", "[0, 0, 0]")},
      {b, replaced(b, "[0, 0, 3]", "[0, 0, 2]")},
      {b, replaced(b, "[0, 0, 3]", "[0, 1, 2]")},
      {b, replaced(b, "[0, 0, 3]", "[0, 0, 1], [0, 2, 1]")},
      {b, replaced(b, "[0, 0, 3]", "[0, 0, 2], [0, 1, 2]")},
      {b, replaced(b, "[0, 0, 3]", "[0, 0, 3], [0, 0, 3]")},
      {b, replaced(b, "[[0, 0, 3]]", "[]")},
      {b, replaced(b, "[3]", "[4294967296, 4294967296, 4294967296]")},
      {b, replaced(b, "[3]", "[4611686018427387904, 3]")},
      {b, replaced(b, "[3]", "[1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 3]")},
      {b, replaced(b, "[3]", "[-3]")},
      {b, replaced(replaced(b, "[3]", "[9000000000]"), "[0, 0, 3]", "[0, 0, 9000000000]")},
      {b, replaced(b, "\"shape\"", "\"shapes\"")},
  };
  int refused = 0;
  const auto is_refused = [&](const std::string& text) {
    write_file(path, text);
    const bool result = checkpoints.available() == std::vector<int64_t>{1};
    refused += result;
    return result;
  };
  for (const auto& [from, to] : attacks) {
    INFO(from << " becomes " << to.substr(0, 200));
    CHECK(is_refused(signed_manifest(replaced(whole, from, to))));
  }
  for (size_t length = 0; length < whole.size(); ++length) CHECK(is_refused(whole.substr(0, length)));
  CHECK(is_refused(whole + ' '));
  CHECK(is_refused(whole + whole));
  captured_stderr([&] { CHECK(checkpoints.resume(weights) == 1); });
  write_file(path, signed_manifest(whole));
  CHECK(checkpoints.available() == std::vector<int64_t>{1, 2});
  fmt::print("figure R20 {} deceiving manifests refused, target all\n", refused);
}

TEST_CASE("a manifest that knows tensors which its files have not is an error, not a crash") {
  const Scratch scratch;
  Weights weights;
  Checkpointer checkpoints(scratch.path(), quiet);
  save_step(checkpoints, weights, 1);
  const std::string path = scratch / "step-00000001/manifest.json", whole = read_file(path);
  for (const auto& [from, to] : std::vector<std::pair<std::string, std::string>>{
           {"model/b", "model/c"}, {"[3], \"pieces\": [[0, 0, 3]]", "[2], \"pieces\": [[0, 0, 2]]"}}) {
    write_file(path, signed_manifest(replaced(whole, from, to)));
    CHECK_THROWS_AS(checkpoints.resume(weights), CheckpointError);
  }
}

TEST_CASE("a symbolic link in the place of a checkpoint's file is not followed, neither to read nor to write") {
  const Scratch scratch;
  Weights weights;
  Checkpointer checkpoints(scratch / "run", quiet);
  for (const int64_t step : {1, 2}) save_step(checkpoints, weights, step);
  for (const char* name : {"rank-00000-of-00001.safetensors", "manifest.json"}) {
    const std::string place = scratch / "run/step-00000002/" + name;
    fs::rename(place, scratch / name);
    fs::create_symlink(scratch / name, place);
    CHECK(checkpoints.available() == std::vector<int64_t>{1});
    int64_t found = 0;
    const std::string warning = captured_stderr([&] { found = checkpoints.resume(weights); });
    CHECK(found == 1);
    CHECK_THAT(warning, ContainsSubstring(name) && ContainsSubstring("is a symbolic link"));
    fs::rename(scratch / name, place);
    CHECK(checkpoints.available() == std::vector<int64_t>{1, 2});

    const std::string victim = write_file(scratch / "victim", "precious");
    data::sys::inject([&](int64_t, std::string_view call) {
      std::error_code ignored;
      for (const auto& entry : fs::directory_iterator(scratch / "run"))
        if (call == "open" && entry.path().string().find(".tmp-") != std::string::npos)
          fs::create_symlink(victim, entry.path() / name, ignored);
      return 0;
    });
    CHECK_THROWS_WITH(checkpoints.save(3, weights),
                      ContainsSubstring("step 3 was not saved") && ContainsSubstring("symbolic link"));
    no_faults();
    CHECK(read_file(victim) == "precious");
  }
}

TEST_CASE(
    "whatever is changed in a manifest, with a checksum that fits, is refused, an error, or makes no difference") {
  const Scratch scratch;
  Weights weights;
  Checkpointer checkpoints(scratch.path(), quiet);
  for (const int64_t step : {1, 2}) save_step(checkpoints, weights, step);
  const std::string path = scratch / "step-00000002/manifest.json", whole = read_file(path);
  const std::string letters = "{}[],:\"0123456789-.eE rankmodel/\\";
  std::mt19937 random(13);
  int refused = 0, errors = 0, same = 0;
  captured_stderr([&] {
    for (int i = 0; i < 10'000; ++i) {
      std::string changed = whole;
      for (unsigned edits = 1 + random() % 3; edits > 0; --edits) {
        const size_t at = random() % (changed.size() - 30);
        if (random() % 3 == 0)
          changed.erase(at, 1 + random() % 20);
        else if (random() % 2 == 0)
          changed.insert(at, changed.substr(random() % changed.size(), random() % 30));
        else
          changed[at] = letters[random() % letters.size()];
      }
      write_file(path, signed_manifest(changed));
      try {
        const int64_t step = checkpoints.resume(weights);
        if (weights.value() != static_cast<float>(step)) FAIL("other values");
        (step == 1 ? refused : same) += 1;
      } catch (const CheckpointError&) {
        ++errors;
      }
    }
  });
  CHECK(refused > 9'000);
  fmt::print("figure R6 manifests: {} changes refused, {} errors, {} without meaning, target no other\n", refused,
             errors, same);
}
