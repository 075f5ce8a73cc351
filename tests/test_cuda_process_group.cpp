// Process groups on CUDA devices: every operation beside the CPU, what streams wait for, how failures arrive. Ranks are
// threads, with a device each.
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <functional>
#include <stdexcept>
#include <thread>

#include "catch.h"
#include "emulated_device.h"
#include "ranks.h"
#include "thread_ranks.h"

#include <gradus/distributed/ddp.h>
#include <gradus/distributed/detail/device_engine.h>
#include <gradus/distributed/detail/group.h>
#include <gradus/distributed/store.h>
#include <gradus/fmt.h>

using namespace gradus;
using Catch::Matchers::ContainsSubstring;
using dist::ProcessGroup;
using dist::ReduceOp;
using dist::Work;
using dist::detail::all_reduce_unchecked;
using Kind = CommError::Kind;

namespace {

const Device cpu = Device::cpu();
constexpr Dtype all_dtypes[] = {float32, float64, float16, bfloat16, int32, int64, uint8, boolean};

// Orders of streams; ThreadSanitizer takes a hundred times as long for each.
#if defined(__SANITIZE_THREAD__)
constexpr uint64_t seeds = 2;
#else
constexpr uint64_t seeds = 10;
#endif

bool can_have_devices(int n) {
  if (!can_have_ranks()) return false;
  std::string reason;
  if (cuda::device_count() < n) reason = fmt::format("{} devices are wanted, there are {}", n, cuda::device_count());
  try {
    dist::detail::nccl();
  } catch (const DeviceError& error) {
    reason = error.what();
  }
  if (!reason.empty()) emulated::skipped(reason.c_str());
  return reason.empty();
}

/// Ranks are threads, where Catch's own checks must not be used.
void expect(bool condition, const std::string& what) {
  if (!condition) throw std::runtime_error("wrong: " + what);
}
void expect_equal(const Tensor& x, const Tensor& want, const std::string& what) {
  if (!equal(x.to(cpu), want.to(cpu))) throw std::runtime_error(fmt::format("{} is {}, want {}", what, x, want));
}
template <class F>
CommError error_of(F f) {
  try {
    f();
  } catch (const CommError& error) {
    return error;
  }
  throw std::runtime_error("no CommError came");
}

/// Whole numbers that differ among ranks and elements, and whose sums and products are exact in every dtype.
Tensor numbers(Dtype dtype, int rank, const Shape& shape) {
  const Tensor x = empty({shape.numel()}, {.dtype = float64});
  for (int64_t i = 0; i < x.numel(); ++i)
    x.mutable_data<double>()[i] = static_cast<double>(dtype == boolean ? (rank + i) % 3 == 0 : (rank + 1) + i % 3);
  return x.to(dtype).view(shape);
}

/// Does the operation with tensors on the CPU, and with the same on the group's device, and compares what becomes of
/// them.
using Operation = std::function<Work(const Tensor& out, const Tensor& in)>;
void beside_cpu(const ProcessGroup& group, const Tensor& out, const Tensor& in, const std::string& what,
                const Operation& operation) {
  const Device device = group.device();
  const Tensor device_out = out.defined() ? out.to(device) : out, device_in = in.defined() ? in.to(device) : in;
  operation(out, in).wait();
  operation(device_out, device_in).wait();
  if (out.defined()) expect_equal(device_out, out, what);
}

std::vector<ReduceOp> reductions(Dtype dtype) {
  if (dtype == boolean) return {ReduceOp::min, ReduceOp::max};
  std::vector<ReduceOp> ops = {ReduceOp::sum, ReduceOp::product, ReduceOp::min, ReduceOp::max};
  if (is_floating(dtype)) ops.push_back(ReduceOp::mean);
  return ops;
}

void every_operation(ProcessGroup& group, Dtype dtype, const Shape& shape) {
  const int n = group.size(), rank = group.rank();
  Shape all_shape = shape;
  all_shape[0] *= n;
  const Tensor none;
  const auto part = [&] { return numbers(dtype, rank, shape); };
  const auto whole = [&] { return numbers(dtype, rank, all_shape); };
  const auto name = [&](const char* op) { return fmt::format("{} of {} {} on rank {}", op, dtype, shape, rank); };
  for (const ReduceOp op : reductions(dtype)) {
    beside_cpu(group, part(), none, name("all_reduce"), [&](auto& x, auto&) { return group.all_reduce(x, op); });
    beside_cpu(group, part(), none, name("reduce"), [&](auto& x, auto&) { return group.reduce(x, n - 1, op); });
    beside_cpu(group, part(), whole(), name("reduce_scatter"),
               [&](auto& x, auto& all) { return group.reduce_scatter(x, all, op); });
  }
  beside_cpu(group, whole(), part(), name("all_gather"), [&](auto& all, auto& x) { return group.all_gather(all, x); });
  beside_cpu(group, whole(), numbers(dtype, 3 * rank, all_shape), name("all_to_all"),
             [&](auto& to, auto& from) { return group.all_to_all(to, from); });
  for (int root = 0; root < n; ++root) {
    beside_cpu(group, part(), none, name("broadcast"), [&](auto& x, auto&) { return group.broadcast(x, root); });
    beside_cpu(group, root == rank ? whole() : none, part(), name("gather"),
               [&](auto& all, auto& x) { return group.gather(all, x, root); });
    beside_cpu(group, part(), root == rank ? whole() : none, name("scatter"),
               [&](auto& x, auto& all) { return group.scatter(x, all, root); });
  }
  const int next = (rank + 1) % n, before = (rank + n - 1) % n;
  beside_cpu(group, part(), part(), name("send"), [&](auto& out, auto& in) {
    const bool first = rank % 2 == 0;  // of an even number of ranks each second one sends first
    Work sent, received;
    if (first) sent = group.send(in, next);
    received = group.recv(out, before);
    if (!first) sent = group.send(in, next);
    sent.wait();
    return received;
  });
}

}  // namespace

// ---- what operations do

TEST_CASE("every operation gives on devices what it gives on the CPU, for every dtype") {
  if (!can_have_devices(2)) return;
  ThreadRanks ranks(2);
  ranks.run([](ProcessGroup& group) {
    for (const Dtype dtype : all_dtypes)
      for (const Shape& shape : {Shape{2, 3}, Shape{0, 3}, Shape{67}}) every_operation(group, dtype, shape);
    group.barrier();
  });
}

TEST_CASE("groups of some ranks have communicators of their own") {
  if (!can_have_devices(2) || !emulated::hooks()) return;
  setenv("NCCL_MULTI_RANK_GPU_ENABLE", "1", 1);
  {
    ThreadRanks ranks(4);
    ranks.run([](ProcessGroup& group) {
      const int rank = group.rank();
      const Device device = Device::cuda(rank % 2);
      ProcessGroup half = group.split(rank / 2);
      const Tensor x = full({100}, rank, {.device = device}), y = full({100}, rank, {.device = device});
      const Work in_half = half.all_reduce(x), in_all = group.all_reduce(y);
      in_all.wait();
      in_half.wait();
      expect_equal(x, full({100}, rank < 2 ? 1 : 5), "the sum of a half");
      expect_equal(y, full({100}, 6), "the sum of all");
      half.close();
      group.all_reduce(y).wait();
      expect_equal(y, full({100}, 24), "the sum after the half was closed");
    });
  }
  unsetenv("NCCL_MULTI_RANK_GPU_ENABLE");
}

// ---- what waits for what

TEST_CASE("a collective sees what was enqueued before it, and what comes after wait() sees its result") {
  if (!can_have_devices(2)) return;
  ThreadRanks ranks(2);
  for (uint64_t seed = 1; seed <= seeds; ++seed) {
    const emulated::Seed order(seed);
    ranks.run([&](ProcessGroup& group) {
      const NoGrad no_graph;
      const Device device = group.device();
      const cuda::Stream other(device);
      const cuda::UseStream use(other);
      const Tensor x = full({300}, group.rank() + 1, {.device = device}), y = zeros({300}, {.device = device});
      for (int i = 0; i < 3; ++i) x.mul_(2);
      all_reduce_unchecked(group, x, ReduceOp::sum).wait();  // (1 + 2) * 8
      y.copy_(x + 1);
      group.all_reduce(y).wait();
      x.zero_();
      expect_equal(y, full({300}, 50), fmt::format("the sum of sums with seed {}", seed));
    });
  }
}

TEST_CASE("without wait() a result may be read too early: some order shows it") {
  if (!can_have_devices(2) || !emulated::hooks()) return;
  ThreadRanks ranks(2);
  std::atomic<int> early = 0;
  for (uint64_t seed = 1; seed <= 10 * seeds && early == 0; ++seed) {
    const emulated::Seed order(seed);
    ranks.run([&](ProcessGroup& group) {
      const Tensor x = ones({10}, {.device = group.device()});
      const Work work = all_reduce_unchecked(group, x, ReduceOp::sum);
      const Tensor y = x + 0;
      work.wait();
      if (!equal(y.to(cpu), full({10}, 2))) ++early;
    });
  }
  CHECK(early > 0);
}

TEST_CASE("wait() does not keep the host waiting for other ranks; done() says when the device is done") {
  if (!can_have_devices(2)) return;
  ThreadRanks ranks(2);
  std::atomic<bool> first_went_on = false;
  ranks.run([&](ProcessGroup& group) {
    const Tensor x = ones({8}, {.device = group.device()});
    group.all_reduce(x).wait();  // connects
    while (group.rank() == 1 && !first_went_on) std::this_thread::yield();
    const Work work = all_reduce_unchecked(group, x, ReduceOp::sum);
    work.wait();
    const Tensor y = x * 10;  // enqueued behind it
    if (group.rank() == 0) {
      expect(!work.done(), "an operation is done that the other rank has not begun");
      first_went_on = true;
    }
    expect_equal(y, full({8}, 40), "what came after wait()");
    while (!work.done()) std::this_thread::yield();
  });
}

TEST_CASE("tensors that are let go of are kept until the operation is over") {
  if (!can_have_devices(2)) return;
  ThreadRanks ranks(2);
  for (uint64_t seed = 1; seed <= seeds; ++seed) {
    const emulated::Seed order(seed);
    ranks.run([&](ProcessGroup& group) {
      const Device device = group.device();
      const Tensor all = empty({2 * 500}, {.device = device});
      Work work;
      {
        const Tensor part = full({500}, group.rank() + 1, {.device = device});
        work = all_reduce_unchecked(group, part, ReduceOp::sum);
        work = group.all_gather(all, part);
      }
      for (int i = 0; i < 5; ++i) full({500}, -1, {.device = device});  // would take its memory
      work.wait();
      expect_equal(all, full({1000}, 3), fmt::format("what was gathered with seed {}", seed));
    });
  }
}

TEST_CASE("buckets are reduced while the device computes, in the order of the calls") {
  if (!can_have_devices(2)) return;
  ThreadRanks ranks(2);
  for (uint64_t seed = 1; seed <= seeds; ++seed) {
    const emulated::Seed order(seed);
    ranks.run([](ProcessGroup& group) {
      const NoGrad no_graph;
      const Device device = group.device();
      std::vector<Tensor> buckets;
      std::vector<Work> works;
      Tensor h = full({64, 64}, 0.5, {.device = device});
      for (int i = 0; i < 4; ++i) {
        h = matmul(h, h);
        buckets.push_back(h.clone());
        works.push_back(all_reduce_unchecked(group, buckets.back(), ReduceOp::mean));
        works.push_back(group.broadcast(buckets.back(), i % 2));
        h = h / max(h);
      }
      for (const Work& work : works) work.wait();
      for (const Tensor& bucket : buckets) expect_equal(bucket, full({64, 64}, bucket[0][0].item<float>()), "a bucket");
      expect_equal(buckets[0], full({64, 64}, 16), "the mean of the first product");
      group.barrier();
      expect(works.back().done(), "something is not done after a barrier");
    });
  }
}

TEST_CASE("operations on the CPU and on a device follow each other") {
  if (!can_have_devices(2)) return;
  ThreadRanks ranks(2);
  ranks.run([](ProcessGroup& group) {
    const Tensor x = ones({5}, {.device = group.device()}), y = ones({5});
    std::vector<Work> works;
    for (int i = 0; i < 6; ++i) works.push_back(group.all_reduce(i % 2 ? x : y));
    for (const Work& work : works) work.wait();
    expect_equal(x, full({5}, 8), "the sum on the device");
    expect_equal(y, full({5}, 8), "the sum on the CPU");
    expect(group.all_gather_text(group.rank() ? "b" : "a") == std::vector<std::string>{"a", "b"}, "text");
  });
}

// ---- what a user may do wrong

TEST_CASE("a group keeps to one device of each rank") {
  if (!can_have_devices(2)) return;
  ThreadRanks ranks(2);
  std::string message;
  ranks.run([&](ProcessGroup& group) {
    const Tensor x = ones({5}, {.device = group.device()});
    group.all_reduce(x).wait();
    try {
      const Work work = group.all_reduce(x.to(Device::cuda(1 - group.rank())));
      throw std::runtime_error("two devices were taken");
    } catch (const DeviceError& error) {
      if (group.rank() == 0) message = error.what();
    }
    group.all_reduce(x).wait();
    expect_equal(x, full({5}, 4), "the sum after the refusal");
  });
  CHECK_THAT(message, ContainsSubstring("all_reduce: the tensor is on cuda:1") && ContainsSubstring("cuda:0 before"));
}

TEST_CASE("two ranks on one device are refused, with what helps") {
  if (!can_have_devices(2) || !emulated::hooks()) return;
  ThreadRanks ranks(2);
  ranks.run([](ProcessGroup& group) {
    const Tensor x = ones({5}, {.device = Device::cuda(0)});
    const CommError error = error_of([&] { group.all_reduce(x).wait(); });
    expect(error.kind == Kind::setup, "the kind of " + std::string(error.what()));
    expect(std::string(error.what()).find("NCCL_MULTI_RANK_GPU_ENABLE=1") != std::string::npos, error.what());
  });
}

TEST_CASE("CUDA tensors without NCCL", "[.without_nccl]") {
  ThreadRanks ranks(2);
  ranks.run([](ProcessGroup& group) {
    std::string message;
    try {
      const Work work = group.all_reduce(ones({5}, {.device = group.device()}));
    } catch (const DeviceError& error) {
      message = error.what();
    }
    expect(message.find("NCCL") != std::string::npos && message.find("pip install") != std::string::npos, message);
    const Tensor x = ones({5});  // the group goes on
    group.all_reduce(x).wait();
    expect_equal(x, full({5}, 2), "the sum on the CPU");
  });
}
TEST_CASE("a missing NCCL is said") {
  if (!can_have_devices(2) || !emulated::hooks()) return;
  char self[4096] = {};
  REQUIRE(readlink("/proc/self/exe", self, sizeof self - 1) > 0);
  const std::string command = fmt::format("GRADUS_EMULATION_WITHOUT=NCCL '{}' '[.without_nccl]'", self);
  CHECK(std::system(command.c_str()) == 0);
}

TEST_CASE("a tensor on the CPU here and on a device there is a mismatch, as other differences are") {
  if (!can_have_devices(2)) return;
  const auto mismatch = [](const std::function<Work(ProcessGroup&)>& operation) {
    ThreadRanks ranks(2);
    std::string message;
    ranks.run([&](ProcessGroup& group) {
      const CommError error = error_of([&] { operation(group).wait(); });
      expect(error.kind == Kind::mismatch, error.what());
      if (group.rank() == 0) message = error.what();
    });
    return message;
  };
  CHECK_THAT(mismatch([](ProcessGroup& group) {
               return group.all_reduce(ones({5}, {.device = group.rank() ? cpu : group.device()}));
             }),
             ContainsSubstring("rank 0: all_reduce #1 float32[5] sum on cuda, rank 1: all_reduce #1 float32[5] sum"));
  CHECK_THAT(mismatch([](ProcessGroup& group) {
               return group.all_reduce(ones({5 + group.rank()}, {.device = group.device()}));
             }),
             ContainsSubstring("float32[5] sum on cuda, rank 1: all_reduce #1 float32[6]"));
}

// ---- failures

TEST_CASE("a rank that does not come is named at the deadline, and the process goes on") {
  if (!can_have_devices(2)) return;
  std::atomic<bool> over = false;
  {
    ThreadRanks ranks(2, 2);
    ranks.run([&](ProcessGroup& group) {
      const Tensor x = ones({8}, {.device = group.device()});
      group.all_reduce(x).wait();
      while (group.rank() == 1 && !over) std::this_thread::sleep_for(std::chrono::milliseconds(5));
      if (group.rank() == 1) return;
      const Work work = all_reduce_unchecked(group, x, ReduceOp::sum);
      work.wait();  // the current stream waits, the host does not
      const Tensor y = x + 1;
      const CommError seen = error_of([&] { y.to(cpu); });  // after the abort the host must not take this for a sum
      expect(seen.kind == Kind::timeout && seen.rank == 1, seen.what());
      cuda::synchronize(group.device());
      over = true;
      const CommError error = error_of([&] { work.wait(); });
      expect(error.kind == Kind::timeout && error.rank == 1, error.what());
      expect(error_of([&] { group.all_reduce(x).wait(); }).kind == Kind::timeout, "a closed group");
      expect(error_of([&] { group.all_reduce(ones({3})).wait(); }).kind == Kind::timeout, "a closed group");
    });
  }
  ThreadRanks again(2);
  again.run([](ProcessGroup& group) {
    const Tensor x = ones({8}, {.device = group.device()});
    group.all_reduce(x).wait();
    expect_equal(x, full({8}, 2), "the sum of a later group");
  });
}

TEST_CASE("a failure elsewhere ends what hangs on the device") {
  if (!can_have_devices(2)) return;
  const bool connected = GENERATE(true, false);
  ThreadRanks ranks(2);
  ranks.run([&](ProcessGroup& group) {
    ProcessGroup other = group.split(0);
    const Tensor x = ones({8}, {.device = group.device()});
    if (connected) group.all_reduce(x).wait();
    group.barrier();
    // A rank alone in its operation, or even alone in making the communicator.
    Work hanging;
    if (group.rank() == 0) hanging = all_reduce_unchecked(group, x, ReduceOp::sum);
    const CommError error = error_of([&] { other.all_reduce(ones({3 + group.rank()})).wait(); });
    expect(error.kind == Kind::mismatch, error.what());
    if (group.rank() == 0) expect(error_of([&] { hanging.wait(); }).kind == Kind::mismatch, "what hung");
    cuda::synchronize(group.device());
  });
}

TEST_CASE("a device that fails is a failure on all ranks, which names its own") {
  if (!can_have_devices(2) || !emulated::hooks()) return;
  {
    ThreadRanks ranks(2);
    ranks.run([](ProcessGroup& group) {
      const Tensor x = ones({8}, {.device = group.device()});
      group.all_reduce(x).wait();
      group.barrier();
      Work work;
      if (group.rank() == 0) {
        work = all_reduce_unchecked(group, x, ReduceOp::sum);
        emulated::hooks()->break_device("a planted fault");
      }
      const CommError error = error_of([&] { group.barrier(); });
      expect(error.rank == 0 && std::string(error.what()).find("a planted fault") != std::string::npos, error.what());
    });
  }
  emulated::hooks()->repair_device();
}

TEST_CASE("groups, operations and tensors may end in any order") {
  if (!can_have_devices(2)) return;
  for (const bool closes_first : {true, false}) {
    Work kept[2];
    Tensor tensors[2];
    {
      ThreadRanks ranks(2);
      ranks.run([&](ProcessGroup& group) {
        const Tensor x = ones({50}, {.device = group.device()});
        const auto rank = static_cast<size_t>(group.rank());
        tensors[rank] = x;
        kept[rank] = group.all_reduce(x);
        const Work dropped = group.broadcast(x, 1);
        if (closes_first) group.close();
      });
    }
    for (size_t rank = 0; rank < 2; ++rank) {
      kept[rank].wait();
      CHECK(kept[rank].done());
      CHECK(equal(tensors[rank].to(cpu), full({50}, 2)));
    }
  }
}

// ---- the engine by itself

TEST_CASE("an engine of one rank does every operation, on a stream") {
  if (!can_have_devices(1)) return;
  const Scratch scratch;
  const Device device = Device::cuda(0);
  const Box<dist::Store> store = dist::open_store("file://" + (scratch / "store"));
  const Box<dist::detail::DeviceEngine> engine =
      dist::detail::nccl().make({.rank = 0, .size = 1, .address = "127.0.0.1", .timeout = 30}, device, *store);
  using dist::detail::Op;
  const cuda::Stream stream(device);
  const cuda::UseStream use(stream);
  for (const Dtype dtype : all_dtypes)
    for (const Op op : {Op::all_reduce, Op::broadcast, Op::reduce, Op::all_gather, Op::reduce_scatter, Op::all_to_all,
                        Op::gather, Op::scatter}) {
      const Tensor x = numbers(dtype, 1, {100}).to(device);
      const bool in_place = op == Op::all_reduce || op == Op::broadcast || op == Op::reduce;
      const Tensor y = in_place ? x : zeros({100}, {.dtype = dtype, .device = device});
      engine->enqueue({.op = op,
                       .reduce = ReduceOp::max,
                       .dtype = dtype,
                       .root = 0,
                       .count = 100,
                       .in = x.raw_data(),
                       .out = y.mutable_raw_data()});
      INFO(fmt::format("{} of {}", dist::detail::name(op), dtype));
      CHECK(equal(y.to(cpu), numbers(dtype, 1, {100})));
    }
  engine->check();
  engine->abort();
  CHECK_NOTHROW(stream.synchronize());
}

// ---- two processes on one GPU: run by tools/gpu_check, since it wants a real one

TEST_CASE("ranks: operations on one GPU", "[.]") {
  if (!setting("TEST_HOST_ID").empty()) setenv("NCCL_HOSTID", setting("RANK").c_str(), 1);
  ProcessGroup group = dist::init({.timeout = 60});
  for (const Dtype dtype : {float32, bfloat16, int64}) every_operation(group, dtype, {1031});
  for (int64_t n = 256; n <= (16 << 20); n *= 16) {
    const Tensor x = full({n}, group.rank() + 1, {.device = Device::cuda(0)});
    group.all_reduce(x).wait();
    expect_equal(x, full({n}, 3), fmt::format("a sum of {} elements", n));
  }
  group.barrier();
}

TEST_CASE("two processes share a GPU", "[.shared_gpu]") {
  if (!can_have_devices(1) || emulated::hooks()) {
    emulated::skipped("the emulated NCCL is one process");
    std::exit(4);
  }
  const std::string version = dist::detail::nccl().version();
  int major = 0, minor = 0;
  REQUIRE(std::sscanf(version.c_str(), "%d.%d", &major, &minor) == 2);
  // From 2.30 on NCCL allows it. Before, ranks that say they are of two machines pass its check, and talk over sockets.
  const bool allowed = major * 100 + minor >= 230;
  std::printf("NCCL %s, %s\n", version.c_str(),
              allowed ? "NCCL_MULTI_RANK_GPU_ENABLE=1" : "one NCCL_HOSTID a rank, which NVIDIA does not support");
  RanksOptions options{.limit = 120};
  if (allowed)
    options.variables = {{"NCCL_MULTI_RANK_GPU_ENABLE", "1"}};
  else
    options.variables = {{"TEST_HOST_ID", "1"}, {"NCCL_IB_DISABLE", "1"}, {"NCCL_SOCKET_IFNAME", "lo"}};
  run_ranks(2, "ranks: operations on one GPU", options);
}
