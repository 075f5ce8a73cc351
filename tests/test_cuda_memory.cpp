// The allocator of a CUDA device: what is kept, cut, joined and given back, other streams, and the end of memory.
#include <gradus/gradus.h>

#include <vector>

#include "catch.h"
#include "emulated_device.h"

using namespace gradus;
using Catch::Matchers::ContainsSubstring;

namespace {

const Device gpu = Device::cuda();
constexpr int64_t mebibyte = 1 << 20;

Tensor bytes(int64_t n) { return empty({n}, {.dtype = uint8, .device = gpu}); }

// A device with nothing cached, as it was before.
struct Clean {
  Clean() { release_memory_cache(gpu); }
  ~Clean() {
    set_memory_limit(0, gpu);
    release_memory_cache(gpu);
  }
};

}  // namespace

TEST_CASE("freed blocks serve the next request, without the driver") {
  const Clean clean;
  const void* first = bytes(1000).raw_data();
  const int64_t calls = memory_stats(gpu).system_calls;
  for (int i = 0; i < 10; ++i) CHECK(bytes(1000).raw_data() == first);
  CHECK(memory_stats(gpu).system_calls == calls);
  CHECK(memory_stats(gpu).live == 0);
  CHECK(memory_stats(gpu).cached == 2 * mebibyte);
}

TEST_CASE("small requests share a segment, and joined again it goes back whole") {
  const Clean clean;
  const int64_t calls = memory_stats(gpu).system_calls;
  {
    std::vector<Tensor> all;
    for (int i = 0; i < 100; ++i) all.push_back(bytes(3000));
    CHECK(memory_stats(gpu).system_calls == calls + 1);
    CHECK(memory_stats(gpu).live == 100 * 3072);
    for (size_t i = 0; i < all.size(); i += 2) all[i] = Tensor();  // holes
    CHECK(memory_stats(gpu).live == 50 * 3072);
  }
  CHECK(memory_stats(gpu).cached == 2 * mebibyte);
  const Tensor whole = bytes(mebibyte);
  CHECK(memory_stats(gpu).system_calls == calls + 1);
  release_memory_cache(gpu);
  CHECK(memory_stats(gpu).cached == mebibyte);  // the rest of a segment that is in use
}

TEST_CASE("large blocks are cut, and their neighbours joined in any order") {
  const Clean clean;
  Tensor a = bytes(5 * mebibyte), b = bytes(5 * mebibyte), c = bytes(5 * mebibyte), d = bytes(5 * mebibyte);
  CHECK(memory_stats(gpu).live == 20 * mebibyte);
  CHECK(memory_stats(gpu).cached == 0);  // one segment of 20 MiB
  const void* first = a.raw_data();
  b = Tensor();
  d = Tensor();
  a = Tensor();
  c = Tensor();
  CHECK(bytes(20 * mebibyte).raw_data() == first);
}

TEST_CASE("peak, limit and counts") {
  const Clean clean;
  reset_peak_memory(gpu);
  { const Tensor x = bytes(4 * mebibyte); }
  CHECK(memory_stats(gpu).peak == 4 * mebibyte);
  CHECK(memory_stats(gpu).live == 0);
  reset_peak_memory(gpu);
  CHECK(memory_stats(gpu).peak == 0);
  set_memory_limit(64 * mebibyte, gpu);
  CHECK(memory_stats(gpu).limit == 64 * mebibyte);
  CHECK_THROWS_AS(bytes(65 * mebibyte), OutOfMemoryError);
  CHECK_THAT(memory_summary(gpu), ContainsSubstring("memory on cuda:0"));
}

TEST_CASE("out of memory releases the cache first, then names the largest holders") {
  const Clean clean;
  set_memory_limit(100 * mebibyte, gpu);
  { const Tensor cached = bytes(60 * mebibyte); }
  CHECK(memory_stats(gpu).cached == 60 * mebibyte);
  CHECK(bytes(90 * mebibyte).defined());  // only after the cached block went back
  release_memory_cache(gpu);

  const Tensor filled = full({15 * mebibyte}, 1, {.device = gpu});  // 60 MiB
  const Tensor twice = full({5 * mebibyte}, 1, {.device = gpu}) * 2;
  try {
    bytes(80 * mebibyte);
    FAIL("it was granted");
  } catch (const OutOfMemoryError& error) {
    CHECK(error.requested == 80 * mebibyte);
    CHECK(error.live == 80 * mebibyte);
    CHECK_THAT(error.what(),
               ContainsSubstring("fill (62914560 bytes in 1 block), elementwise (20971520 bytes in 1 block)"));
  }
  CHECK(sum(twice.to(Device::cpu())).item<float>() == 2.f * 5 * mebibyte);  // nothing was lost
}

TEST_CASE("the snapshot shows segments, blocks and the ops that made them") {
  const Clean clean;
  const Tensor x = zeros({256}, {.device = gpu});
  CHECK_THAT(cuda::memory_snapshot(gpu),
             ContainsSubstring("segment") && ContainsSubstring("1024 bytes  fill") && ContainsSubstring("bytes  free"));
}

// A block freed while another stream still reads it must not be written by the next op of its own stream.
TEST_CASE("a recorded stream keeps a block from being used too early") {
  const Clean clean;
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const emulated::Seed order(seed);
    const cuda::Stream side(gpu);
    Tensor y;
    {
      const Tensor x = full({1000}, 7, {.device = gpu});
      cuda::Event(gpu).hold(side);
      const cuda::UseStream use(side);
      cuda::record_stream(x, side);
      y = x + 1;
    }
    const Tensor next = full({1000}, 100, {.device = gpu});  // might get the memory of x
    side.synchronize();
    CHECK(y.to(Device::cpu()).data<float>()[999] == 8);
  }
}

TEST_CASE("a block passes to another stream when its own is past it") {
  const Clean clean;
  const cuda::Stream side(gpu);
  {
    const cuda::UseStream use(side);
    const Tensor makes_two_streams = bytes(1000);
  }
  const void* p;
  {
    const Tensor x = bytes(8 * mebibyte);
    p = x.raw_data();
  }
  cuda::synchronize(gpu);
  const int64_t calls = memory_stats(gpu).system_calls;
  const cuda::UseStream use(side);
  CHECK(bytes(8 * mebibyte).raw_data() == p);
  CHECK(memory_stats(gpu).system_calls == calls);
}

TEST_CASE("a segment that two streams have cut goes back whole") {
  const Clean clean;
  const cuda::Stream side(gpu);
  {
    const cuda::UseStream use(side);
    const Tensor makes_two_streams = bytes(1000);
  }
  { const Tensor x = bytes(40 * mebibyte); }
  cuda::synchronize(gpu);
  const int64_t calls = memory_stats(gpu).system_calls;
  {
    const cuda::UseStream use(side);
    const Tensor piece = bytes(4 * mebibyte);
    CHECK(memory_stats(gpu).system_calls == calls);
  }
  release_memory_cache(gpu);
  CHECK(memory_stats(gpu).cached == 0);
}

TEST_CASE("pinned memory is kept, and reused only when the device is past it") {
  const Tensor x = arange(0, 1000, 1, {.dtype = float32});
  const Tensor pinned = cuda::pin_memory(x);
  CHECK(equal(pinned, x));
  CHECK(equal(pinned.to(gpu).to(Device::cpu()), x));
  CHECK(pinned.raw_data() != x.raw_data());
  CHECK_THROWS_AS(cuda::pin_memory(Tensor()), Error);
  CHECK_THROWS_AS(cuda::pin_memory(x.to(gpu)), DeviceError);
}

TEST_CASE("empty tensors have no memory to speak of") {
  const Clean clean;
  const Tensor x = zeros({0, 3}, {.device = gpu});
  CHECK(x.to(Device::cpu()).numel() == 0);
  CHECK((x + 1).numel() == 0);
}
