// Shapes, dtypes, storages, factories, the allocator, the thread pool, printing.
#include <cmath>
#include <limits>
#include <numeric>
#include <sstream>
#include <thread>

#include "catch.h"

#include <gradus/gradus.h>

using namespace gradus;
using Catch::Matchers::ContainsSubstring;

TEST_CASE("16-bit floats convert as IEEE rounding says, for every bit pattern") {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    f16 h;
    h.bits = static_cast<uint16_t>(bits);
    bf16 b;
    b.bits = static_cast<uint16_t>(bits);
    const float x = static_cast<float>(h), y = static_cast<float>(b);
    if (std::isnan(x))
      CHECK(std::isnan(static_cast<float>(f16(x))));
    else if (f16(x).bits != h.bits)
      FAIL("float16 " << bits);
    if (std::isnan(y))
      CHECK(std::isnan(static_cast<float>(bf16(y))));
    else if (bf16(y).bits != b.bits)
      FAIL("bfloat16 " << bits);
  }
  CHECK(f16(65519.f).bits == 0x7bff);  // largest
  CHECK(f16(65520.f).bits == 0x7c00);  // rounds to infinity
  CHECK(f16(0x1p-25f).bits == 0);      // tie to even
  CHECK(f16(0x1.8p-25f).bits == 1);    // smallest subnormal
  CHECK(f16(1.f + 0x1p-11f).bits == f16(1.f).bits);
  CHECK(f16(1.f + 0x1.8p-11f).bits == f16(1.f).bits + 1);
}

TEST_CASE("a copy of a handle is the same tensor; detach shares the storage") {
  const Tensor x = zeros({2, 3}), same = x;
  same.fill_(4);
  CHECK(x[1][2].item<float>() == 4);
  CHECK(same.is(x));
  CHECK_FALSE(x.detach().is(x));
  CHECK(x.detach().raw_data() == x.raw_data());
}

TEST_CASE("views share bytes and version") {
  const Tensor x = arange(24).reshape({2, 3, 4});
  const Tensor row = x[1].select(0, 2), column = x.slice(2, 1, {}, 2);
  CHECK(row[3].item<int64_t>() == 23);
  CHECK(column.shape() == Shape({2, 3, 2}));
  CHECK(column[1][0][1].item<int64_t>() == 15);
  const uint32_t version = x.version();
  row.fill_(-1);
  CHECK(x.version() == version + 1);
  CHECK(x[1][2][0].item<int64_t>() == -1);
  CHECK(x.transpose(0, 2).shape() == Shape({4, 3, 2}));
  CHECK_FALSE(x.transpose(0, 2).is_contiguous());
  CHECK(x.transpose(0, 2).contiguous().is_contiguous());
  CHECK(x.permute({2, 0, 1})[3][1][0].item<int64_t>() == 15);
  CHECK(x.slice(1, -2, 100).shape() == Shape({2, 2, 4}));
  CHECK(x.slice(1, 3).numel() == 0);
}

TEST_CASE("view keeps strides where it can and refuses where it cannot") {
  const Tensor x = arange(24).reshape({2, 3, 4}), t = x.transpose(1, 2);  // (2, 4, 3)
  CHECK(t.view({2, 4, 3, 1}).shape() == Shape({2, 4, 3, 1}));
  CHECK(t.view({2, 2, 2, 3})[1][1][0][2].item<int64_t>() == t[1][2][2].item<int64_t>());
  CHECK_THROWS_AS(t.view({2, 12}), ShapeError);
  CHECK(t.reshape({2, 12})[1][4].item<int64_t>() == t[1][1][1].item<int64_t>());
  CHECK(x.slice(0, 0, 1).view({12}).shape() == Shape({12}));
  CHECK(zeros({0, 3}).view({3, 0, 5}).numel() == 0);
}

TEST_CASE("undefined tensors and wrong dtypes throw typed errors") {
  const Tensor nothing;
  CHECK_THROWS_AS(nothing.shape(), Error);
  CHECK_THROWS_AS(nothing + nothing, Error);
  CHECK_THROWS_AS(zeros({2}).data<double>(), DtypeError);
  CHECK_THROWS_AS(zeros({2}).item<float>(), ShapeError);
  CHECK_THROWS_AS(zeros({2}).size(1), IndexError);
  CHECK_THROWS_AS(zeros({2})[2], IndexError);
  CHECK_THROWS_AS(zeros({1, 1, 1, 1, 1, 1, 1, 1, 1}), ShapeError);
  CHECK_THROWS_AS(zeros({-1}), ShapeError);
  CHECK_THROWS_AS(zeros({int64_t{1} << 40, int64_t{1} << 40}), ShapeError);
  CHECK_THROWS_AS(full({2}, 0.5, {.dtype = int64}), DtypeError);
  CHECK_THROWS_AS(arange(0, 10, 0), ValueError);
  CHECK_THROWS_AS(zeros({2}, {.device = Device::cuda(0)}), DeviceError);
}

TEST_CASE("numbers that do not fit their dtype are refused, or read as the nearest integer") {
  CHECK(Scalar(1e300).to<int64_t>() == std::numeric_limits<int64_t>::max());
  CHECK(Scalar(-1e300).to<int32_t>() == std::numeric_limits<int32_t>::min());
  CHECK(Scalar(0x1p63).to<int64_t>() == std::numeric_limits<int64_t>::max());
  CHECK(Scalar(-0x1p63).to<int64_t>() == std::numeric_limits<int64_t>::min());
  CHECK(Scalar(255.9).to<uint8_t>() == 255);
  CHECK(Scalar(-0.5).to<uint8_t>() == 0);
  CHECK(Scalar(-7.9).to<int32_t>() == -7);
  CHECK(Scalar(std::nan("")).to<int64_t>() == 0);
  CHECK(Scalar(std::nan("")).to<bool>());
  CHECK(full({}, 1e30).item<int64_t>() == std::numeric_limits<int64_t>::max());

  CHECK_THROWS_AS(full({2}, 300, {.dtype = uint8}), ValueError);
  CHECK_THROWS_AS(zeros({2}, {.dtype = int32}).fill_(int64_t(1) << 31), ValueError);
  const Tensor x = zeros({1}, {.dtype = int64});
  CHECK((x - std::numeric_limits<int64_t>::min()).item<int64_t>() == std::numeric_limits<int64_t>::min());
  CHECK((zeros({1}, {.dtype = uint8}) - 1).item<int64_t>() == 255);  // arithmetic wraps around
}

TEST_CASE("factories fill what they say") {
  CHECK(arange(5).dtype() == int64);
  CHECK(arange(0.0, 1.0, 0.25).numel() == 4);
  CHECK(arange(5, 0, -2)[2].item<int64_t>() == 1);
  CHECK(linspace(0, 1, 5)[3].item<float>() == 0.75f);
  CHECK(eye(3)[2][2].item<float>() == 1);
  CHECK(sum(eye(3, 5)).item<float>() == 3);
  CHECK(tensor({1, 2, 3}).dtype() == float32);
  CHECK(scalar_tensor(true).dtype() == boolean);
  CHECK(ones_like(zeros({2}, {.dtype = bfloat16})).dtype() == bfloat16);
  std::vector<float> mine = {1, 2, 3, 4};
  bool released = false;
  {
    const Tensor x = from_blob(mine.data(), {2, 2}, float32, [&] { released = true; });
    x[1][0].fill_(9);
    CHECK(mine[2] == 9);
    const Tensor view = x[0];
    CHECK_FALSE(released);
  }
  CHECK(released);
  CHECK_THROWS_AS(from_blob(nullptr, {2}, float32), ValueError);
  CHECK_THROWS_AS(from_blob(reinterpret_cast<char*>(mine.data()) + 1, {2}, float32), ValueError);
}

TEST_CASE("the allocator reuses, counts, and refuses with figures; the program goes on") {
  release_memory_cache();
  const MemoryStats before = memory_stats();
  const void* first;
  {
    const Tensor x = empty({1 << 20});
    first = x.raw_data();
    CHECK(memory_stats().live >= before.live + (4 << 20));
  }
  CHECK(memory_stats().cached >= 4 << 20);
  CHECK(empty({1 << 20}).raw_data() == first);
  set_memory_limit(before.live + (8 << 20));
  try {
    empty({16 << 20});
    FAIL("no error");
  } catch (const OutOfMemoryError& error) {
    CHECK(error.requested == 64 << 20);
    CHECK(error.live == before.live);
    CHECK_THAT(error.what(), ContainsSubstring("live") && ContainsSubstring("cached"));
  }
  const Tensor x = randn({1 << 18}, {.requires_grad = true});
  const Tensor y = exp(x);
  CHECK_THROWS_AS(y.expand({64, 1 << 18}).contiguous(), OutOfMemoryError);
  sum(y).backward();
  set_memory_limit(0);
  CHECK(allclose(x.grad(), y.detach()));
  CHECK(empty({16 << 20}).defined());
  // More than the machine has is refused at once, not killed later.
  CHECK_THROWS_AS(empty({int64_t{1} << 50}), OutOfMemoryError);
  CHECK_THAT(memory_summary(), ContainsSubstring("peak"));
}

TEST_CASE("tensors made on one thread die on another") {
  for (int repeat = 0; repeat < 20; ++repeat) {
    std::vector<Tensor> many;
    std::thread([&] {
      for (int i = 0; i < 1000; ++i) many.push_back(full({i % 70}, i));
    }).join();
    std::thread([&] { many.clear(); }).join();
  }
  SUCCEED();
}

TEST_CASE("parallel_for covers a range once, nests, and passes exceptions on") {
  const int before = num_threads();
  for (const int threads : {1, 2, 5}) {
    set_num_threads(threads);
    std::vector<std::atomic<int>> seen(10007);
    parallel_for(0, 10007, 10, [&](int64_t b, int64_t e) {
      parallel_for(b, e, 1, [&](int64_t c, int64_t d) {
        for (int64_t i = c; i < d; ++i) ++seen[static_cast<size_t>(i)];
      });
    });
    bool once = true;
    for (const auto& count : seen) once = once && count == 1;
    CHECK(once);
    CHECK_THROWS_AS(parallel_for(0, 1000, 1,
                                 [](int64_t, int64_t e) {
                                   if (e > 500) throw ValueError("mine");
                                 }),
                    ValueError);
    parallel_for(5, 5, 1, [](int64_t, int64_t) { FAIL("empty range"); });
  }
  set_num_threads(before);
  CHECK_THROWS_AS(set_num_threads(0), ValueError);
  std::vector<std::thread> users;
  std::atomic<int64_t> total{0};
  for (int t = 0; t < 4; ++t)
    users.emplace_back([&] {
      for (int i = 0; i < 200; ++i) parallel_for(0, 1000, 10, [&](int64_t b, int64_t e) { total += e - b; });
    });
  for (std::thread& user : users) user.join();
  CHECK(total == 4 * 200 * 1000);
}

TEST_CASE("generators: seeds repeat, states travel, permutations are permutations") {
  manual_seed(3);
  const Tensor a = randn({1000}), b = rand({5});
  manual_seed(3);
  CHECK(equal(randn({1000}), a));
  const NamedTensors state = default_generator().state_dict();
  const Tensor c = rand({5});
  CHECK(equal(c, b));
  default_generator().load_state_dict(state);
  CHECK(equal(rand({5}), b));
  CHECK_THROWS_AS(default_generator().load_state_dict({}), CheckpointError);
  const Tensor p = randperm(1000);
  CHECK(equal(sort(p).first, arange(1000)));
  CHECK_FALSE(equal(p, arange(1000)));
  const Tensor draws = multinomial(tensor({0, 3, 1}), 4000);
  CHECK(min(draws).item<int64_t>() == 1);
  CHECK(mean((draws == 1).to(float32)).item<float>() == Approx(0.75).margin(0.05));
  CHECK_THROWS_AS(multinomial(tensor({-1, 3})), ValueError);
  CHECK_THROWS_AS(uniform({2}, 1, 0), ValueError);
  CHECK_THROWS_AS(randint(5, 5, {2}), ValueError);
}

TEST_CASE("printing is aligned, summarised and complete") {
  CHECK(to_string(tensor({1, 2.5})) == "[1.0000, 2.5000]\n[ float32[2] cpu ]");
  CHECK(to_string(arange(6).reshape({2, 3})) == "[[0, 1, 2],\n [3, 4, 5]]\n[ int64[2, 3] cpu ]");
  CHECK(to_string(tensor({1, -10})) == "[  1., -10.]\n[ float32[2] cpu ]");
  CHECK_THAT(to_string(zeros({5000})), ContainsSubstring("..."));
  CHECK_THAT(to_string(ones({2}, {.requires_grad = true})), ContainsSubstring("requires_grad"));
  CHECK_THAT(to_string(full({1}, NAN)), ContainsSubstring("nan"));
  CHECK_THAT(to_string(full({1}, 1e-9)), ContainsSubstring("e-09"));
  CHECK(to_string(Tensor()) == "[ undefined tensor ]");
  CHECK(to_string(zeros({0, 2})) == "[]\n[ float32[0, 2] cpu ]");
  CHECK_THAT(to_string(scalar_tensor(7)), ContainsSubstring("7\n"));
  std::ostringstream stream;
  stream << tensor({1});
  CHECK_THAT(stream.str(), ContainsSubstring("float32[1]"));
}
