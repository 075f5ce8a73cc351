// The emulation's own tests: what CUDA defines comes out right in every order, and planted mistakes are seen. What only
// a sanitizer sees (planted_bugs.cpp) runs in the sanitizers' builds.
#include <cstring>
#include <set>
#include <vector>

#include "catch.h"
#include "planted.h"
#include "seed.h"

using Catch::Matchers::ContainsSubstring;
using gradus::emulation::Error;
using gradus::emulation::run_grid;
using gradus::emulation::Seed;

namespace {

std::vector<float> counting(size_t n) {
  std::vector<float> x(n);
  for (size_t i = 0; i < n; ++i) x[i] = static_cast<float>(i);
  return x;
}

std::string message_of(const std::function<void()>& run) {
  try {
    run();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

bool reverses(bool bug) {
  const std::vector<float> x = counting(1024);
  std::vector<float> y(1024);
  run_grid("reverse", 4, 256, 0, [&] { planted::reverse(x.data(), y.data(), bug); });
  for (size_t i = 0; i < y.size(); ++i)
    if (y[i] != static_cast<float>(i / 256 * 256 + 255 - i % 256)) return false;
  return true;
}

bool sums(bool bug) {
  const std::vector<float> x = counting(512);
  std::vector<float> y(4);
  run_grid("two_sums", 4, 128, 0, [&] { planted::two_sums(x.data(), y.data(), bug); });
  for (const float value : y)
    if (value != 174752.0f) return false;  // 128 (128^2 - 1) / 12
  return true;
}

constexpr int seeds = 20;

}  // namespace

TEST_CASE("every thread of every block runs once, in every order") {
  for (uint64_t seed = 0; seed < seeds; ++seed) {
    const Seed order(seed);
    std::vector<int> runs(3 * 2 * 5 * 4 * 3 * 2);
    run_grid("count", {3, 2, 5}, {4, 3, 2}, 0, [&] {
      const unsigned block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
      const unsigned thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
      ++runs[block * 24 + thread];
    });
    CHECK(std::set<int>(runs.begin(), runs.end()) == std::set<int>{1});
  }
}

TEST_CASE("a kernel that never waits never switches") {
  run_grid("warm-up", 1, 32, 0, [] {});
  const auto before = gradus::emulation::counters();
  run_grid("plain", 8, 256, 0, [] {});
  const auto after = gradus::emulation::counters();
  CHECK(after.threads - before.threads == 8 * 256);
  CHECK(after.switches - before.switches == 2 * 8);  // to the block's fiber and back
}

TEST_CASE("warp operations give what CUDA defines") {
  for (uint64_t seed = 0; seed < seeds; ++seed) {
    const Seed order(seed);
    bool right = true;
    run_grid("warp", 2, 96, 0, [&] {
      const int lane = static_cast<int>(threadIdx.x % 32);
      right &= __shfl_sync(~0u, lane, 5) == 5;
      right &= __shfl_sync(~0u, lane, 9, 8) == (lane & ~7) + 1;
      right &= __shfl_xor_sync(~0u, lane, 3) == (lane ^ 3);
      right &= __shfl_down_sync(~0u, lane, 4) == (lane < 28 ? lane + 4 : lane);
      right &= __shfl_up_sync(~0u, lane, 4, 16) == (lane % 16 < 4 ? lane : lane - 4);
      right &= __shfl_sync(~0u, static_cast<double>(lane) / 3, 7) == 7.0 / 3;
      right &= __ballot_sync(~0u, lane % 3 == 0) == 0x49249249u;
      right &= __any_sync(~0u, lane == 31) && !__any_sync(~0u, lane > 31);
      right &= __all_sync(~0u, lane < 32) && !__all_sync(~0u, lane < 31);
      right &= __reduce_add_sync(~0u, static_cast<unsigned>(lane)) == 496;
      right &= __match_any_sync(~0u, lane % 3) == (0x49249249u << lane % 3);
      const unsigned half = lane < 16 ? 0xffffu : 0xffff0000u;  // two groups of one warp, apart
      right &= __shfl_sync(half, lane, lane < 16 ? 3 : 19) == (lane < 16 ? 3 : 19);
      __syncwarp(half);
    });
    CHECK(right);
  }
}

TEST_CASE("votes of a block, and barriers in a loop") {
  for (uint64_t seed = 0; seed < seeds; ++seed) {
    const Seed order(seed);
    bool right = true;
    run_grid("vote", 2, 100, 0, [&] {
      const int i = static_cast<int>(threadIdx.x);
      for (int round = 0; round < 5; ++round) {
        right &= __syncthreads_count(i < 10 * round) == 10 * round;
        right &= (__syncthreads_or(i == 99) != 0) && (__syncthreads_or(i == 100) == 0);
        right &= (__syncthreads_and(i < 100) != 0) && (__syncthreads_and(i < 99) == 0);
      }
    });
    CHECK(right);
  }
}

TEST_CASE("shared arrays belong to a block; dynamic ones have the size of the launch") {
  std::vector<float> y(6 * 64);
  run_grid("shared", 6, 64, 64 * sizeof(float), [&] {
    GRADUS_SHARED(float, row, [64]);
    GRADUS_SHARED(double, total, );
    GRADUS_DYNAMIC_SHARED(float, buffer);
    row[threadIdx.x] = static_cast<float>(blockIdx.x);
    buffer[63 - threadIdx.x] = static_cast<float>(threadIdx.x);
    if (threadIdx.x == 0) total = 0.5;
    __syncthreads();
    y[blockIdx.x * 64 + threadIdx.x] = row[63 - threadIdx.x] + buffer[threadIdx.x] + static_cast<float>(total);
  });
  for (size_t i = 0; i < y.size(); ++i)
    REQUIRE(y[i] == static_cast<float>(i / 64) + static_cast<float>(63 - i % 64) + 0.5f);
}

TEST_CASE("atomics") {
  float sum = 0;
  int largest = -1, smallest = 1000, slot = 7;
  unsigned ticket = 0, wraps = 0;
  run_grid("atomics", 4, 64, 0, [&] {
    const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
    atomicAdd(&sum, 0.5f);
    atomicMax(&largest, i);
    atomicMin(&smallest, i);
    atomicAdd(&ticket, 1u);
    atomicInc(&wraps, 9u);
    atomicCAS(&slot, 7, i);
  });
  CHECK(sum == 128);
  CHECK(largest == 255);
  CHECK(smallest == 0);
  CHECK(ticket == 256);
  CHECK(wraps == 256 % 10);
  CHECK(slot >= 0);
  CHECK(slot != 7);
}

TEST_CASE("a missing barrier gives wrong results, or a seed that does") {
  CHECK(reverses(false));
  CHECK(sums(false));
  CHECK_FALSE(reverses(true));
  int wrong = 0;
  for (uint64_t seed = 1; seed <= seeds; ++seed) {
    const Seed order(seed);
    CHECK(reverses(false));
    CHECK(sums(false));
    CHECK_FALSE(reverses(true));
    wrong += !sums(true);
  }
  CHECK(wrong > 0);  // write after read: only an order in which one warp runs ahead shows it
}

TEST_CASE("what CUDA leaves undefined is an error that names the thread and the line") {
  std::vector<float> y(64);
  for (uint64_t seed = 0; seed < seeds; ++seed) {
    const Seed order(seed);
    const auto run = [&](unsigned threads, auto&& kernel) {
      return message_of([&] { run_grid("planted", 1, threads, 0, kernel); });
    };
    CHECK(run(64, [&] { planted::early_return(y.data(), 50, false); }) == "no error");
    CHECK_THAT(run(64, [&] { planted::early_return(y.data(), 50, true); }),
               ContainsSubstring("barrier at") && ContainsSubstring("planted.h:") && ContainsSubstring("has ended"));
    CHECK(run(64, [&] { planted::two_barriers(y.data(), false); }) == "no error");
    CHECK_THAT(run(64, [&] { planted::two_barriers(y.data(), true); }), ContainsSubstring("while others wait at"));
    CHECK(run(32, [&] { planted::absent_lanes(y.data(), false); }) == "no error");
    CHECK_THAT(run(32, [&] { planted::absent_lanes(y.data(), true); }),
               ContainsSubstring("__shfl_xor_sync") && ContainsSubstring("planted.h:"));
  }
}

TEST_CASE("shared memory that was not written is NaN") {
  std::vector<float> y(64);
  run_grid("uninitialised", 1, 64, 0, [&] { planted::uninitialised(y.data(), true); });
  CHECK(y[0] == 1);
  CHECK(std::isnan(y[40]));
}

#if !defined(__SANITIZE_ADDRESS__)
TEST_CASE("a write beside a shared array is an error that names the array") {
  std::vector<float> y(32);
  run_grid("shared_overrun", 1, 32, 0, [&] { planted::shared_overrun(y.data(), false); });
  CHECK_THAT(
      message_of([&] { run_grid("shared_overrun", 1, 32, 0, [&] { planted::shared_overrun(y.data(), true); }); }),
      ContainsSubstring("outside the shared array row"));
}
#endif

TEST_CASE("launches that the device would refuse") {
  const auto launch = [](dim3 grid, dim3 block, size_t shared) {
    return message_of([&] { run_grid("refused", grid, block, shared, [] {}); });
  };
  CHECK_THAT(launch(0, 32, 0), ContainsSubstring("empty grid"));
  CHECK_THAT(launch(1, 0, 0), ContainsSubstring("empty block"));
  CHECK_THAT(launch(1, 1025, 0), ContainsSubstring("1025 threads"));
  CHECK_THAT(launch({1, 65536, 1}, 32, 0), ContainsSubstring("too large"));
  CHECK_THAT(launch(1, 32, 300000), ContainsSubstring("shared memory"));
}

TEST_CASE("static and dynamic shared memory count together, until a kernel was given more") {
  const auto both = [] {
    GRADUS_SHARED(float, part, [2048]);  // 8 KiB
    part[threadIdx.x] = 0;
  };
  CHECK_NOTHROW(run_grid("both", 1, 32, 40 << 10, both));
  CHECK_THROWS_WITH(run_grid("both", 1, 32, (40 << 10) + 16, both), ContainsSubstring("without cudaFuncSetAttribute"));
  CHECK_NOTHROW(run_grid("both", 1, 32, 200 << 10, both, gradus::emulation::max_shared_bytes));
  CHECK_THROWS_WITH(run_grid("both", 1, 32, 220 << 10, both, gradus::emulation::max_shared_bytes),
                    ContainsSubstring("shared memory"));
}

TEST_CASE("after an error the next grid runs as if nothing had been") {
  std::vector<float> y(64);
  for (int i = 0; i < 10; ++i) {
    CHECK(message_of([&] { run_grid("bad", 2, 64, 0, [&] { planted::early_return(y.data(), 50, true); }); }) !=
          "no error");
    CHECK(reverses(false));
  }
}
