// Checkpoints of processes that are told to stop, or are killed, at any moment. The hidden test cases are what the
// ranks run (ranks.h).
#include <signal.h>
#include <zlib.h>

#include <algorithm>
#include <chrono>
#include <random>
#include <thread>

#include "ranks.h"
#include "thread_ranks.h"
#include "weights.h"

#include <gradus/distributed/store.h>
#include <gradus/fmt.h>

using namespace gradus;
using Catch::Matchers::ContainsSubstring;
using data::Checkpointer;
using dist::ProcessGroup;
namespace fs = std::filesystem;

namespace {

void say(const std::string& text) {
  fmt::print("{}\n", text);
  std::fflush(stdout);
}

struct Net : nn::Module {
  nn::Linear fc1{16, 64}, fc2{64, 4};
  nn::Dropout drop{0.2};
  Tensor forward(Tensor x) { return fc2(drop(relu(fc1(x)))); }
  GRADUS_MODULE(fc1, fc2, drop)
};

/// Examples whose transform draws random numbers.
data::TensorDataset examples() {
  Generator generator(8);
  const UseGenerator use(generator);
  return {randn({90, 16}), randint(4, {90}), [](const Tensor& x) { return x + rand(x.shape()) * 0.1; }};
}

std::string fingerprint(const NamedTensors& state) {
  uLong crc = 0;
  for (const auto& [name, x] : state)
    crc = crc32(crc, static_cast<const Bytef*>(x.raw_data()), static_cast<uInt>(x.nbytes()));
  return fmt::format("{:08x}", crc);
}

/// What the ranks are to do, and what they said.
RanksOptions job(const std::string& folder) { return {.variables = {{"FOLDER", folder}}}; }
std::string final_weights(const std::string& output) {
  const size_t at = output.find("final ");
  return at == std::string::npos ? "" : output.substr(at, 14);
}

}  // namespace

TEST_CASE("ranks: train", "[.]") {
  constexpr int64_t last = 24;
  ProcessGroup group = dist::init();
  manual_seed(5);
  Net net;
  manual_seed(100 + static_cast<uint64_t>(group.rank()));
  optim::AdamW opt(net.parameters(), {.lr = 1e-2});
  data::DataLoader loader(examples(),
                          {.batch = 16, .shuffle = true, .seed = 3, .workers = 1, .group = group, .shards = 4});
  Weights ballast({{"w", 1'000'000}}, "ballast");  // a save takes a while
  Checkpointer checkpoints(setting("FOLDER"), {.every = 5, .group = group});
  const Interrupt signals;
  say("ready");
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  int64_t step = checkpoints.resume(net, opt, loader, ballast);
  while (step < last && !checkpoints.stop())
    for (auto& [x, y] : loader) {
      const Tensor loss = cross_entropy(net(x), y) * (static_cast<double>(x.size(0)) / 16);
      opt.zero_grad();
      loss.backward();
      for (const auto& [name, parameter] : net.parameters()) group.all_reduce(parameter.grad()).wait();
      opt.step();
      if (step % 6 == 0) {
        say("evaluating");
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
      }
      if (step == last - 3 && setting("UNTIL_SIGNAL") == "1" && group.rank() == group.size() - 1)
        while (!signals.interrupted()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
      if (checkpoints.step(++step, net, opt, loader, ballast)) say("saving");
      say(fmt::format("step {}", step));
      if (step == last || checkpoints.stop()) break;
    }
  if (!checkpoints.stop()) say("final " + fingerprint(net.state_dict()));
}

TEST_CASE(
    "a signal to one process, whenever it comes, makes all save and end well, and the run goes on to the same bits") {
  const bool can = can_have_ranks();
  int rounds = 0, exact = 0, finished = 0;
  double slowest = 0;
  for (const int n : {1, 2}) {
    if (n > 1 && !can) continue;
    const Scratch whole;
    Ranks undisturbed(n, "ranks: train", job(whole.path()));
    const std::string wanted = final_weights(undisturbed.wait()[0].output);
    INFO(undisturbed.all_output());
    REQUIRE(wanted.size() == 14);
    for (const char* moment : {"ready", "evaluating", "step 3", "saving", "step 13", "step 20"}) {
      const int number = rounds % 2 ? SIGUSR1 : SIGTERM;
      const Scratch scratch;
      RanksOptions until_signal = job(scratch.path());
      until_signal.variables["UNTIL_SIGNAL"] = "1";
      Ranks stopped(n, "ranks: train", until_signal);
      REQUIRE(stopped.wait_for_output(n - 1, moment));
      stopped.send_signal(n - 1, number);
      const double sent = stopped.seconds();
      for (const Ranks::End& end : stopped.wait()) {
        INFO(moment << ", signal " << number << "\n" << stopped.all_output());
        CHECK(end.code == 0);
        slowest = std::max(slowest, end.seconds - sent);
      }
      finished += !final_weights(stopped.output(0)).empty();
      Ranks resumed(n, "ranks: train", job(scratch.path()));
      const std::string output = resumed.wait()[0].output;
      INFO(moment << ", signal " << number << "\n" << stopped.all_output() << resumed.all_output());
      CHECK(final_weights(output) == wanted);
      exact += final_weights(output) == wanted;
      ++rounds;
    }
  }
  CHECK(finished == 0);
  CHECK(slowest < 5);
  fmt::print(
      "figure R9 {} of {} stopped runs resumed to the same bits, the slowest ended {:.2f} s after its signal, target "
      "all\n",
      exact, rounds, slowest);
}

TEST_CASE("ranks: save without end", "[.]") {
  ProcessGroup group = dist::init({.timeout = 20});
  Weights weights({{"w", 30'000}, {"b", 3}});
  const bool async = setting("ASYNC") == "1";
  Checkpointer checkpoints(setting("FOLDER"), {.every = 1, .async = async, .signals = false, .group = group});
  for (int64_t step = checkpoints.resume(weights) + 1;; ++step) {
    weights.set(static_cast<float>(step));
    checkpoints.step(step, weights);
    checkpoints.wait();
    say(fmt::format("saved {}", step));
  }
}

TEST_CASE("kill -9 of one of two ranks, or of both, at any moment of a save leaves a valid checkpoint") {
  if (!can_have_ranks()) return;
  constexpr int rounds = 40;
  const Scratch scratch;
  const dist::StoreServer server("127.0.0.1", 0, "");  // it sees that a process is gone, and tells the others
  std::mt19937 random(6);
  int torn = 0, lost = 0, ended_badly = 0;
  for (int round = 0; round < rounds; ++round) {
    RanksOptions options = job(scratch.path());
    options.store = fmt::format("tcp://127.0.0.1:{}", server.port());
    options.variables["GRADUS_RUN_ID"] = std::to_string(round);
    options.variables["ASYNC"] = round % 2 ? "1" : "0";
    Ranks ranks(2, "ranks: save without end", options);
    const bool began = ranks.wait_for_output(0, "saved ");
    INFO("round " << round << "\n" << (began ? "" : ranks.all_output()));
    REQUIRE(began);
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 20'000));
    const int victim = static_cast<int>(random() % 2);
    ranks.send_signal(victim, SIGKILL);
    if (round % 4 > 1) ranks.send_signal(1 - victim, SIGKILL);
    const std::vector<Ranks::End>& ends = ranks.wait();
    for (const Ranks::End& end : ends) ended_badly += end.hung || (end.signal && end.signal != SIGKILL);
    const size_t last = ends[0].output.rfind("saved ");
    const int64_t acknowledged = std::stoll(ends[0].output.substr(last + 6));
    Weights weights({{"w", 30'000}, {"b", 3}});
    const int64_t found = Checkpointer(scratch.path(), quiet).resume(weights);
    torn += weights.value() != static_cast<float>(found);
    lost += found < acknowledged;
  }
  CHECK(torn == 0);
  CHECK(lost == 0);
  CHECK(ended_badly == 0);
  fmt::print("figure R2 2 ranks: {} kills, {} torn, {} lost, target 0\n", rounds, torn, lost);
}
