// The loader: order, seeds, threads, failures, positions. Readers of files are in test_readers.cpp.
#include <atomic>
#include <chrono>
#include <memory>
#include <set>
#include <thread>

#include "catch.h"

#include <gradus/gradus.h>

using namespace gradus;
using Catch::Matchers::ContainsSubstring;
using data::DataLoader;
using data::Example;

namespace {

Tensor numbers(int64_t n) {
  Tensor x = empty({n}, {.dtype = int64});
  for (int64_t i = 0; i < n; ++i) x.mutable_data<int64_t>()[i] = i;
  return x;
}

/// n rows whose input and target are their index.
data::TensorDataset counted(int64_t n, data::TensorDataset::Transform transform = {}) {
  return {numbers(n), numbers(n), std::move(transform)};
}

std::vector<int64_t> values(const Tensor& x) { return {x.data<int64_t>(), x.data<int64_t>() + x.numel()}; }

std::vector<std::vector<int64_t>> epoch_of(DataLoader& loader) {
  std::vector<std::vector<int64_t>> batches;
  for (auto& [x, y] : loader) {
    CHECK(values(x) == values(y));
    batches.push_back(values(x));
  }
  return batches;
}

std::vector<std::vector<int64_t>> epoch_of(DataLoader&& loader) { return epoch_of(loader); }

/// Examples made one by one; some take their time, one may fail.
struct Slow : data::Dataset {
  int64_t n, bad = -1;
  explicit Slow(int64_t count, int64_t failing = -1) : n(count), bad(failing) {}
  int64_t size() const override { return n; }
  Example get(int64_t index) const override {
    if (index == bad) throw IoError("picture.png: no such file");
    if (index % 3 == 0) std::this_thread::sleep_for(std::chrono::microseconds(200));
    return {scalar_tensor(index), scalar_tensor(index)};
  }
};

}  // namespace

TEST_CASE("batches come in order, the last one smaller or left out") {
  using Batches = std::vector<std::vector<int64_t>>;
  CHECK(epoch_of({counted(7), {.batch = 3}}) == Batches{{0, 1, 2}, {3, 4, 5}, {6}});
  CHECK(epoch_of({counted(7), {.batch = 3, .drop_last = true}}) == Batches{{0, 1, 2}, {3, 4, 5}});
  CHECK(epoch_of({counted(2), {.batch = 3, .drop_last = true}}).empty());
  CHECK(epoch_of({counted(0), {.batch = 3, .workers = 2}}).empty());
  CHECK(DataLoader(counted(7), {.batch = 3}).size() == 3);
  CHECK(DataLoader(counted(7), {.batch = 3, .drop_last = true}).size() == 2);
}

TEST_CASE("a data set may be given by pointer, owned or not, and is then not copied") {
  const auto shared = std::make_shared<Slow>(4);
  DataLoader first(shared, {.batch = 2}), second(shared, {.batch = 2});
  CHECK(shared.use_count() == 3);
  CHECK(epoch_of(first) == epoch_of(second));
  const Slow own(4);
  CHECK(epoch_of({&own, {.batch = 2}}) == epoch_of(first));
}

TEST_CASE("a shuffled epoch has every index once, depends on seed and epoch, and on nothing else") {
  DataLoader loader(counted(1000), {.batch = 64, .shuffle = true, .seed = 7});
  const auto first = epoch_of(loader), second = epoch_of(loader);
  CHECK(first != second);
  std::set<int64_t> seen;
  for (const auto& batch : first) seen.insert(batch.begin(), batch.end());
  CHECK(seen.size() == 1000);
  for (const int workers : {0, 1, 2, 5}) {
    DataLoader again(counted(1000), {.batch = 64, .shuffle = true, .seed = 7, .workers = workers, .prefetch = 3});
    CHECK(epoch_of(again) == first);
    CHECK(epoch_of(again) == second);
    CHECK(again.epoch() == 2);
  }
  CHECK(epoch_of({counted(1000), {.batch = 64, .shuffle = true, .seed = 8}}) != first);
}

TEST_CASE("examples made one by one arrive in order from many workers") {
  const auto alone = epoch_of({Slow(100), {.batch = 7}});
  CHECK(epoch_of({Slow(100), {.batch = 7, .workers = 4}}) == alone);
  CHECK(alone[14] == std::vector<int64_t>{98, 99});
}

TEST_CASE("what a transform draws does not depend on the workers") {
  const auto noisy = [](const Tensor& x) { return randint(1000000, x.shape()); };
  const auto draws = [&](int workers, uint64_t seed) {
    DataLoader loader(counted(64, noisy), {.batch = 4, .seed = seed, .workers = workers});
    std::vector<int64_t> all;
    for (int epoch = 0; epoch < 2; ++epoch)
      for (auto& batch : loader)
        for (const int64_t value : values(batch.input)) all.push_back(value);
    return all;
  };
  manual_seed(3);
  const uint64_t before = default_generator().offset();
  const std::vector<int64_t> alone = draws(0, 5);
  CHECK(std::set(alone.begin(), alone.end()).size() > 120);  // 128 draws: neither batches nor epochs repeat
  CHECK(draws(1, 5) == alone);
  CHECK(draws(4, 5) == alone);
  CHECK(draws(4, 6) != alone);
  CHECK(default_generator().offset() == before);
}

TEST_CASE("workers record no graph") {
  std::atomic<int> recording{0};
  const auto transform = [&](const Tensor& x) {
    recording += grad_enabled();
    return x;
  };
  for (const int workers : {0, 2}) epoch_of({counted(16, transform), {.batch = 4, .workers = workers}});
  CHECK(recording == 0);
}

TEST_CASE("a sample that fails is an error with its index, where its batch is asked for") {
  for (const int workers : {0, 1, 3}) {
    DataLoader loader(Slow(20, 13), {.batch = 4, .workers = workers});
    int64_t delivered = 0;
    for (int attempt = 0; attempt < 2; ++attempt) {  // the batch is asked for again
      try {
        for (auto& batch : loader) delivered += batch.input.numel();
        FAIL("no error");
      } catch (const data::SampleError& error) {
        CHECK(error.index == 13);
        CHECK_THAT(error.what(), ContainsSubstring("sample 13") && ContainsSubstring("picture.png"));
        CHECK_THROWS_AS(std::rethrow_if_nested(error), IoError);
      }
      CHECK(delivered == 12);
      CHECK(loader.position() == 3);
    }
  }
}

TEST_CASE("a batch that fails as a whole names its samples") {
  const auto transform = [](const Tensor& x) -> Tensor {
    if (x.numel() > 1) throw ValueError("too many");
    return x;
  };
  try {
    epoch_of({counted(4, transform), {.batch = 2, .workers = 1}});
    FAIL("no error");
  } catch (const data::SampleError& error) {
    CHECK(error.index == -1);
    CHECK_THAT(error.what(), ContainsSubstring("samples 0, 1: too many"));
  }
}

TEST_CASE("a loop left by break goes on with the next batch") {
  DataLoader loader(counted(10), {.batch = 2, .workers = 2});
  for (auto& batch : loader)
    if (batch.input.data<int64_t>()[0] == 4) break;
  CHECK(loader.position() == 3);
  CHECK(loader.epoch() == 0);
  CHECK(epoch_of(loader) == std::vector<std::vector<int64_t>>{{6, 7}, {8, 9}});
  CHECK(loader.epoch() == 1);
  CHECK(loader.position() == 0);
}

TEST_CASE("the body of the last batch belongs to the running epoch") {
  DataLoader loader(counted(4), {.batch = 2});
  std::vector<int64_t> epochs, positions;
  for (int i = 0; i < 2; ++i)
    for ([[maybe_unused]] auto& batch : loader) {
      epochs.push_back(loader.epoch());
      positions.push_back(loader.position());
    }
  CHECK(epochs == std::vector<int64_t>{0, 0, 1, 1});
  CHECK(positions == std::vector<int64_t>{1, 2, 1, 2});
}

TEST_CASE("a state taken inside the loop goes on with the next batch, for every place and number of workers") {
  const data::DataLoaderOptions options{.batch = 3, .shuffle = true, .seed = 11};
  constexpr int64_t epochs = 3;
  std::vector<std::vector<int64_t>> all;
  std::vector<NamedTensors> states;
  DataLoader whole(counted(10), options);
  while (whole.epoch() < epochs)
    for (auto& batch : whole) {
      all.push_back(values(batch.input));
      states.push_back(whole.state_dict());
    }
  REQUIRE(all.size() == 12);
  for (const int workers : {0, 2}) {
    for (size_t taken = 0; taken < all.size(); ++taken) {
      data::DataLoaderOptions with = options;
      with.workers = workers;
      DataLoader resumed(counted(10), with);
      for ([[maybe_unused]] auto& batch : resumed) break;  // a pipeline that must be forgotten
      resumed.load_state_dict(states[taken]);
      std::vector<std::vector<int64_t>> rest(all.begin(), all.begin() + static_cast<int64_t>(taken) + 1);
      while (resumed.epoch() < epochs)
        for (auto& batch : resumed) rest.push_back(values(batch.input));
      CHECK(rest == all);
    }
  }
}

TEST_CASE("a state of other data is refused, with all reasons, and changes nothing") {
  DataLoader loader(counted(10), {.batch = 2});
  for ([[maybe_unused]] auto& batch : loader) break;
  const NamedTensors state = loader.state_dict();
  CHECK_THROWS_WITH(DataLoader(counted(11), {.batch = 2}).load_state_dict(state), ContainsSubstring("10 samples"));
  CHECK_THROWS_AS(DataLoader(counted(10), {.batch = 3}).load_state_dict(state), CheckpointError);
  CHECK_THROWS_AS(DataLoader(counted(10), {.batch = 2, .seed = 1}).load_state_dict(state), CheckpointError);
  NamedTensors broken = state;
  broken[0].tensor = scalar_tensor(1.5);
  broken[1].name = "place";
  CHECK_THROWS_WITH(loader.load_state_dict(broken), ContainsSubstring("'epoch'") &&
                                                        ContainsSubstring("missing: position") &&
                                                        ContainsSubstring("unexpected: place"));
  broken = state;
  broken[1].tensor = scalar_tensor(6);
  CHECK_THROWS_AS(loader.load_state_dict(broken), CheckpointError);
  CHECK_THROWS_AS(loader.load_state_dict({}), CheckpointError);
  CHECK(loader.position() == 1);
}

TEST_CASE("destruction in the middle of an epoch waits for nobody") {
  for (int round = 0; round < 50; ++round) {
    DataLoader loader(Slow(60), {.batch = 2, .workers = 1 + round % 4, .prefetch = 1 + round % 3});
    int64_t left = round % 7;
    for ([[maybe_unused]] auto& batch : loader)
      if (left-- == 0) break;
  }
  SUCCEED();
}

TEST_CASE("prefetching is bounded") {
  std::atomic<int64_t> made{0};
  const auto transform = [&](const Tensor& x) {
    ++made;
    return x;
  };
  DataLoader loader(counted(100, transform), {.batch = 1, .workers = 2, .prefetch = 3});
  int64_t asked = 0;
  for ([[maybe_unused]] auto& batch : loader) {
    CHECK(made <= ++asked + 6);
    if (asked == 30) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

TEST_CASE("samplers are functions of seed and epoch") {
  CHECK(data::SequentialSampler(3).indices(5) == std::vector<int64_t>{0, 1, 2});
  const data::RandomSampler random(50, 1);
  CHECK(random.indices(3) == data::RandomSampler(50, 1).indices(3));
  CHECK(random.indices(3) != random.indices(4));
  const data::WeightedSampler weighted({0, 1, 0, 3}, 4000, 2);
  const std::vector<int64_t> drawn = weighted.indices(0);
  const auto count = [&](int64_t value) { return std::count(drawn.begin(), drawn.end(), value); };
  CHECK(count(0) + count(2) == 0);
  CHECK(std::abs(static_cast<double>(count(3)) - 3000) < 5 * std::sqrt(4000 * 0.25 * 0.75));
  CHECK(weighted.indices(0) == drawn);
  CHECK(weighted.indices(1) != drawn);
  const data::WeightedSampler sampler({0, 0, 1}, 5, 0);
  CHECK(epoch_of({counted(3), {.batch = 5, .sampler = sampler}}) == std::vector<std::vector<int64_t>>{{2, 2, 2, 2, 2}});
}

TEST_CASE("the first examples of a data set keep its transform") {
  const data::TensorDataset all = counted(5, [](const Tensor& x) { return x * 10; });
  const data::TensorDataset some = all.first(2);
  CHECK(some.size() == 2);
  CHECK(equal(some.get(1).input, all.get(1).input));
  CHECK(some.inputs().raw_data() == all.inputs().raw_data());
  CHECK(all.first(99).size() == 5);
  CHECK(all.first(0).size() == 0);
  CHECK_THROWS_AS(all.first(-1), ValueError);
}

TEST_CASE("nonsense is refused by name") {
  CHECK_THROWS_WITH(DataLoader(counted(3), {.batch = 0}), ContainsSubstring("batch is 0"));
  CHECK_THROWS_WITH(DataLoader(counted(3), {.workers = -1}), ContainsSubstring("workers is -1"));
  CHECK_THROWS_WITH(DataLoader(counted(3), {.prefetch = 0}), ContainsSubstring("prefetch is 0"));
  CHECK_THROWS_AS(DataLoader(std::shared_ptr<data::Dataset>(), {}), ValueError);
  CHECK_THROWS_AS(data::WeightedSampler({}, 1, 0), ValueError);
  CHECK_THROWS_AS(data::WeightedSampler({0, 0}, 1, 0), ValueError);
  CHECK_THROWS_AS(data::WeightedSampler({1, -1}, 1, 0), ValueError);
  CHECK_THROWS_AS(data::RandomSampler(-1, 0), ValueError);
  CHECK_THROWS_AS(data::TensorDataset(numbers(3), numbers(4)), ShapeError);
  CHECK_THROWS_AS(data::TensorDataset(Tensor(), numbers(4)), Error);
  CHECK_THROWS_AS(data::TensorDataset(scalar_tensor(1), scalar_tensor(1)), ShapeError);
  const std::vector<int64_t> outside = {0, 3};
  CHECK_THROWS_AS(counted(3).batch(outside), IndexError);
  CHECK_THROWS_AS(counted(3).get(-1), IndexError);
  CHECK_THROWS_AS(Slow(3).batch({}), ValueError);
  struct Ragged : Slow {
    using Slow::Slow;
    Example get(int64_t index) const override { return {numbers(index + 1), numbers(1)}; }
  };
  CHECK_THROWS_WITH(epoch_of({Ragged(3), {.batch = 3}}), ContainsSubstring("the input of sample 1"));
  struct Liar : data::Sampler {
    std::vector<int64_t> indices(int64_t) const override { return {0, 1}; }
    int64_t size() const override { return 3; }
  };
  CHECK_THROWS_WITH(epoch_of({counted(3), {.sampler = Liar()}}), ContainsSubstring("2 indices"));
}

TEST_CASE("a data set gathers rows of any dtype, whole or one") {
  const Tensor pictures = numbers(24).reshape({4, 2, 3}).to(uint8);
  const data::TensorDataset set(pictures.transpose(1, 2), numbers(4), {}, {"a", "b"});
  const std::vector<int64_t> wanted = {3, 0, 3};
  const Example batch = set.batch(wanted);
  CHECK(batch.input.shape() == Shape({3, 3, 2}));
  CHECK(batch.input.dtype() == uint8);
  CHECK(batch.input[0][2][1].item<int64_t>() == 23);
  CHECK(batch.input[1][2][0].item<int64_t>() == 2);
  CHECK(values(batch.target) == wanted);
  CHECK(set.get(2).input.shape() == Shape({3, 2}));
  CHECK(set.get(2).target.item<int64_t>() == 2);
  CHECK(set.batch({}).input.shape() == Shape({0, 3, 2}));
  CHECK(set.classes() == std::vector<std::string>{"a", "b"});
}
