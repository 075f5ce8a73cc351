// Devices, streams and events as a program meets them, and every way in which a device says no.
#include <gradus/core/kernel.h>
#include <gradus/gradus.h>

#include <thread>

#include "catch.h"
#include "emulated_device.h"

using namespace gradus;
using Catch::Matchers::ContainsSubstring;

namespace {

const Device gpu = Device::cuda(), second = Device::cuda(1), cpu = Device::cpu();

template <class F>
std::string message_of(F f) {
  try {
    f();
  } catch (const std::exception& error) {
    return error.what();
  }
  return "no error";
}

}  // namespace

TEST_CASE("a device says what it is") {
  CHECK(cuda::is_available());
  CHECK(cuda::unavailable_reason().empty());
  CHECK(cuda::device_count() >= 1);
  const DeviceInfo info = cuda::device_info(gpu);
  CHECK(info.memory > 0);
  CHECK(info.emulated == (emulated::hooks() != nullptr));
  if (info.emulated) CHECK(info.name == "EMULATION on the CPU (not a GPU)");
  CHECK(best_device() == gpu);
}

TEST_CASE("a device that is not there") {
  CHECK_THROWS_AS(zeros({2}, {.device = Device::cuda(99)}), DeviceError);
  CHECK_THAT(message_of([] { zeros({2}, {.device = Device::cuda(99)}); }), ContainsSubstring("cuda:99 does not exist"));
  CHECK_THROWS_AS(zeros({2}).to(Device::cuda(99)), DeviceError);
  CHECK_THROWS_AS(Device::cuda(-1), DeviceError);
  CHECK_THROWS_AS(Device::cuda(256), DeviceError);
  CHECK_THROWS_AS(cuda::synchronize(Device::cuda(99)), DeviceError);
  CHECK_THROWS_AS(cuda::synchronize(cpu), DeviceError);
  CHECK_THROWS_AS(memory_stats(Device::cuda(99)), DeviceError);
}

TEST_CASE("tensors on two devices do not mix, and the message says how to help") {
  const Tensor here = ones({2, 2}), there = ones({2, 2}, {.device = gpu});
  CHECK_THROWS_AS(here + there, DeviceError);
  CHECK_THAT(message_of([&] { here + there; }),
             ContainsSubstring("cpu and cuda:0") && ContainsSubstring("x.to(device)"));
  CHECK_THROWS_AS(index_select(there, 0, tensor({0}, {.dtype = int64})), DeviceError);
}

TEST_CASE("a kernel for CUDA devices is not started for the CPU") {
  CHECK_THROWS_AS(gradus::detail::OnDevice(cpu, "swish"), DeviceError);
  CHECK_THROWS_AS(gradus::detail::OnDevice(Device::cuda(99), "swish"), DeviceError);
  CHECK(gradus::detail::running().op == nullptr);
  const gradus::detail::OnDevice outer(gpu, "outer");
  CHECK_THROWS_AS(ones({2}) + ones({2}, {.device = gpu}), DeviceError);
  CHECK(gradus::detail::running().op == std::string("outer"));
}

TEST_CASE("values survive every way between devices") {
  for (const Dtype dtype : {float32, float64, float16, bfloat16, int32, int64, uint8, boolean}) {
    const Tensor x = arange(0, 30, 1, {.dtype = int64}).to(dtype).reshape({5, 6});
    CHECK(equal(x.to(gpu).to(cpu), x));
    CHECK(equal(x.t().to(gpu).to(cpu), x.t().contiguous()));
    CHECK(equal(x.to(gpu).slice(1, 1, 5, 2).to(cpu), x.slice(1, 1, 5, 2).contiguous()));
    if (cuda::device_count() > 1) CHECK(equal(x.to(gpu).to(second).to(cpu), x));
  }
}

TEST_CASE("a copy between devices waits for both") {
  if (cuda::device_count() < 2) return emulated::skipped("one device");
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const emulated::Seed order(seed);
    Tensor there;
    {
      const Tensor x = full({1000}, 10 * seed, {.device = gpu}) + 1;
      there = x.to(second) * 2;
    }
    const Tensor over = full({1000}, -1, {.device = gpu}), more = full({1000}, -1, {.device = gpu});  // on x's memory
    cuda::synchronize(gpu);
    CHECK(there.to(cpu).data<float>()[999] == 20.f * static_cast<float>(seed) + 2);
  }
}

TEST_CASE("each thread has its own current stream") {
  const cuda::Stream side(gpu);
  const cuda::UseStream use(side);
  CHECK(cuda::Stream::current(gpu).handle() == side.handle());
  std::thread([] { CHECK(cuda::Stream::current(gpu).handle() == nullptr); }).join();
}

TEST_CASE("events order streams") {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const emulated::Seed order(seed);
    const cuda::Stream producer(gpu), consumer(gpu);
    Tensor x, y;
    {
      const cuda::UseStream use(producer);
      x = full({500}, seed, {.device = gpu}) + 1;
    }
    cuda::Event(producer).hold(consumer);
    {
      const cuda::UseStream use(consumer);
      y = x * 3;
    }
    consumer.synchronize();
    CHECK(consumer.is_idle());
    const cuda::Event end(consumer);
    end.synchronize();
    CHECK(end.is_reached());
    const cuda::UseStream use(consumer);
    CHECK(y.to(cpu).data<float>()[499] == 3.f * static_cast<float>(seed) + 3);
  }
}

TEST_CASE("indices out of range come to light where the host waits, and do no harm") {
  const Tensor x = arange(0, 12, 1, {.dtype = float32, .device = gpu}).reshape({4, 3});
  const Tensor bad = tensor({1, 9, 2}, {.dtype = int64, .device = gpu});
  CHECK_THROWS_AS(
      [&] {
        const Tensor y = index_select(x, 0, bad);
        cuda::synchronize(gpu);
      }(),
      IndexError);
  CHECK_THAT(
      message_of([&] {
        index_select(x, 0, bad);
        cuda::synchronize(gpu);
      }),
      ContainsSubstring("index_select: index") && ContainsSubstring("0 to 3") && ContainsSubstring("position 1"));
  CHECK(sum(x.to(cpu)).item<float>() == 66);  // said once, and the device goes on
}

TEST_CASE("a kernel that fails is named, and the CPU goes on") {
  const auto* hooks = emulated::hooks();
  if (!hooks) return emulated::skipped("a real device would be lost for the rest of the suite");
  const Tensor x = ones({4}, {.device = gpu});
  cuda::synchronize(gpu);
  hooks->break_device("an illegal memory access was encountered");
  const Tensor y = x + 1;
  CHECK_THROWS_AS(y.to(cpu), DeviceError);
  CHECK_THAT(message_of([&] { y.to(cpu); }), ContainsSubstring("an illegal memory access") &&
                                                 ContainsSubstring("on the CPU can") &&
                                                 ContainsSubstring("GRADUS_SYNC=1"));
  CHECK(sum(ones({3})).item<float>() == 3);
  hooks->repair_device();
  CHECK(sum((x + 1).to(cpu)).numel() == 1);
}

TEST_CASE("the host is told that it cannot read a device's elements") {
  const Tensor x = ones({4}, {.device = gpu});
  CHECK_THROWS_AS(x.data<float>(), DeviceError);
  CHECK_THROWS_AS(x.mutable_data<float>(), DeviceError);
  CHECK_THAT(message_of([&] { x.data<float>(); }),
             ContainsSubstring("cuda:0") && ContainsSubstring("x.to(Device::cpu())"));
  CHECK(x.raw_data() != nullptr);
}

// Ends the program, where the emulation is strict; run by the build as a test of its own.
TEST_CASE("the host reads through a device's pointer", "[.touch]") {
  const Tensor x = ones({4}, {.device = gpu});
  cuda::synchronize(gpu);
  CHECK(*static_cast<const float*>(x.raw_data()) == 1);
}
