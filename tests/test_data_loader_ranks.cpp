// A loader that many ranks share: together they deliver what one would, for any number of them and any change of it.
#include <algorithm>
#include <cstdio>
#include <map>
#include <memory>

#include "catch.h"
#include "thread_ranks.h"

using namespace gradus;
using Catch::Matchers::ContainsSubstring;
using data::DataLoader;
using data::DataLoaderOptions;

namespace {

/// n rows whose input and target are their index; a transform may add to it.
data::TensorDataset counted(int64_t n, data::TensorDataset::Transform transform = {}) {
  const Tensor x = arange(n).to(float64);
  return {x, x, std::move(transform)};
}

using Rows = std::vector<double>;
Rows values(const Tensor& x) { return {x.data<double>(), x.data<double>() + x.numel()}; }

/// What the ranks deliver, put together: for each (epoch, position) the rows of the global batch.
struct Delivered {
  std::map<std::pair<int64_t, int64_t>, Rows> batches;
  NamedTensors state;  // of rank 0, taken behind the last batch
  bool same_states = true, shaped = true;
};

/// Lets all ranks take `turns` batches from `state` on (none: from the beginning).
Delivered deliver(ThreadRanks& ranks, const data::TensorDataset& set, DataLoaderOptions options, int64_t turns,
                  const NamedTensors& state = {}) {
  std::vector<std::map<std::pair<int64_t, int64_t>, Rows>> parts(static_cast<size_t>(ranks.size()));
  std::vector<NamedTensors> states(parts.size());
  std::vector<char> shaped(parts.size(), true);
  ranks.run([&](dist::ProcessGroup& group) {
    const auto rank = static_cast<size_t>(group.rank());
    DataLoaderOptions own = options;
    own.group = group;
    DataLoader loader(set, own);
    if (!state.empty()) loader.load_state_dict(state);
    for (int64_t left = turns; left > 0;)
      for (auto& [x, y] : loader) {
        parts[rank][{loader.epoch(), loader.position()}] = values(x);
        shaped[rank] &= x.rank() == 1 && y.size(0) == x.size(0) && x.dtype() == float64;
        if (--left == 0) break;
      }
    states[rank] = loader.state_dict();
  });
  Delivered all{{}, states[0]};
  for (size_t rank = 0; rank < parts.size(); ++rank) {
    for (const auto& [place, rows] : parts[rank]) {
      Rows& batch = all.batches[place];
      batch.insert(batch.end(), rows.begin(), rows.end());
    }
    for (const NamedTensor& entry : states[rank]) all.same_states &= equal(entry.tensor, find(states[0], entry.name));
    all.shaped &= shaped[rank] != 0;
  }
  return all;
}

Rows joined(const Delivered& delivered) {
  Rows all;
  for (const auto& [place, rows] : delivered.batches) all.insert(all.end(), rows.begin(), rows.end());
  return all;
}

/// Groups of 1, 2, 3, 4 and 8 ranks.
std::vector<std::unique_ptr<ThreadRanks>> all_groups() {
  std::vector<std::unique_ptr<ThreadRanks>> groups;
  for (const int n : {1, 2, 3, 4, 8}) groups.push_back(std::make_unique<ThreadRanks>(n));
  return groups;
}

}  // namespace

TEST_CASE("any number of ranks delivers the batches of one, and goes on where any other number stopped") {
  if (!can_have_ranks()) return;
  constexpr int64_t samples = 83, batch = 10, batches = 9, turns = 2 * batches;  // the last batch has 3 rows
  const auto groups = all_groups();
  const DataLoaderOptions options{.batch = batch, .shuffle = true, .seed = 5, .workers = 1};
  const Delivered whole = deliver(*groups[0], counted(samples), options, turns);
  REQUIRE(whole.batches.size() == turns);
  for (int64_t epoch = 0; epoch < 2; ++epoch) {
    Rows seen;
    for (const auto& [place, rows] : whole.batches)
      if (place.first == epoch) seen.insert(seen.end(), rows.begin(), rows.end());
    std::sort(seen.begin(), seen.end());
    CHECK(seen == values(arange(samples).to(float64)));
  }
  int pairs = 0, exact = 0;
  for (const auto& from : groups) {
    const Delivered all = deliver(*from, counted(samples), options, turns);
    CHECK(all.batches == whole.batches);
    CHECK(all.same_states);
    CHECK(all.shaped);
    for (const auto& to : groups) {
      for (const int64_t stop : {4, 8, 9, 13}) {  // inside an epoch, before its last batch, at its end
        Delivered parts = deliver(*from, counted(samples), options, stop);
        const Delivered rest = deliver(*to, counted(samples), options, turns - stop, parts.state);
        parts.batches.insert(rest.batches.begin(), rest.batches.end());
        ++pairs;
        exact += joined(parts) == joined(whole);
      }
    }
  }
  CHECK(exact == pairs);
  std::printf("figure R15 loader: %d of %d changes of the number of ranks lost and doubled nothing, target all\n",
              exact, pairs);
}

TEST_CASE("what transforms draw is the same for every number of ranks that divides the shards") {
  if (!can_have_ranks()) return;
  const auto noisy = [](const Tensor& x) { return uniform(x.shape(), 0, 1, {.dtype = float64}); };
  const auto groups = all_groups();
  const auto draws = [&](ThreadRanks& ranks, int64_t shards) {
    return joined(deliver(ranks, counted(64, noisy), {.batch = 24, .seed = 9, .shards = shards}, 3));
  };
  const Rows eight = draws(*groups[0], 8);
  for (const size_t i : {size_t{1}, size_t{3}, size_t{4}}) CHECK(draws(*groups[i], 8) == eight);
  CHECK(draws(*groups[2], 8) != eight);
  for (const auto& ranks : groups) {
    CHECK(draws(*ranks, 24) == draws(*groups[0], 24));
    for (const int64_t shards : {0, 5, 8}) {
      Rows drawn = draws(*ranks, shards);  // ranks, shards and batches do not repeat each other
      std::sort(drawn.begin(), drawn.end());
      CHECK(std::adjacent_find(drawn.begin(), drawn.end()) == drawn.end());
      CHECK(drawn.size() == 64);
    }
  }
}

TEST_CASE("a rank without rows in the last batch has one of 0 rows, whatever the data set") {
  if (!can_have_ranks()) return;
  struct Pictures : data::Dataset {
    int64_t size() const override { return 9; }
    data::Example get(int64_t index) const override {
      return {full({2, 3}, static_cast<double>(index)), index % 2 ? scalar_tensor(index) : scalar_tensor(-index)};
    }
  };
  ThreadRanks ranks(4);
  std::vector<std::vector<Shape>> shapes(4);
  std::vector<int64_t> dropped(4);
  ranks.run([&](dist::ProcessGroup& group) {
    const auto rank = static_cast<size_t>(group.rank());
    DataLoader loader(Pictures(), {.batch = 8, .group = group});
    for (auto& [x, y] : loader) shapes[rank].insert(shapes[rank].end(), {x.shape(), y.shape()});
    DataLoader whole(Pictures(), {.batch = 8, .drop_last = true, .group = group});
    for ([[maybe_unused]] auto& example : whole) ++dropped[rank];
  });
  const std::vector<Shape> with = {{2, 2, 3}, {2}, {1, 2, 3}, {1}}, without = {{2, 2, 3}, {2}, {0, 2, 3}, {0}};
  CHECK(shapes == std::vector<std::vector<Shape>>{without, without, without, with});
  CHECK(dropped == std::vector<int64_t>{1, 1, 1, 1});
}

TEST_CASE("nonsense with ranks is refused by name") {
  if (!can_have_ranks()) return;
  ThreadRanks ranks(4);
  std::vector<std::string> messages(4);
  ranks.run([&](dist::ProcessGroup& group) {
    try {
      DataLoader(counted(9), {.batch = 3, .group = group});
    } catch (const ValueError& error) {
      messages[static_cast<size_t>(group.rank())] = error.what();
    }
  });
  for (const std::string& message : messages) CHECK_THAT(message, ContainsSubstring("batch is 3 for 4 ranks"));
  CHECK_THROWS_WITH(DataLoader(counted(9), {.shards = -1}), ContainsSubstring("shards is -1"));
}
