// Checkpoints of one process: what is saved comes back bit for bit. What can go wrong is in test_checkpoint_faults.cpp,
// many processes are in test_checkpoint_ranks.cpp.
#include <signal.h>

#include <cerrno>

#include "weights.h"

#include <gradus/fmt.h>

using namespace gradus;
using Catch::Matchers::ContainsSubstring;
using data::Checkpointer;
namespace fs = std::filesystem;

TEST_CASE("the newest checkpoint comes back, and only the newest are kept") {
  const Scratch scratch;
  Weights weights;
  Checkpointer checkpoints(scratch / "deep/folder", {.every = 10, .keep = 2, .signals = false});
  CHECK(checkpoints.resume(weights) == 0);
  for (int64_t step = 1; step <= 45; ++step) {
    weights.set(static_cast<float>(step));
    CHECK(checkpoints.step(step, weights) == (step % 10 == 0));
  }
  checkpoints.wait();
  CHECK(checkpoints.available() == std::vector<int64_t>{30, 40});
  CHECK(resumed_step(scratch / "deep/folder") == 40);
  CHECK(std::distance(fs::directory_iterator(scratch / "deep/folder"), {}) == 2);
}

TEST_CASE("an asynchronous save has the values of its step, whatever training does next") {
  const Scratch scratch;
  Weights weights({{"w", 1'000'000}});
  {
    Checkpointer checkpoints(scratch.path(), {.every = 1, .signals = false});
    weights.set(1);
    CHECK(checkpoints.step(1, weights));
    weights.set(2);
  }
  Checkpointer checkpoints(scratch.path(), quiet);
  CHECK(checkpoints.resume(weights) == 1);
  CHECK(weights.value() == 1);
}

TEST_CASE("everything with state is saved: twins, the loader, the random generator") {
  const Scratch scratch;
  const auto loader = [] {
    return data::DataLoader(data::TensorDataset(arange(40), arange(40)), {.batch = 4, .shuffle = true, .workers = 1});
  };
  Weights model, first({{"m", 5}}, "optimizer"), second({{"m", 5}}, "optimizer");
  data::DataLoader batches = loader();
  manual_seed(5);
  std::vector<float> noise;
  std::vector<int64_t> order;
  {
    Checkpointer checkpoints(scratch.path(), quiet);
    int64_t step = 0;
    for (auto& batch : batches) {
      const float drawn = rand({1}).item<float>();
      if (++step == 4) {
        model.set(1), first.set(2), second.set(3);
        checkpoints.save(step, model, first, second, batches);
        model.set(0), first.set(0), second.set(0);
      }
      if (step > 4) noise.push_back(drawn), order.push_back(batch.input[0].item<int64_t>());
    }
  }
  manual_seed(99);
  data::DataLoader again = loader();
  Checkpointer checkpoints(scratch.path(), quiet);
  CHECK(checkpoints.resume(model, first, second, again) == 4);
  CHECK(model.value() == 1);
  CHECK(first.value() == 2);
  CHECK(second.value() == 3);
  std::vector<float> noise_again;
  std::vector<int64_t> order_again;
  for (auto& batch : again)
    noise_again.push_back(rand({1}).item<float>()), order_again.push_back(batch.input[0].item<int64_t>());
  CHECK(order.size() == 6);
  CHECK(noise_again == noise);
  CHECK(order_again == order);
}

namespace {

struct Net : nn::Module {
  nn::Linear fc1{6, 16}, fc2{16, 3};
  nn::BatchNorm1d norm{16};
  nn::Dropout drop{0.3};
  Tensor forward(Tensor x) { return fc2(drop(relu(norm(fc1(x))))); }
  GRADUS_MODULE(fc1, fc2, norm, drop)
};

/// A small training with everything that has state; the bits that it ends with.
class Training {
 public:
  explicit Training(const std::string& folder)
      : checkpoints_(folder, {.every = 1, .keep = 1, .async = false, .signals = false}) {}

  /// Goes on from the newest checkpoint, and stops behind `last` steps as a killed process would.
  std::string run(int64_t last) {
    std::string losses;
    for (int64_t step = checkpoints_.resume(net_, opt_, schedule_, loader_); step < last;) {
      for (auto& [x, y] : loader_) {
        const Tensor loss = cross_entropy(net_(x), y);
        opt_.zero_grad();
        loss.backward();
        opt_.step();
        schedule_.step();
        losses += bytes_of(loss.item<float>());
        checkpoints_.step(++step, net_, opt_, schedule_, loader_);
        if (step == last) break;
      }
    }
    return losses;
  }
  std::string weights() const {
    std::string bytes;
    for (const auto& [name, x] : net_.state_dict())
      bytes.append(static_cast<const char*>(x.raw_data()), static_cast<size_t>(x.nbytes()));
    return bytes;
  }

 private:
  static data::TensorDataset examples() {
    Generator generator(8);
    const UseGenerator use(generator);
    return {randn({22, 6}), randint(3, {22}), [](const Tensor& x) { return x + rand(x.shape()); }};
  }
  Net net_;
  optim::AdamW opt_{net_.parameters(), {.lr = 1e-2}};
  optim::OneCycle schedule_{opt_, {.max_lr = 5e-2, .steps = 20}};
  data::DataLoader loader_{examples(), {.batch = 4, .shuffle = true, .seed = 3, .workers = 2}};
  Checkpointer checkpoints_;
};

}  // namespace

TEST_CASE("a training that is stopped after any step and resumed ends with the same bits") {
  constexpr int64_t steps = 20;  // three epochs of six steps, and two
  const Scratch whole;
  manual_seed(1);
  Training undisturbed(whole.path());
  const std::string losses = undisturbed.run(steps);
  for (int64_t stop = 1; stop < steps; ++stop) {
    const Scratch scratch;
    manual_seed(1);
    std::string resumed_losses = Training(scratch.path()).run(stop);
    manual_seed(static_cast<uint64_t>(100 + stop));  // another process begins anywhere
    Training resumed(scratch.path());
    resumed_losses += resumed.run(steps);
    INFO("stopped after " << stop);
    CHECK(resumed_losses == losses);
    CHECK(resumed.weights() == undisturbed.weights());
  }
}

TEST_CASE("another model is an error that lists the names, and the file is blamed, not skipped") {
  const Scratch scratch;
  Weights weights, other({{"w", 100}, {"bias", 3}}), extra({{"e", 1}}, "scheduler");
  Checkpointer checkpoints(scratch.path(), quiet);
  save_step(checkpoints, weights, 1);
  CHECK_THROWS_WITH(checkpoints.resume(other), ContainsSubstring("missing bias") && ContainsSubstring("unknown b") &&
                                                   ContainsSubstring("step-00000001"));
  CHECK_THROWS_AS(checkpoints.resume(weights, extra), CheckpointError);
  checkpoints.save(2, weights, extra);
  CHECK_THROWS_WITH(checkpoints.resume(weights), ContainsSubstring("scheduler/e"));
}

TEST_CASE("the same step may be saved again") {
  const Scratch scratch;
  Weights weights;
  Checkpointer checkpoints(scratch.path(), quiet);
  for (const float value : {5.f, 6.f}) {
    weights.set(value);
    checkpoints.save(7, weights);
  }
  weights.set(0);
  CHECK(checkpoints.resume(weights) == 7);
  CHECK(weights.value() == 6);
  CHECK(std::distance(fs::directory_iterator(scratch.path()), {}) == 1);
}

TEST_CASE("a damaged checkpoint is skipped with a warning that names it; when all are, that is an error") {
  const Scratch scratch;
  Weights weights;
  Checkpointer checkpoints(scratch.path(), quiet);
  for (const int64_t step : {1, 2}) save_step(checkpoints, weights, step);
  fs::resize_file(scratch / "step-00000002/rank-00000-of-00001.safetensors", 100);
  int64_t step = 0;
  const std::string warning = captured_stderr([&] { step = checkpoints.resume(weights); });
  CHECK(step == 1);
  CHECK(weights.value() == 1);
  CHECK_THAT(warning, ContainsSubstring("step-00000002 is damaged") && ContainsSubstring("warning"));
  CHECK(checkpoints.available() == std::vector<int64_t>{1});
  fs::remove(scratch / "step-00000001/manifest.json");
  captured_stderr([&] { CHECK_THROWS_WITH(checkpoints.resume(weights), ContainsSubstring("all 2 checkpoints")); });
}

TEST_CASE("a damaged checkpoint takes no place of those that are kept, and goes when training has gone on without it") {
  const Scratch scratch;
  Weights weights;
  Checkpointer before(scratch.path(), quiet);
  for (const int64_t step : {10, 15, 20}) save_step(before, weights, step);
  fs::remove(scratch / "step-00000020/manifest.json");
  Checkpointer checkpoints(scratch.path(), quiet);
  captured_stderr([&] { CHECK(checkpoints.resume(weights) == 15); });
  save_step(checkpoints, weights, 16);
  CHECK(checkpoints.available() == std::vector<int64_t>{15, 16});
  CHECK(std::distance(fs::directory_iterator(scratch.path()), {}) == 2);
  for (const int64_t step : {17, 20, 25}) save_step(checkpoints, weights, step);  // 20 is whole now
  CHECK(checkpoints.available() == std::vector<int64_t>{20, 25});
}

TEST_CASE("checkpoints of later steps are left alone, and take no place of those that are kept") {
  const Scratch scratch;
  Weights weights;
  Checkpointer checkpoints(scratch.path(), quiet);
  for (const int64_t step : {90, 95, 3, 4, 5}) save_step(checkpoints, weights, step);
  CHECK(checkpoints.available() == std::vector<int64_t>{4, 5, 90, 95});
}

TEST_CASE("a failure of the writer is thrown by a later call, once") {
  const Scratch scratch;
  Weights weights;
  Checkpointer checkpoints(scratch.path(), {.every = 1, .signals = false});
  fail_call(1, EIO);
  checkpoints.step(1, weights);
  CHECK_THROWS_WITH(checkpoints.wait(), ContainsSubstring("Input/output error"));
  checkpoints.wait();
  fail_call(1, EIO);
  checkpoints.step(2, weights);
  CHECK_THROWS_AS(checkpoints.step(3, weights), CheckpointError);
  no_faults();
  checkpoints.step(4, weights);
  checkpoints.wait();
  CHECK(checkpoints.available() == std::vector<int64_t>{4});
}

TEST_CASE("after a signal the step is saved, and then it is time to stop") {
  const Scratch scratch;
  Weights weights;
  for (const int number : {SIGINT, SIGTERM, SIGUSR1}) {
    Checkpointer checkpoints(scratch.path(), {.every = 1000});
    weights.set(static_cast<float>(number));
    CHECK_FALSE(checkpoints.step(number - 1, weights));
    CHECK_FALSE(checkpoints.stop());
    raise(number);
    CHECK(checkpoints.step(number, weights));
    CHECK(checkpoints.stop());
    CHECK_FALSE(checkpoints.step(number + 1, weights));
    CHECK(checkpoints.available().back() == number);
    fs::remove_all(scratch / fmt::format("step-{:08}", number));
  }
}

TEST_CASE("nonsense is refused by name") {
  const Scratch scratch;
  Weights weights;
  CHECK_THROWS_WITH(Checkpointer(scratch.path(), {.every = -1}), ContainsSubstring("every is -1"));
  CHECK_THROWS_WITH(Checkpointer(scratch.path(), {.keep = 0}), ContainsSubstring("keep is 0"));
  write_file(scratch / "file", "");
  CHECK_THROWS_AS(Checkpointer(scratch / "file"), CheckpointError);
  Checkpointer checkpoints(scratch.path(), quiet);
  CHECK_THROWS_WITH(checkpoints.save(-1, weights), ContainsSubstring("steps_done is -1"));
  fs::create_directory(scratch / "step-1");  // names that are no checkpoint's
  fs::create_directory(scratch / "step-0000000x");
  CHECK(checkpoints.resume(weights) == 0);
}
