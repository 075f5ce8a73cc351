// Checkpoints that many ranks write and any number of ranks reads. Ranks are threads where only their number matters,
// processes where signals and deaths do.
#include <signal.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <memory>
#include <random>
#include <thread>

#include "ranks.h"
#include "thread_ranks.h"
#include "weights.h"

#include <gradus/fmt.h>

using namespace gradus;
using Catch::Matchers::ContainsSubstring;
using data::Checkpointer;
using dist::ProcessGroup;
namespace fs = std::filesystem;

namespace {

/// Element i of tensor number `tensor`.
double value_of(size_t tensor, int64_t i) {
  return static_cast<double>((i * 7 + static_cast<int64_t>(tensor) * 31) % 251);
}
Tensor filled(size_t tensor, const Shape& shape, Dtype dtype) {
  const Tensor x = empty({shape.numel()}, {.dtype = float64});
  for (int64_t i = 0; i < x.numel(); ++i) x.mutable_data<double>()[i] = value_of(tensor, i);
  return x.to(dtype).reshape(shape);
}
bool same(const Tensor& a, const Tensor& b) { return a.dtype() == b.dtype() && a.shape() == b.shape() && equal(a, b); }

/// A model as all ranks have it: sizes that are cut and sizes that are not, every dtype, no dims, no elements.
struct Model : Stateful {
  NamedTensors entries;
  explicit Model(bool with_values) {
    const std::vector<std::pair<Shape, Dtype>> kinds = {
        {{40'007}, float32}, {{3}, float32},      {{}, float64},     {{0, 4}, float32},   {{129, 257}, bfloat16},
        {{100'003}, uint8},  {{70'001}, boolean}, {{5, 6}, float16}, {{30, 1000}, int64}, {{7}, int32}};
    for (size_t i = 0; i < kinds.size(); ++i)
      entries.push_back({fmt::format("layer.{}", i), with_values ? filled(i, kinds[i].first, kinds[i].second)
                                                                 : zeros(kinds[i].first, {.dtype = kinds[i].second})});
  }
  bool is_restored() const {
    const Model wanted(true);
    for (size_t i = 0; i < entries.size(); ++i)
      if (!same(entries[i].tensor, wanted.entries[i].tensor)) return false;
    return true;
  }
  const char* state_name() const override { return "model"; }
  NamedTensors state_dict() const override { return entries; }
  void load_state_dict(const NamedTensors& state) override {
    if (state.size() != entries.size()) throw CheckpointError("model: other entries");
    for (NamedTensor& entry : entries) entry.tensor = require(state, entry.name, "model");
  }
};

/// Moments of an optimizer: whole on each rank, or each rank has its elements of all tensors laid one after the other.
struct Moments : Stateful {
  static constexpr int64_t sizes[] = {5, 20'011, 1, 0, 9'000};
  bool sliced;
  int64_t step;
  NamedTensors whole;
  std::vector<StateSlice> slices;

  Moments(bool with_values, bool with_slices, int rank, int ranks) : sliced(with_slices), step(with_values ? 12 : 0) {
    int64_t total = 0, start = 0;
    for (const int64_t size : sizes) total += size;
    const int64_t first = total * rank / ranks, last = total * (rank + 1) / ranks;
    for (size_t i = 0; i < std::size(sizes); start += sizes[i++]) {
      const std::string name = fmt::format("exp_avg.{}", i);
      const Tensor all = filled(i, {sizes[i]}, float32);
      const int64_t begin = std::clamp<int64_t>(first - start, 0, sizes[i]),
                    end = std::clamp<int64_t>(last - start, 0, sizes[i]);
      const Tensor own = all.slice(0, begin, end);
      if (sliced)
        slices.push_back({name, {sizes[i]}, begin, with_values ? own : zeros_like(own)});
      else
        whole.push_back({name, with_values ? all : zeros_like(all)});
    }
  }
  bool is_restored(int rank, int ranks) const {
    const Moments wanted(true, sliced, rank, ranks);
    bool good = step == 12;
    for (size_t i = 0; i < whole.size(); ++i) good &= same(whole[i].tensor, wanted.whole[i].tensor);
    for (size_t i = 0; i < slices.size(); ++i) good &= same(slices[i].values, wanted.slices[i].values);
    return good;
  }
  const char* state_name() const override { return "optimizer"; }
  NamedTensors state_dict() const override {
    NamedTensors all = whole;
    all.push_back({"step", scalar_tensor(step)});
    return all;
  }
  void load_state_dict(const NamedTensors& state) override {
    if (state.size() != whole.size() + 1) throw CheckpointError("optimizer: other entries");
    step = require(state, "step", "optimizer").item<int64_t>();
    for (NamedTensor& entry : whole) entry.tensor = require(state, entry.name, "optimizer");
  }
  std::vector<StateSlice> state_slices() const override { return slices; }
  void load_state_slices(const std::vector<StateSlice>& given) override {
    if (given.size() != slices.size()) throw CheckpointError("optimizer: other slices");
    for (const StateSlice& from : given)
      for (StateSlice& to : slices)
        if (to.name == from.name) to.values = from.values;
  }
};

std::vector<std::unique_ptr<ThreadRanks>> all_groups() {
  std::vector<std::unique_ptr<ThreadRanks>> groups;
  for (const int n : {1, 2, 3, 4, 8}) groups.push_back(std::make_unique<ThreadRanks>(n));
  return groups;
}

void save_all(ThreadRanks& ranks, const std::string& folder, int64_t step, bool sliced) {
  ranks.run([&](ProcessGroup& group) {
    Model model(true);
    Moments moments(true, sliced, group.rank(), group.size());
    Checkpointer(folder, {.signals = false, .group = group}).save(step, model, moments);
  });
}

/// Whether all ranks found everything as it was, with slices and without.
bool are_restored(ThreadRanks& ranks, const std::string& folder, int64_t step) {
  std::atomic<int> good = 0;
  ranks.run([&](ProcessGroup& group) {
    Checkpointer checkpoints(folder, {.signals = false, .group = group});
    for (const bool sliced : {false, true}) {
      Model model(false);
      Moments moments(false, sliced, group.rank(), group.size());
      const int64_t found = checkpoints.resume(model, moments);
      good += found == step && model.is_restored() && moments.is_restored(group.rank(), group.size());
    }
  });
  return good == 2 * ranks.size();
}

/// Files of the ranks, largest last.
std::vector<uintmax_t> file_sizes(const std::string& folder) {
  std::vector<uintmax_t> sizes;
  for (const auto& entry : fs::directory_iterator(folder))
    if (entry.path().extension() == ".safetensors") sizes.push_back(entry.file_size());
  std::sort(sizes.begin(), sizes.end());
  return sizes;
}

}  // namespace

TEST_CASE("any number of ranks reads what any number wrote, with the optimizer's state in slices or whole") {
  if (!can_have_ranks()) return;
  const auto groups = all_groups();
  int pairs = 0, equal_bits = 0;
  for (const auto& from : groups) {
    for (const bool written_in_slices : {false, true}) {
      const Scratch scratch;
      save_all(*from, scratch.path(), 7, written_in_slices);
      const std::vector<uintmax_t> sizes = file_sizes(scratch / "step-00000007");
      CHECK(std::ssize(sizes) == from->size());
      CHECK(sizes.back() - sizes.front() < 150'000);  // of about 800,000 bytes
      for (const auto& to : groups) {
        ++pairs;
        equal_bits += are_restored(*to, scratch.path(), 7);
      }
    }
  }
  CHECK(equal_bits == pairs);
  fmt::print("figure R15 {} of {} changes of the number of ranks bit-equal, slices or not, target all\n", equal_bits,
             pairs);
}

TEST_CASE("each rank has its random numbers back; another number of ranks goes on as rank 0 at a distance") {
  if (!can_have_ranks()) return;
  const Scratch scratch;
  const auto groups = all_groups();
  const auto drawn = [&](ThreadRanks& ranks, bool saving) {
    std::vector<int64_t> numbers(static_cast<size_t>(ranks.size()));
    ranks.run([&](ProcessGroup& group) {
      Checkpointer checkpoints(scratch.path(), {.signals = false, .group = group});
      if (saving) rand({100 + group.rank()}), checkpoints.save(1);
      if (!saving) checkpoints.resume();
      numbers[static_cast<size_t>(group.rank())] = randint(1 << 30, {1}).item<int64_t>();
    });
    return numbers;
  };
  const std::vector<int64_t> three = drawn(*groups[2], true);
  CHECK(drawn(*groups[2], false) == three);
  CHECK(drawn(*groups[0], false)[0] == three[0]);
  std::vector<int64_t> eight = drawn(*groups[4], false);
  CHECK(eight == drawn(*groups[4], false));
  CHECK(eight[0] == three[0]);
  std::sort(eight.begin(), eight.end());
  CHECK(std::adjacent_find(eight.begin(), eight.end()) == eight.end());
}

TEST_CASE("when a system call fails on any rank, all ranks say so, and the checkpoint before stays") {
  if (!can_have_ranks()) return;
  ThreadRanks ranks(3);
  const Scratch scratch;
  std::atomic<int> calls = 0, errors = 0, wrong = 0, lost = 0;
  ranks.run([&](ProcessGroup& group) {
    Weights weights;
    Checkpointer checkpoints(scratch.path(), {.signals = false, .group = group});
    const bool first = group.rank() == 0;
    int64_t step = 0;
    for (const int error : {EIO, ENOSPC}) {
      bool reached = true;
      for (int64_t k = 1; reached; ++k) {
        save_step(checkpoints, weights, ++step);
        group.barrier();
        if (first) fail_call(k, error);
        group.barrier();
        bool failed = false;
        try {
          save_step(checkpoints, weights, ++step);
        } catch (const CheckpointError& problem) {
          failed = true;
          const std::string text = problem.what();
          const bool saved = text.find(fmt::format("step {} is saved, but", step)) != std::string::npos;
          wrong += saved ? text.find("rank 0: ") == std::string::npos
                         : text.find(fmt::format("step {} was not saved: rank ", step)) == std::string::npos;
        }
        group.barrier();
        reached = data::sys::calls() >= k;
        group.barrier();
        if (first) no_faults(), calls += reached;
        errors += failed;
        const int64_t found = checkpoints.resume(weights);
        lost += (found != step && !(failed && found == step - 1)) || weights.value() != static_cast<float>(found);
      }
    }
  });
  CHECK(wrong == 0);
  CHECK(lost == 0);
  CHECK(errors > 3 * 20);
  CHECK(errors % 3 == 0);
  fmt::print("figure R3 3 ranks: {} failing calls, typed errors on all ranks, {} checkpoints lost, target 0\n", calls,
             lost);
}

TEST_CASE(
    "a rank whose disk is slower than the group's timeout neither ends the job nor stops the training meanwhile") {
  if (!can_have_ranks()) return;
  constexpr double timeout = 8, slow = 11, limit = 45;
  constexpr int steps_meanwhile = 50;
  constexpr int64_t save_at = 1'000'000;
  ThreadRanks ranks(2);
  const Scratch scratch;
  std::atomic<int> steps = 0, syncs = 0;
  std::atomic<bool> on_disk = false;
  const auto sync_slowly = [&](int64_t, std::string_view name) {  // one rank's, and once
    if (name != "fsync" || ++syncs != 1) return 0;
    const int before = steps;
    const auto start = std::chrono::steady_clock::now();
    const auto seconds = [&] {
      return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    };
    while ((seconds() < slow || steps < before + 2 * steps_meanwhile) && seconds() < limit)
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    on_disk = true;
    return seconds() < limit ? 0 : EIO;
  };
  const EndFaults end;
  ranks.run([&](ProcessGroup& world) {
    const ProcessGroup group = world.split(0, {.timeout = timeout});
    Weights weights;
    weights.set(save_at);
    Checkpointer checkpoints(scratch.path(), {.every = save_at, .signals = false, .group = group});
    group.barrier();
    if (group.rank() == 0) data::sys::inject(sync_slowly);
    group.barrier();
    const Tensor done = zeros({1});
    for (int64_t step = save_at; done.item<float>() == 0; ++step) {
      checkpoints.step(step, weights);
      done.fill_(on_disk.load());
      group.all_reduce(done, dist::ReduceOp::max).wait();
      ++steps;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    checkpoints.wait();
  });
  CHECK(resumed_step(scratch.path()) == save_at);
}

TEST_CASE("damage that only one rank sees makes all ranks take the checkpoint before") {
  if (!can_have_ranks()) return;
  ThreadRanks three(3), two(2);
  const Scratch scratch;
  for (const int64_t step : {1, 2}) save_all(three, scratch.path(), step, true);
  const auto steps_found = [&](ThreadRanks& ranks) {
    std::vector<int64_t> steps(static_cast<size_t>(ranks.size()));
    const std::string warning = captured_stderr([&] {
      ranks.run([&](ProcessGroup& group) {
        Model model(false);
        Moments moments(false, false, group.rank(), group.size());
        steps[static_cast<size_t>(group.rank())] =
            Checkpointer(scratch.path(), {.signals = false, .group = group}).resume(model, moments);
      });
    });
    const size_t first = warning.find("step-00000002 is damaged");
    CHECK((first == std::string::npos) == (steps[0] == 2));
    CHECK(warning.find("is damaged", first + 20) == std::string::npos);  // one rank says so
    return steps;
  };
  Checkpointer alone(scratch.path(), quiet);
  std::vector<std::string> files;
  for (const auto& entry : fs::directory_iterator(scratch / "step-00000002")) files.push_back(entry.path().string());
  CHECK(files.size() == 4);
  std::mt19937 random(9);
  int found = 0;
  constexpr int flips = 200;
  for (int i = 0; i < flips; ++i) {
    const std::string& path = files[static_cast<size_t>(i) % files.size()];
    const std::string whole = read_file(path);
    std::string flipped = whole;
    flipped[random() % flipped.size()] ^= static_cast<char>(1 << random() % 8);
    write_file(path, flipped);
    found += alone.available() == std::vector<int64_t>{1};
    if (i < 4) {
      CHECK(steps_found(three) == std::vector<int64_t>{1, 1, 1});
      CHECK(steps_found(two) == std::vector<int64_t>{1, 1});
    }
    write_file(path, whole);
  }
  CHECK(found == flips);
  CHECK(steps_found(three) == std::vector<int64_t>{2, 2, 2});
  fmt::print("figure R5 3 ranks: {} of {} flipped bits found, target all\n", found, flips);
}

TEST_CASE("ranks that do not fit together are told so, all of them") {
  if (!can_have_ranks()) return;
  ThreadRanks ranks(2);
  const Scratch scratch;
  write_file(scratch / "file", "");
  const auto message_on_all = [&](const std::function<void(ProcessGroup&)>& body, const std::string& wanted) {
    std::atomic<int> told = 0;
    ranks.run([&](ProcessGroup& group) {
      try {
        body(group);
      } catch (const CheckpointError& error) {
        told += std::string(error.what()).find(wanted) != std::string::npos;
      }
    });
    INFO(wanted);
    CHECK(told == 2);
  };
  const auto save = [&](ProcessGroup& group, const std::string& folder, const Weights& weights) {
    Checkpointer checkpoints(folder, {.signals = false, .group = group});
    checkpoints.save(1, const_cast<Weights&>(weights));
  };
  message_on_all([&](ProcessGroup& group) { save(group, scratch / (group.rank() ? "file" : "folder"), Weights()); },
                 "rank 1: cannot make the folder");
  message_on_all([&](ProcessGroup& group) { save(group, scratch / (group.rank() ? "here" : "there"), Weights()); },
                 "rank 1: Checkpointer: cannot create");
  message_on_all(
      [&](ProcessGroup& group) {
        save(group, scratch / "other", Weights({{"w", 100 + group.rank()}}));
      },
      "other things to save");
  struct Broken : Weights {
    bool broken = false;
    NamedTensors state_dict() const override {
      if (broken) throw std::runtime_error("no state today");
      return Weights::state_dict();
    }
  };
  for (const bool async : {false, true})
    message_on_all(
        [&](ProcessGroup& group) {
          Broken weights;
          Checkpointer checkpoints(scratch / "broken", {.every = 1, .async = async, .signals = false, .group = group});
          weights.broken = group.rank() == 1;
          try {
            checkpoints.step(1, weights);
            checkpoints.wait();
          } catch (const CheckpointError&) {
            weights.broken = false;
            checkpoints.step(2, weights);  // training goes on
            checkpoints.wait();
            throw;
          }
        },
        "step 1 was not saved: rank 1: no state today");
  message_on_all(
      [&](ProcessGroup& group) {
        Weights weights;
        Checkpointer checkpoints(scratch / "fits", {.signals = false, .group = group});
        checkpoints.save(1, weights);
        Weights other({{group.rank() ? "v" : "w", 100}, {"b", 3}});
        checkpoints.resume(other);
      },
      "does not fit this program: rank 1: model: missing v");
}
