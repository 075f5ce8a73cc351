// Data parallelism over real processes: gradients of N ranks against those of one process on the whole batch, in every
// mode; the same bits for any number of processes. Hidden test cases are what the ranks run (ranks.h).
#include <cstring>

#include "catch.h"
#include "ranks.h"

#include <gradus/distributed/ddp.h>
#include <gradus/distributed/detail/buckets.h>
#include <gradus/distributed/detail/engine.h>
#include <gradus/distributed/detail/shard_tree.h>
#include <gradus/fmt.h>
#include <gradus/gradus.h>

using namespace gradus;
using Catch::Matchers::ContainsSubstring;
using dist::DDP;
using dist::Determinism;
using dist::ProcessGroup;

namespace {

struct Mlp : nn::Module {
  nn::Linear fc1{6, 16}, fc2{16, 16}, fc3{16, 3};
  Tensor forward(const Tensor& x) { return fc3(tanh(fc2(tanh(fc1(x))))); }  // (B, 6) -> (B, 3)
  GRADUS_MODULE(fc1, fc2, fc3)
};

// With everything that could make results depend on the number of ranks.
struct ConvNet : nn::Module {
  nn::Conv2d conv{1, 4, 3, {.padding = 1}};
  nn::BatchNorm2d norm{4};
  nn::Dropout drop{0.25};
  nn::Linear head{4 * 16, 3};
  Tensor forward(const Tensor& x) {  // (B, 1, 8, 8) -> (B, 3)
    return head(drop(max_pool2d(relu(norm(conv(x))), 2).flatten(1)));
  }
  GRADUS_MODULE(conv, norm, drop, head)
};

struct Transformer : nn::Module {
  nn::Embedding tokens{11, 8};
  nn::LayerNorm norm{8};
  nn::Linear qkv{8, 24}, head{8, 11};
  nn::Dropout drop{0.1};
  Tensor forward(const Tensor& x) {  // (B, T) -> (B, T, 11)
    const Tensor h = tokens(x);
    return head(drop(h + self_attention(qkv(norm(h)), 2, {.causal = true})));
  }
  GRADUS_MODULE(tokens, norm, qkv, head, drop)
};

struct Batch {
  Tensor x, y;
};
Batch vectors(int64_t rows) { return {randn({rows, 6}), randint(3, {rows})}; }
Batch pictures(int64_t rows) { return {randn({rows, 1, 8, 8}), randint(3, {rows})}; }
Batch texts(int64_t rows) { return {randint(11, {rows, 5}), randint(11, {rows, 5})}; }

// The rows that a loader gives to a rank.
Batch part_of(const Batch& all, const ProcessGroup& world) {
  const int64_t rows = all.x.size(0), first = rows * world.rank() / world.size(),
                end = rows * (world.rank() + 1) / world.size();
  if (end == first) return {};
  return {all.x.slice(0, first, end), all.y.slice(0, first, end)};
}

template <class Net>
auto loss_of(Net& net) {
  return [&net](const Tensor& x, const Tensor& y) { return cross_entropy(net(x).flatten(0, -2), y.flatten()); };
}

template <class Net>
Net seeded() {
  manual_seed(5);
  return Net();
}

// Gradients by one process alone.
template <class Net>
std::vector<Tensor> reference(Net& net, const Batch& batch) {
  Net alone = nn::clone(net);
  loss_of(alone)(batch.x, batch.y).backward();
  std::vector<Tensor> gradients;
  for (const auto& [name, p] : alone.parameters()) gradients.push_back(p.grad());
  return gradients;
}

void check_gradients(nn::Module& net, const std::vector<Tensor>& want, double tolerance = 1e-6) {
  const NamedTensors parameters = net.parameters();
  for (size_t i = 0; i < parameters.size(); ++i) {
    INFO(parameters[i].name);
    REQUIRE(parameters[i].tensor.grad().defined());
    CHECK(allclose(parameters[i].tensor.grad(), want[i], tolerance, tolerance));
  }
}

std::string bytes_of(const NamedTensors& tensors) {
  std::string bytes;
  for (const auto& [name, x] : tensors) {
    const Tensor d = dense(x.detach());
    bytes += name;
    bytes.append(static_cast<const char*>(d.raw_data()), static_cast<size_t>(d.nbytes()));
  }
  return bytes;
}

void skip_without_gloo() {
  std::string reason;
  if (!dist::detail::find_gloo(&reason)) WARN("only one process: " << reason);
}
std::vector<int> sizes() { return dist::detail::find_gloo() ? std::vector<int>{1, 2, 3, 4} : std::vector<int>{1}; }

}  // namespace

TEST_CASE("buckets: in reverse order, small ones at both ends, dtypes apart, every view in its place") {
  const auto leaf = [](const Shape& shape, Dtype dtype = float32) { return zeros(shape, {.dtype = dtype}); };
  const NamedTensors parameters = {
      {"a", leaf({10})}, {"b", leaf({4}, float64)}, {"c", leaf({100, 2})}, {"d", leaf({3, 3})}, {"e", leaf({5})}};
  const dist::detail::Buckets b = dist::detail::make_buckets(parameters, 16, 1 << 20, 3);
  REQUIRE(b.buckets.size() == 3);
  CHECK(b.buckets[0].members == std::vector<size_t>{4});
  CHECK(b.buckets[1].members == std::vector<size_t>{3, 2, 0});
  CHECK(b.buckets[2].members == std::vector<size_t>{1});
  for (size_t i = 0; i < parameters.size(); ++i) {
    const dist::detail::Place& place = b.places[i];
    CHECK(place.view.shape() == parameters[i].tensor.shape());
    CHECK(place.view.is_contiguous());
    place.view.fill_(static_cast<double>(i + 1));
  }
  double total = 0;
  for (const dist::detail::Bucket& bucket : b.buckets) {
    CHECK(bucket.flat.numel() % 3 == 0);
    total += sum(bucket.flat).item<double>();
  }
  CHECK(total == 10 * 1 + 4 * 2 + 200 * 3 + 9 * 4 + 5 * 5);  // nothing overlaps

  // What is ready last is 40 bytes of a and 32 of b.
  const dist::detail::Buckets wide = dist::detail::make_buckets(parameters, 72, 1 << 20, 3);
  REQUIRE(wide.buckets.size() == 4);
  CHECK(wide.buckets[0].members == std::vector<size_t>{4, 3});
  CHECK(wide.buckets[1].members == std::vector<size_t>{2});
  CHECK(wide.buckets[2].members == std::vector<size_t>{1});
  CHECK(wide.buckets[3].members == std::vector<size_t>{0});
  CHECK(dist::detail::make_buckets(parameters, 1 << 20, 1 << 20, 3).buckets.size() == 2);  // one for each dtype
}

TEST_CASE("a tree over shards has the same additions however the shards are shared out") {
  using dist::detail::ShardTree;
  const int64_t shards = 16;
  const Tensor terms = randn({shards, 1000}) * exp(randn({shards, 1000}) * 4.0);
  const auto tree_of = [&](int64_t first, int64_t end, ShardTree tree = {}) {
    for (int64_t s = first; s < end; ++s) tree.append({{s, 1}, {terms[s].clone()}});
    return tree;
  };
  const Tensor whole = tree_of(0, shards).nodes().front().sums.front();
  CHECK_FALSE(equal(whole, sum(terms, 0)));  // the order matters for these
  for (int ranks = 1; ranks <= 16; ++ranks) {
    ShardTree joined;
    size_t most = 0;
    for (int r = 0; r < ranks; ++r) {
      const dist::detail::ShardRange block = dist::detail::shards_of(r, ranks, shards);
      const ShardTree part = tree_of(block.first, block.first + block.count);
      most = std::max(most, part.nodes().size());
      for (const ShardTree::Node& node : part.nodes()) joined.append(node);
    }
    INFO(ranks);
    if (shards % ranks == 0) CHECK(most == 1);
    REQUIRE(joined.nodes().size() == 1);
    CHECK(equal(joined.nodes().front().sums.front(), whole));
  }
}

// ---- the ordinary way; `mine` is this rank's part of `batch`
namespace {

struct Case {
  ProcessGroup world;
  Mlp net = seeded<Mlp>();
  Batch batch = vectors(12), mine = part_of(batch, world);
  std::vector<Tensor> want = reference(net, batch);
};

// In one bucket or many, and added to what is there.
void gradients_are_means(Case c) {
  Mlp& net = c.net;
  const Batch& mine = c.mine;
  for (const int64_t bytes : {1, 300, 1 << 20}) {
    const DDP ddp(net.parameters(), c.world, {.bucket_bytes = bytes, .edge_bucket_bytes = bytes});
    net.zero_grad();
    loss_of(net)(mine.x, mine.y).backward();
    check_gradients(net, c.want);
    if (c.world.size() > 1 && bytes == 1 << 20)
      CHECK(net.fc1.weight.grad().impl().storage.get() == net.fc3.bias.grad().impl().storage.get());
    loss_of(net)(mine.x, mine.y).backward();
    std::vector<Tensor> twice;
    for (const Tensor& g : c.want) twice.push_back(g * 2.0);
    check_gradients(net, twice);

    Mlp alone = nn::clone(net);
    for (size_t i = 0; i < c.want.size(); ++i) alone.parameters()[i].tensor.set_grad(twice[i].clone());
    CHECK(optim::clip_grad_norm(net.parameters(), 0.1) ==
          Approx(optim::clip_grad_norm(alone.parameters(), 0.1)).epsilon(1e-5));
    CHECK(allclose(net.fc1.weight.grad(), alone.fc1.weight.grad(), 1e-5, 1e-6));
  }
}

// Whatever the others began with.
void model_is_rank_0s(Case c) {
  Mlp& net = c.net;
  manual_seed(static_cast<uint64_t>(5 + c.world.rank()));
  Mlp other;
  const DDP ddp(other.parameters(), c.world);
  CHECK(bytes_of(other.parameters()) == bytes_of(net.parameters()));
}

void gradients_accumulate_under_no_sync(Case c) {
  Mlp& net = c.net;
  const Batch& mine = c.mine;
  DDP ddp(net.parameters(), c.world, {.bucket_bytes = 300, .edge_bucket_bytes = 300});
  for (int micro = 0; micro < 4; ++micro) {
    const auto guard = ddp.no_sync(micro < 3);
    const int64_t rows = mine.x.size(0), first = rows * micro / 4, end = rows * (micro + 1) / 4;
    if (first == end) continue;
    const double share = static_cast<double>(end - first) / static_cast<double>(rows);
    (loss_of(net)(mine.x.slice(0, first, end), mine.y.slice(0, first, end)) * share).backward();
  }
  check_gradients(net, c.want);
}

void gradients_travel_as_bfloat16(Case c) {
  Mlp& net = c.net;
  const Batch& mine = c.mine;
  const DDP ddp(net.parameters(), c.world, {.wire = bfloat16});
  loss_of(net)(mine.x, mine.y).backward();
  CHECK(net.fc1.weight.grad().dtype() == float32);
  check_gradients(net, c.want, 0.01);
  if (c.world.size() > 1) CHECK_FALSE(allclose(net.fc1.weight.grad(), c.want[0], 1e-6, 1e-7));
}

void gradients_of_unused_parameters(Case c) {
  Mlp& net = c.net;
  const Batch& mine = c.mine;
  const auto partial = [&](bool whole) { return whole ? sum(net(mine.x)) : sum(tanh(net.fc1(mine.x))); };
  const DDP ddp(net.parameters(), c.world, {.bucket_bytes = 300, .edge_bucket_bytes = 300, .find_unused = true});
  partial(false).backward();
  CHECK(net.fc1.weight.grad().defined());
  CHECK_FALSE(net.fc3.weight.grad().defined());  // by nobody
  net.zero_grad();
  partial(c.world.rank() == 0).backward();
  REQUIRE(net.fc3.weight.grad().defined());  // by rank 0 alone
  const Tensor rows = scalar_tensor(static_cast<double>(mine.x.size(0)));
  c.world.broadcast(rows, 0).wait();
  CHECK(allclose(net.fc3.bias.grad(), full({3}, rows.item<double>() / c.world.size())));
}

// By ddp.backward; some ranks have no rows.
void gradients_of_uneven_parts(Case c) {
  Mlp& net = c.net;
  const Batch& mine = c.mine;
  for (const int64_t count : {13, 5, 2, 1}) {
    const Batch all = vectors(count), part = part_of(all, c.world);
    DDP ddp(net.parameters(), c.world, {.bucket_bytes = 300, .edge_bucket_bytes = 300});
    net.zero_grad();
    const double loss = ddp.backward(part.x, part.y, loss_of(net)).item<double>();
    check_gradients(net, reference(net, all));
    CHECK(loss == Approx(loss_of(net)(all.x, all.y).item<double>()).epsilon(1e-6));
  }
  DDP ddp(net.parameters(), c.world);
  CHECK_THROWS_WITH(ddp.backward({}, {}, loss_of(net)), ContainsSubstring("no rank has any rows"));
  CHECK_THROWS_WITH(ddp.backward(mine.x, mine.y.slice(0, 1), loss_of(net)), ContainsSubstring("rows in one batch"));
}

// They are rank 0's afterwards.
void buffers_are_rank_0s(Case c) {
  ConvNet conv = seeded<ConvNet>();
  DDP ddp(conv.parameters(), c.world, {.buffers = conv.buffers()});
  const Batch all = pictures(16), part = part_of(all, c.world);
  loss_of(conv)(part.x, part.y).backward();
  const std::vector<std::string> same = c.world.all_gather_text(bytes_of(conv.buffers()));
  for (const std::string& text : same) CHECK(text == same[0]);
  CHECK(conv.norm.num_batches_tracked.item<int64_t>() == 1);
}

// Ranks with the same seed draw different numbers for their rows, and the same ones again afterwards.
void streams_differ(Case c) {
  DDP ddp(c.net.parameters(), c.world);
  manual_seed(9);
  std::vector<std::string> drawn;
  for (int call = 0; call < 2; ++call)
    ddp.backward(c.mine.x, c.mine.y, [&](const Tensor& x, const Tensor& y) {
      drawn.push_back(fmt::format("{}", rand({1}).item<double>()));
      return loss_of(c.net)(x, y);
    });
  const std::vector<std::string> all = c.world.all_gather_text(drawn[0] + ' ' + drawn[1]);
  for (size_t r = 1; r < all.size(); ++r) CHECK(all[r] != all[0]);
  CHECK(drawn[0] != drawn[1]);
  const std::vector<std::string> after = c.world.all_gather_text(fmt::format("{}", rand({1}).item<double>()));
  for (const std::string& text : after) CHECK(text == after[0]);
}

}  // namespace

TEST_CASE("ranks: gradients", "[.]") {
  const ProcessGroup world = dist::init();
  gradients_are_means({world});
  model_is_rank_0s({world});
  gradients_accumulate_under_no_sync({world});
  gradients_travel_as_bfloat16({world});
  gradients_of_unused_parameters({world});
  gradients_of_uneven_parts({world});
  buffers_are_rank_0s({world});
  streams_differ({world});
}

TEST_CASE("gradients of N processes are those of one on the whole batch") {
  skip_without_gloo();
  for (const int n : sizes()) run_ranks(n, "ranks: gradients");
}

TEST_CASE("ranks: different models", "[.]") {
  ProcessGroup world = dist::init();
  Mlp net;
  const bool odd = world.rank() == 1;
  NamedTensors parameters = net.parameters();
  if (odd) parameters[3].tensor = zeros({7}, {.requires_grad = true});
  const auto refused = [&](const NamedTensors& p, const dist::DDPOptions& o, const char* text) {
    CHECK_THROWS_MATCHES(DDP(p, world, o), ValueError, Catch::Matchers::Predicate<ValueError>([&](const ValueError& e) {
                           INFO(e.what());
                           return std::strstr(e.what(), text) != nullptr;
                         }));
  };
  refused(parameters, {},
          "rank 1 has the parameter 'fc2.bias' float32[7] where rank 0 has the parameter 'fc2.bias' float32[16]");
  parameters = net.parameters();
  if (odd) parameters.pop_back();
  refused(parameters, {}, "rank 1 has nothing more where rank 0 has the parameter 'fc3.bias'");
  refused(net.parameters(), {.bucket_bytes = odd ? 100 : 200}, "rank 1 has the options bucket_bytes 100");
  refused(net.parameters(), {.buffers = {{odd ? "b" : "a", zeros({2})}}}, "rank 1 has the buffer 'b'");
  const DDP ddp(net.parameters(), world);  // the group is as good as before
}

TEST_CASE("ranks that made different models are told which is the first difference") {
  if (sizes().size() > 1) run_ranks(2, "ranks: different models");
}

// WHERE rank 1 throws: when some gradients are on their way, before there are any, or in forward.
TEST_CASE("ranks: one throws", "[.]") {
  const ProcessGroup world = dist::init();  // nobody waits for its timeout
  const std::string where = setting("WHERE");
  Mlp net = seeded<Mlp>();
  const Batch mine = part_of(vectors(8), world);
  DDP ddp(net.parameters(), world, {.bucket_bytes = 300, .edge_bucket_bytes = 300});
  bool thrown = world.rank() != 1;
  const auto fail_once = [&](const Tensor&) -> Tensor {
    if (!std::exchange(thrown, true)) throw ValueError("something is wrong here");
    return {};
  };
  if (where == "weight") register_hook(net.fc2.weight, fail_once);
  const auto train = [&] {
    if (where == "forward") {
      ddp.backward(mine.x, mine.y, [&](auto& x, auto& y) {
        fail_once(x);
        return loss_of(net)(x, y);
      });
    } else {
      const Tensor loss = loss_of(net)(mine.x, mine.y);
      if (where == "loss") register_hook(loss, fail_once);
      loss.backward();
    }
  };
  if (world.rank() == 1) {
    CHECK_THROWS_AS(train(), ValueError);
    CHECK_THROWS_WITH(train(), ContainsSubstring("ended by an exception on this rank: something is wrong here"));
    CHECK_THROWS_WITH(ddp.backward(mine.x, mine.y, loss_of(net)), ContainsSubstring("out of step"));
  } else {
    CHECK_THROWS_MATCHES(train(), CommError, Catch::Matchers::Predicate<CommError>([](const CommError& e) {
                           return e.kind == CommError::Kind::aborted && e.rank == 1 &&
                                  std::strstr(e.what(), "something is wrong here");
                         }));
  }
}

TEST_CASE("a rank whose backward throws knows it, and the others do") {
  if (sizes().size() > 1)
    for (const std::string where : {"weight", "loss", "forward"})
      run_ranks(2, "ranks: one throws", {.variables = {{"WHERE", where}}});
}

TEST_CASE("ranks: one misses a gradient", "[.]") {
  const ProcessGroup world = dist::init();  // nobody waits for its timeout
  Mlp net = seeded<Mlp>();
  const Batch mine = part_of(vectors(8), world);
  const DDP ddp(net.parameters(), world);
  if (world.rank() == 1) {
    CHECK_THROWS_MATCHES(sum(tanh(net.fc1(mine.x))).backward(), GradError,
                         Catch::Matchers::Predicate<GradError>([](const GradError& e) {
                           return std::strstr(e.what(), "'fc2.weight' had no gradient") &&
                                  std::strstr(e.what(), "2 of 6") && std::strstr(e.what(), ".find_unused");
                         }));
    CHECK_THROWS_WITH(loss_of(net)(mine.x, mine.y).backward(), ContainsSubstring("out of step"));
  } else {
    CHECK_THROWS_MATCHES(loss_of(net)(mine.x, mine.y).backward(), CommError,
                         Catch::Matchers::Predicate<CommError>([](const CommError& e) {
                           return e.kind == CommError::Kind::aborted && e.rank == 1 &&
                                  std::strstr(e.what(), "'fc2.weight' had no gradient");
                         }));
  }
}

TEST_CASE("a rank with a parameter that has no gradient knows it, and the others do") {
  if (sizes().size() > 1) run_ranks(2, "ranks: one misses a gradient");
}

TEST_CASE("what makes no sense is refused") {
  Mlp net;
  const ProcessGroup alone;
  CHECK_THROWS_AS(DDP(net.parameters(), alone, {.bucket_bytes = 0}), ValueError);
  CHECK_THROWS_AS(DDP(net.parameters(), alone, {.wire = int32}), DtypeError);
  CHECK_THROWS_AS(DDP({}, alone), ValueError);
  CHECK_THROWS_AS(DDP({{"a", net.fc1.weight}, {"b", net.fc1.weight}}, alone), ValueError);
  CHECK_THROWS_AS(DDP({{"a", net.fc1.weight * 2.0}}, alone), GradError);
  CHECK_THROWS_WITH(DDP(net.parameters(), alone, {.determinism = Determinism::world_size, .shards = 6}),
                    ContainsSubstring("power of two"));
  CHECK_THROWS_AS(DDP(net.parameters(), alone, {.wire = bfloat16, .determinism = Determinism::world_size}), ValueError);
  DDP ddp(net.parameters(), alone, {.determinism = Determinism::world_size});
  const Batch batch = vectors(4);
  CHECK_THROWS_WITH(loss_of(net)(batch.x, batch.y).backward(), ContainsSubstring("ddp.backward"));
  const auto guard = ddp.no_sync();
  CHECK_THROWS_AS(ddp.backward(batch.x, batch.y, loss_of(net)), GradError);
}

// ---- the same bits for any number of ranks
namespace {

struct Trained {
  std::string bits;
  Tensor weights;  // flat
};

template <class Net>
Trained train_in_shards(const ProcessGroup& world, Batch (*make)(int64_t), double momentum = 0.9) {
  Net net = seeded<Net>();
  DDP ddp(net.parameters(), world,
          {.buffers = net.buffers(),
           .bucket_bytes = 900,
           .edge_bucket_bytes = 300,
           .determinism = Determinism::world_size});
  optim::SGD opt(net.parameters(), {.lr = 0.05, .momentum = momentum});
  std::string losses;
  for (const int64_t rows : {32, 29, 32, 11, 5}) {  // ragged ones, and one with empty shards
    Generator data(static_cast<uint64_t>(rows));
    const Batch batch = [&] {
      const UseGenerator use(data);
      return make(rows);
    }();
    const Batch mine = part_of(batch, world);
    opt.zero_grad();
    losses += fmt::format("{:a} ", ddp.backward(mine.x, mine.y, loss_of(net)).template item<double>());
    optim::clip_grad_norm(net.parameters(), 1.0);
    opt.step();
  }
  losses += fmt::format("{}", rand({1}).item<double>());  // the generator ends at the same place
  std::vector<Tensor> flat;
  for (const auto& [name, x] : net.state_dict()) flat.push_back(x.detach().to(float64).flatten());
  return {losses + bytes_of(net.state_dict()), cat(flat)};
}

}  // namespace

TEST_CASE("ranks: shards", "[.]") {
  ProcessGroup world = dist::init();
  const auto compare = [&](const char* name, auto train) {
    const Trained alone = train(ProcessGroup()), together = train(world);
    if (std::getenv("RANK") == std::string("0"))
      std::printf("figure R14 %s with %d processes: %s, target equal bits\n", name, world.size(),
                  alone.bits == together.bits ? "equal bits" : "DIFFERENT BITS");
    CHECK(alone.bits == together.bits);
    CHECK(allclose(together.weights, alone.weights, 1e-6, 1e-6));
  };
  compare("convnet", [](const ProcessGroup& g) { return train_in_shards<ConvNet>(g, pictures); });
  compare("transformer", [](const ProcessGroup& g) { return train_in_shards<Transformer>(g, texts); });
  std::fflush(stdout);
}

TEST_CASE("the same bits for 1, 2, 3, 4 processes") {
  skip_without_gloo();
  for (const int n : sizes()) {
    Ranks ranks(n, "ranks: shards");
    for (const Ranks::End& end : ranks.wait()) {
      INFO(ranks.all_output());
      REQUIRE(end.code == 0);
    }
    const std::string text = ranks.output(0);
    for (size_t at = 0; (at = text.find("figure", at)) != std::string::npos; ++at)
      std::printf("%s\n", text.substr(at, text.find('\n', at) - at).c_str());
  }
}

TEST_CASE("shards add up to the gradient of the whole batch, and to gradients that are there") {
  Mlp net = seeded<Mlp>();
  DDP ddp(net.parameters(), {}, {.determinism = Determinism::world_size});
  const Batch batch = vectors(21);
  std::vector<Tensor> want = reference(net, batch);
  ddp.backward(batch.x, batch.y, loss_of(net));
  check_gradients(net, want);
  ddp.backward(batch.x, batch.y, loss_of(net));
  for (Tensor& g : want) g = g * 2.0;
  check_gradients(net, want);
}

TEST_CASE("shards of a net with unused parameters") {
  Mlp net = seeded<Mlp>();
  const Batch batch = vectors(16);
  const auto partial = [&](const Tensor& x, const Tensor&) { return sum(tanh(net.fc1(x))); };
  {
    DDP ddp(net.parameters(), {}, {.determinism = Determinism::world_size});
    CHECK_THROWS_WITH(ddp.backward(batch.x, batch.y, partial), ContainsSubstring("'fc2.weight' had no gradient"));
  }
  net.zero_grad();
  DDP ddp(net.parameters(), {}, {.find_unused = true, .determinism = Determinism::world_size});
  ddp.backward(batch.x, batch.y, partial);
  CHECK(net.fc1.weight.grad().defined());
  CHECK_FALSE(net.fc2.weight.grad().defined());
}
