// The stand-in of NCCL: what collectives compute, in every order of the streams that a seed draws, by threads and by
// groups; what it refuses; what ranks that disagree, fail to come or abort lead to.
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#include <nccl.h>

#include <cstring>
#include <thread>
#include <vector>

#include "catch.h"
#include "seed.h"
#include "streams.h"

using Catch::Matchers::ContainsSubstring;
using gradus::emulation::Seed;

namespace {

constexpr uint64_t seeds = 20;

template <class T>
struct Array {
  Array(int on, const std::vector<T>& values) : device(on), size(values.size()) {
    cudaSetDevice(device);
    REQUIRE(cudaMalloc(reinterpret_cast<void**>(&p), size * sizeof(T)) == cudaSuccess);
    REQUIRE(cudaMemcpy(p, values.data(), size * sizeof(T), cudaMemcpyHostToDevice) == cudaSuccess);
    cudaSetDevice(0);
  }
  Array(Array&& other) noexcept : device(other.device), size(other.size), p(std::exchange(other.p, nullptr)) {}
  ~Array() { cudaFree(p); }
  std::vector<T> values() const {
    std::vector<T> result(size);
    cudaSetDevice(device);
    REQUIRE(cudaMemcpy(result.data(), p, size * sizeof(T), cudaMemcpyDeviceToHost) == cudaSuccess);
    cudaSetDevice(0);
    return result;
  }
  int device;
  size_t size;
  T* p = nullptr;
};
using Floats = Array<float>;

// Ranks of one thread, with a stream each: rank r on device r % 2.
struct Ranks {
  explicit Ranks(int n) : comms(static_cast<size_t>(n)), streams(comms.size()) {
    std::vector<int> devices(comms.size());
    for (size_t r = 0; r < comms.size(); ++r) {
      devices[r] = static_cast<int>(r % 2);
      cudaSetDevice(devices[r]);
      REQUIRE(cudaStreamCreateWithFlags(&streams[r], cudaStreamNonBlocking) == cudaSuccess);
    }
    cudaSetDevice(0);
    REQUIRE(ncclCommInitAll(comms.data(), n, devices.data()) == ncclSuccess);
  }
  ~Ranks() {
    for (const ncclComm_t comm : comms) ncclCommDestroy(comm);
    for (const cudaStream_t stream : streams) cudaStreamDestroy(stream);
  }
  // call(rank) inside a group
  template <class Function>
  ncclResult_t together(Function call) {
    CHECK(ncclGroupStart() == ncclSuccess);
    for (size_t r = 0; r < comms.size(); ++r) call(r);
    return ncclGroupEnd();
  }
  void wait() {
    for (const cudaStream_t stream : streams) REQUIRE(cudaStreamSynchronize(stream) == cudaSuccess);
  }
  std::vector<ncclComm_t> comms;
  std::vector<cudaStream_t> streams;
};

// One array a rank: element i of rank r is r * 100 + i.
std::vector<Floats> numbered(size_t ranks, size_t n) {
  std::vector<Floats> arrays;
  for (size_t r = 0; r < ranks; ++r) {
    std::vector<float> values(n);
    for (size_t i = 0; i < n; ++i) values[i] = static_cast<float>(r * 100 + i);
    arrays.emplace_back(static_cast<int>(r % 2), values);
  }
  return arrays;
}

// A fault ends all work: the next test begins without one.
struct Fault {
  ~Fault() {
    gradus::emulation::clear_device_fault();
    cudaGetLastError();
  }
  std::string text() const { return gradus::emulation::device_fault(); }
};
struct Patience {
  explicit Patience(int milliseconds) { gradus::emulation::set_patience(std::chrono::milliseconds(milliseconds)); }
  ~Patience() { gradus::emulation::set_patience(std::chrono::seconds(60)); }
};

template <class T>
struct TypeOf;
#define GRADUS_TYPE(cpp, nccl)                   \
  template <>                                    \
  struct TypeOf<cpp> {                           \
    static constexpr ncclDataType_t code = nccl; \
  }
GRADUS_TYPE(float, ncclFloat32);
GRADUS_TYPE(double, ncclFloat64);
GRADUS_TYPE(int32_t, ncclInt32);
GRADUS_TYPE(int64_t, ncclInt64);
GRADUS_TYPE(uint8_t, ncclUint8);
GRADUS_TYPE(__half, ncclFloat16);
GRADUS_TYPE(__nv_bfloat16, ncclBfloat16);
#undef GRADUS_TYPE

template <class T>
T number(double x) {
  if constexpr (std::is_arithmetic_v<T>)
    return static_cast<T>(x);
  else
    return T(static_cast<float>(x));
}
template <class T>
double plain(T x) {
  if constexpr (std::is_arithmetic_v<T>)
    return static_cast<double>(x);
  else
    return static_cast<float>(x);
}

template <class T>
void check_reductions() {
  Ranks ranks(3);
  std::vector<Array<T>> arrays;
  const double inputs[3][2] = {{6, 2}, {3, 5}, {9, 2}};
  for (int r = 0; r < 3; ++r)
    arrays.emplace_back(r % 2, std::vector<T>{number<T>(inputs[r][0]), number<T>(inputs[r][1])});
  const auto check = [&](ncclRedOp_t op, double first, double second) {
    const Array<T> result(0, {T(), T()});
    const Array<T> others(1, {T(), T()}), third(0, {T(), T()});
    T* const to[3] = {result.p, others.p, third.p};
    CHECK(ranks.together([&](size_t r) {
      CHECK(ncclAllReduce(arrays[r].p, to[r], 2, TypeOf<T>::code, op, ranks.comms[r], ranks.streams[r]) == ncclSuccess);
    }) == ncclSuccess);
    ranks.wait();
    for (const Array<T>* array : {&result, &others, &third}) {
      CHECK(plain(array->values()[0]) == first);
      CHECK(plain(array->values()[1]) == second);
    }
  };
  check(ncclSum, 18, 9);
  check(ncclProd, 162, 20);
  check(ncclMax, 9, 5);
  check(ncclMin, 3, 2);
  check(ncclAvg, 6, 3);
}

}  // namespace

TEST_CASE("reductions of every type and operation") {
  check_reductions<float>();
  check_reductions<double>();
  check_reductions<int32_t>();
  check_reductions<int64_t>();
  check_reductions<uint8_t>();
  check_reductions<__half>();
  check_reductions<__nv_bfloat16>();
}

TEST_CASE("a sum runs in the order of the ranks, rounded to the type each time; integers wrap around") {
  Ranks ranks(3);
  // 1e8 + 1 is 1e8 in float: only ((1e8 - 1e8) + 1) is 1.
  const float inputs[3] = {1e8f, -1e8f, 1};
  std::vector<Floats> x;
  for (int r = 0; r < 3; ++r) x.emplace_back(r % 2, std::vector<float>{inputs[r]});
  std::vector<Array<int32_t>> y;
  for (int r = 0; r < 3; ++r) y.emplace_back(r % 2, std::vector<int32_t>{INT32_MAX});
  CHECK(ranks.together([&](size_t r) {
    CHECK(ncclAllReduce(x[r].p, x[r].p, 1, ncclFloat32, ncclSum, ranks.comms[r], ranks.streams[r]) == ncclSuccess);
    CHECK(ncclAllReduce(y[r].p, y[r].p, 1, ncclInt32, ncclSum, ranks.comms[r], ranks.streams[r]) == ncclSuccess);
  }) == ncclSuccess);
  ranks.wait();
  CHECK(x[2].values()[0] == 1);
  CHECK(y[1].values()[0] == static_cast<int32_t>(3u * static_cast<uint32_t>(INT32_MAX)));
}

TEST_CASE("broadcast, reduce, gather and scatter, in place and out of place") {
  constexpr size_t n = 3, part = 4;
  const bool in_place = GENERATE(false, true);
  Ranks ranks(n);
  const auto x = numbered(n, n * part), y = numbered(n, n * part);
  const auto ok = [](ncclResult_t code) { CHECK(code == ncclSuccess); };
  const auto value = [](size_t r, size_t i) { return static_cast<float>(r * 100 + i); };
  SECTION("broadcast") {
    ranks.together([&](size_t r) {
      ok(ncclBroadcast(x[r].p, (in_place ? x : y)[r].p, n * part, ncclFloat32, 1, ranks.comms[r], ranks.streams[r]));
    });
    ranks.wait();
    for (size_t r = 0; r < n; ++r)
      for (size_t i = 0; i < n * part; ++i) CHECK((in_place ? x : y)[r].values()[i] == value(1, i));
  }
  SECTION("reduce: the others need no room") {
    ranks.together([&](size_t r) {
      ok(ncclReduce(x[r].p, r == 2 ? (in_place ? x : y)[2].p : nullptr, part, ncclFloat32, ncclSum, 2, ranks.comms[r],
                    ranks.streams[r]));
    });
    ranks.wait();
    for (size_t i = 0; i < part; ++i) CHECK((in_place ? x : y)[2].values()[i] == 300 + 3 * static_cast<float>(i));
    CHECK(x[0].values()[1] == value(0, 1));
  }
  SECTION("gather") {
    ranks.together([&](size_t r) {
      const float* from = in_place ? y[r].p + r * part : x[r].p;
      ok(ncclAllGather(from, y[r].p, part, ncclFloat32, ranks.comms[r], ranks.streams[r]));
    });
    ranks.wait();
    for (size_t r = 0; r < n; ++r)
      for (size_t i = 0; i < n * part; ++i) CHECK(y[r].values()[i] == value(i / part, in_place ? i : i % part));
  }
  SECTION("scatter") {
    ranks.together([&](size_t r) {
      float* to = in_place ? x[r].p + r * part : y[r].p;
      ok(ncclReduceScatter(x[r].p, to, part, ncclFloat32, ncclMax, ranks.comms[r], ranks.streams[r]));
    });
    ranks.wait();
    for (size_t r = 0; r < n; ++r)
      for (size_t i = 0; i < part; ++i)
        CHECK((in_place ? x[r].values()[r * part + i] : y[r].values()[i]) == value(2, r * part + i));
  }
}

TEST_CASE("sends and receives of a group progress together") {
  constexpr size_t n = 4;
  for (uint64_t seed = 0; seed < seeds; ++seed) {
    const Seed order(seed);
    Ranks ranks(n);
    const auto x = numbered(n, 2), y = numbered(n, 2);
    // To the right, from the left, and one to itself.
    const auto ring = [&](size_t r) {
      const int right = static_cast<int>((r + 1) % n), left = static_cast<int>((r + n - 1) % n);
      CHECK(ncclSend(x[r].p, 1, ncclFloat32, right, ranks.comms[r], ranks.streams[r]) == ncclSuccess);
      CHECK(ncclRecv(y[r].p, 1, ncclFloat32, left, ranks.comms[r], ranks.streams[r]) == ncclSuccess);
      CHECK(ncclSend(x[r].p + 1, 1, ncclFloat32, static_cast<int>(r), ranks.comms[r], ranks.streams[r]) == ncclSuccess);
      CHECK(ncclRecv(y[r].p + 1, 1, ncclFloat32, static_cast<int>(r), ranks.comms[r], ranks.streams[r]) == ncclSuccess);
    };
    CHECK(ranks.together(ring) == ncclSuccess);
    ranks.wait();
    for (size_t r = 0; r < n; ++r)
      CHECK(y[r].values() ==
            std::vector<float>{static_cast<float>((r + n - 1) % n * 100), static_cast<float>(r * 100 + 1)});
  }
}

TEST_CASE("ranks are threads: what comes before and after a collective stays there in every order") {
  for (uint64_t seed = 0; seed < seeds; ++seed) {
    const Seed order(seed);
    ncclUniqueId id;
    REQUIRE(ncclGetUniqueId(&id) == ncclSuccess);
    float results[2] = {};
    const auto rank = [&](int r) {
      cudaSetDevice(r);
      ncclComm_t comm = nullptr;
      cudaStream_t stream = nullptr;
      float *x = nullptr, one = 1;
      bool ok = ncclCommInitRank(&comm, 2, id, r) == ncclSuccess;
      ok = ok && cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking) == cudaSuccess;
      ok = ok && cudaMalloc(reinterpret_cast<void**>(&x), sizeof one) == cudaSuccess;
      ok = ok && cudaMemcpyAsync(x, &one, sizeof one, cudaMemcpyHostToDevice, stream) == cudaSuccess;
      for (int i = 0; i < 5; ++i)  // doubles five times
        ok = ok && ncclAllReduce(x, x, 1, ncclFloat32, ncclSum, comm, stream) == ncclSuccess;
      ok = ok && cudaMemcpyAsync(&results[r], x, sizeof one, cudaMemcpyDeviceToHost, stream) == cudaSuccess;
      ok = ok && ncclCommFinalize(comm) == ncclSuccess && ncclCommDestroy(comm) == ncclSuccess;
      ok = ok && cudaStreamDestroy(stream) == cudaSuccess && cudaFree(x) == cudaSuccess;
      if (!ok) results[r] = -1;
    };
    std::thread other(rank, 1);
    rank(0);
    other.join();
    cudaSetDevice(0);
    CHECK(results[0] == 32);
    CHECK(results[1] == 32);
  }
}

TEST_CASE("a gradient that is not ready when it is summed shows under some seed") {
  int wrong = 0;
  for (uint64_t seed = 0; seed < seeds; ++seed) {
    const Seed order(seed);
    for (const bool waits : {true, false}) {
      Ranks ranks(2);
      const auto x = numbered(2, 1);
      cudaStream_t compute = nullptr;
      cudaEvent_t event = nullptr;
      REQUIRE(cudaStreamCreateWithFlags(&compute, cudaStreamNonBlocking) == cudaSuccess);
      REQUIRE(cudaEventCreateWithFlags(&event, cudaEventDisableTiming) == cudaSuccess);
      REQUIRE(cudaMemcpyAsync(x[0].p, x[1].p, sizeof(float), cudaMemcpyDeviceToDevice, compute) == cudaSuccess);
      REQUIRE(cudaEventRecord(event, compute) == cudaSuccess);
      if (waits) REQUIRE(cudaStreamWaitEvent(ranks.streams[0], event, 0) == cudaSuccess);
      ranks.together(
          [&](size_t r) { ncclAllReduce(x[r].p, x[r].p, 1, ncclFloat32, ncclSum, ranks.comms[r], ranks.streams[r]); });
      REQUIRE(cudaDeviceSynchronize() == cudaSuccess);
      const bool right = x[1].values()[0] == 200;
      if (waits) CHECK(right);
      wrong += !right;
      cudaEventDestroy(event);
      cudaStreamDestroy(compute);
    }
  }
  CHECK(wrong > 0);
}

TEST_CASE("ranks that disagree are a fault that names both calls") {
  const Fault fault;
  Ranks ranks(2);
  const auto x = numbered(2, 8);
  SECTION("count") {
    ranks.together([&](size_t r) {
      ncclAllReduce(x[r].p, x[r].p, 7 + r, ncclFloat32, ncclSum, ranks.comms[r], ranks.streams[r]);
    });
    CHECK(cudaStreamSynchronize(ranks.streams[0]) == cudaErrorLaunchFailure);
    CHECK_THAT(fault.text(), ContainsSubstring("ncclAllReduce of 7") && ContainsSubstring("ncclAllReduce of 8"));
  }
  SECTION("operation") {
    ranks.together([&](size_t r) {
      ncclAllReduce(x[r].p, x[r].p, 8, ncclFloat32, r ? ncclSum : ncclMax, ranks.comms[r], ranks.streams[r]);
    });
    CHECK(cudaStreamSynchronize(ranks.streams[0]) == cudaErrorLaunchFailure);
  }
  SECTION("collective") {
    ranks.together([&](size_t r) {
      if (r)
        ncclAllReduce(x[r].p, x[r].p, 8, ncclFloat32, ncclSum, ranks.comms[r], ranks.streams[r]);
      else
        ncclBroadcast(x[r].p, x[r].p, 8, ncclFloat32, 0, ranks.comms[r], ranks.streams[r]);
    });
    CHECK(cudaStreamSynchronize(ranks.streams[1]) == cudaErrorLaunchFailure);
    CHECK_THAT(fault.text(), ContainsSubstring("ncclAllReduce") && ContainsSubstring("ncclBroadcast"));
  }
  SECTION("type of a transfer") {
    ranks.together([&](size_t r) {
      if (r)
        ncclSend(x[1].p, 4, ncclFloat32, 0, ranks.comms[1], ranks.streams[1]);
      else
        ncclRecv(x[0].p, 4, ncclInt32, 1, ranks.comms[0], ranks.streams[0]);
    });
    CHECK(cudaStreamSynchronize(ranks.streams[0]) == cudaErrorLaunchFailure);
    CHECK_THAT(fault.text(), ContainsSubstring("ncclSend to 0") && ContainsSubstring("ncclRecv from 1"));
  }
  ncclResult_t error = ncclSuccess;
  CHECK(ncclCommGetAsyncError(ranks.comms[0], &error) == ncclSuccess);
  CHECK(error == ncclUnhandledCudaError);
}

TEST_CASE("a rank that does not come is a deadlock that names who waits") {
  const Fault fault;
  const Patience patience(50);
  Ranks ranks(2);
  const auto x = numbered(2, 1);
  CHECK(ncclAllReduce(x[0].p, x[0].p, 1, ncclFloat32, ncclSum, ranks.comms[0], ranks.streams[0]) == ncclSuccess);
  CHECK(cudaStreamQuery(ranks.streams[0]) == cudaErrorNotReady);
  CHECK(cudaStreamSynchronize(ranks.streams[0]) == cudaErrorLaunchFailure);
  CHECK_THAT(fault.text(),
             ContainsSubstring("deadlock") && ContainsSubstring("ncclAllReduce") && ContainsSubstring("rank 0 of 2"));
}

TEST_CASE("sends before receives without a group are a deadlock") {
  const Fault fault;
  const Patience patience(50);
  Ranks ranks(2);
  const auto x = numbered(2, 2);
  const auto rank = [&](size_t r) {
    const int peer = r ? 0 : 1;
    ncclSend(x[r].p, 1, ncclFloat32, peer, ranks.comms[r], ranks.streams[r]);
    ncclRecv(x[r].p + 1, 1, ncclFloat32, peer, ranks.comms[r], ranks.streams[r]);
  };
  std::thread other(rank, 1);
  other.join();
  rank(0);
  CHECK(cudaStreamSynchronize(ranks.streams[0]) == cudaErrorLaunchFailure);
  CHECK_THAT(fault.text(), ContainsSubstring("ncclSend to 0") && ContainsSubstring("ncclSend to 1"));
}

TEST_CASE("abort ends what waits, and the others hear of it") {
  Ranks ranks(2);
  const auto x = numbered(2, 1);
  const auto sum = [&](size_t r) {
    return ncclAllReduce(x[r].p, x[r].p, 1, ncclFloat32, ncclSum, ranks.comms[r], ranks.streams[r]);
  };
  CHECK(sum(0) == ncclSuccess);
  std::thread watchdog([&] { CHECK(ncclCommAbort(ranks.comms[0]) == ncclSuccess); });
  CHECK(cudaStreamSynchronize(ranks.streams[0]) == cudaSuccess);
  watchdog.join();
  CHECK(x[0].values()[0] == 0);
  ncclResult_t error = ncclSuccess;
  CHECK(ncclCommGetAsyncError(ranks.comms[1], &error) == ncclSuccess);
  CHECK(error == ncclRemoteError);
  CHECK(sum(0) == ncclInvalidArgument);  // the communicator is gone
  CHECK(ncclCommDestroy(ranks.comms[0]) == ncclInvalidArgument);
  std::thread([&] { CHECK(sum(1) == ncclSuccess); }).join();
  CHECK(cudaStreamQuery(ranks.streams[1]) == cudaErrorNotReady);  // as the real one: until it aborts too
  CHECK(ncclCommAbort(ranks.comms[1]) == ncclSuccess);
  CHECK(cudaStreamSynchronize(ranks.streams[1]) == cudaSuccess);
  CHECK(x[1].values()[0] == 100);
}

TEST_CASE("communicators are made by all ranks, in one group or without waiting") {
  ncclUniqueId id;
  REQUIRE(ncclGetUniqueId(&id) == ncclSuccess);
  ncclComm_t comms[2] = {};
  SECTION("a group") {
    CHECK(ncclGroupStart() == ncclSuccess);
    for (int r = 0; r < 2; ++r) {
      cudaSetDevice(1 - r);
      CHECK(ncclCommInitRank(&comms[r], 2, id, r) == ncclSuccess);
    }
    cudaSetDevice(0);
    CHECK(ncclGroupEnd() == ncclSuccess);
    int count = 0, rank = -1, device = -1;
    CHECK(ncclCommCount(comms[1], &count) == ncclSuccess);
    CHECK(ncclCommUserRank(comms[1], &rank) == ncclSuccess);
    CHECK(ncclCommCuDevice(comms[0], &device) == ncclSuccess);
    CHECK(count == 2);
    CHECK(rank == 1);
    CHECK(device == 1);
  }
  SECTION("without waiting") {
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    ncclResult_t state = ncclSuccess;
    CHECK(ncclCommInitRankConfig(&comms[0], 2, id, 0, &config) == ncclInProgress);
    CHECK(ncclCommGetAsyncError(comms[0], &state) == ncclSuccess);
    CHECK(state == ncclInProgress);
    CHECK(ncclAllReduce(nullptr, nullptr, 0, ncclFloat32, ncclSum, comms[0], nullptr) == ncclInvalidUsage);
    cudaSetDevice(1);
    CHECK(ncclCommInitRankConfig(&comms[1], 2, id, 1, &config) == ncclSuccess);
    cudaSetDevice(0);
    CHECK(ncclCommGetAsyncError(comms[0], &state) == ncclSuccess);
    CHECK(state == ncclSuccess);

    // A call is taken over later: what is in the stream before that is before it.
    const auto x = numbered(2, 1);
    const auto sum = [&](size_t r) {
      return ncclAllReduce(x[r].p, x[r].p, 1, ncclFloat32, ncclSum, comms[r], nullptr);
    };
    CHECK(sum(0) == ncclInProgress);
    CHECK(sum(0) == ncclInvalidArgument);
    CHECK_THAT(ncclGetLastError(comms[0]), ContainsSubstring("busy"));
    const auto finish = [](ncclComm_t comm) {
      int asked = 0;
      for (ncclResult_t now = ncclInProgress; now == ncclInProgress; ++asked) ncclCommGetAsyncError(comm, &now);
      return asked;
    };
    CHECK(finish(comms[0]) > 1);
    std::thread([&] {
      cudaSetDevice(1);
      CHECK(sum(1) == ncclInProgress);
      CHECK(finish(comms[1]) > 1);
    }).join();
    CHECK(x[0].values()[0] == 100);
  }
  SECTION("two ranks on one device") {
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    for (int r = 0; r < 2; ++r) ncclCommInitRankConfig(&comms[r], 2, id, r, &config);
    ncclResult_t state = ncclSuccess;
    CHECK(ncclCommGetAsyncError(comms[0], &state) == ncclSuccess);
    CHECK(state == ncclInvalidUsage);
    CHECK_THAT(ncclGetLastError(comms[0]), ContainsSubstring("Duplicate GPU"));
  }
  SECTION("bad arguments") {
    const Patience patience(20);
    CHECK(ncclCommInitRank(&comms[0], 2, id, 2) == ncclInvalidArgument);
    CHECK(ncclCommInitRank(&comms[0], 2, ncclUniqueId{}, 0) == ncclInvalidArgument);
    CHECK(ncclCommInitRank(&comms[0], 2, id, 0) == ncclSystemError);  // nobody else comes
    CHECK_THAT(ncclGetLastError(nullptr), ContainsSubstring("rank 0 of 2"));
    CHECK(ncclCommInitRank(&comms[1], 2, id, 0) == ncclInvalidUsage);
    CHECK(ncclCommInitRank(&comms[1], 3, id, 1) == ncclInvalidArgument);
    ncclConfig_t config = {};
    CHECK(ncclCommInitRankConfig(&comms[1], 2, id, 1, &config) == ncclInvalidArgument);
    const int devices[1] = {2};
    CHECK(ncclCommInitAll(&comms[1], 1, devices) == ncclInvalidArgument);
  }
  for (const ncclComm_t comm : comms) CHECK(ncclCommDestroy(comm) == ncclSuccess);
}

TEST_CASE("calls that the library would refuse, and misuse that would hang it") {
  Ranks ranks(2);
  const auto x = numbered(2, 4);
  std::vector<float> host(4);
  const auto sum = [&](const void* from, void* to, size_t n, ncclDataType_t type = ncclFloat32) {
    return ncclAllReduce(from, to, n, type, ncclSum, ranks.comms[0], ranks.streams[0]);
  };
  CHECK(sum(host.data(), x[0].p, 4) == ncclInvalidArgument);
  CHECK(sum(x[0].p, x[0].p, 5) == ncclInvalidArgument);
  CHECK(sum(x[0].p, nullptr, 4) == ncclInvalidArgument);
  CHECK(sum(x[1].p, x[1].p, 4) == ncclInvalidArgument);  // memory of device 1
  CHECK(sum(x[0].p, x[0].p + 1, 2) == ncclInvalidArgument);
  CHECK_THAT(ncclGetLastError(ranks.comms[0]), ContainsSubstring("overlap"));
  CHECK(sum(reinterpret_cast<char*>(x[0].p) + 2, x[0].p, 1) == ncclInvalidArgument);
  CHECK(sum(x[0].p, x[0].p, 4, ncclFloat8e4m3) == ncclInvalidArgument);
  CHECK(sum(x[0].p, x[0].p, SIZE_MAX / 8) == ncclInvalidArgument);
  const auto call = [&](ncclRedOp_t op, int root, ncclComm_t comm, cudaStream_t stream) {
    return ncclReduce(x[0].p, x[0].p, 4, ncclFloat32, op, root, comm, stream);
  };
  CHECK(call(static_cast<ncclRedOp_t>(5), 0, ranks.comms[0], ranks.streams[0]) == ncclInvalidArgument);
  CHECK(call(ncclSum, 2, ranks.comms[0], ranks.streams[0]) == ncclInvalidArgument);
  CHECK(call(ncclSum, 0, nullptr, ranks.streams[0]) == ncclInvalidArgument);
  CHECK(call(ncclSum, 0, ranks.comms[0], ranks.streams[1]) == ncclInvalidArgument);  // of device 1
  CHECK(ncclSend(x[0].p, 4, ncclFloat32, 2, ranks.comms[0], ranks.streams[0]) == ncclInvalidArgument);
  CHECK(ncclGroupEnd() == ncclInvalidUsage);

  // What is refused inside a group, the group's end returns, and nothing of it is done.
  CHECK(ranks.together([&](size_t r) {
    ncclAllReduce(x[r].p, x[r].p, 4 + r, ncclFloat32, ncclSum, ranks.comms[r], ranks.streams[r]);
  }) == ncclInvalidArgument);
  ranks.wait();
  CHECK(x[0].values()[0] == 0);

  CHECK(sum(x[0].p, x[0].p, 4) == ncclSuccess);
  CHECK(ncclAllReduce(x[1].p, x[1].p, 4, ncclFloat32, ncclSum, ranks.comms[1], ranks.streams[1]) == ncclInvalidUsage);
  CHECK_THAT(ncclGetLastError(nullptr), ContainsSubstring("ncclGroupStart"));
  for (ncclComm_t& comm : ranks.comms) CHECK(ncclCommAbort(std::exchange(comm, nullptr)) == ncclSuccess);
}

TEST_CASE("a finalized communicator takes no more calls") {
  Ranks ranks(1);
  const auto x = numbered(1, 1);
  CHECK(ncclCommFinalize(ranks.comms[0]) == ncclSuccess);
  CHECK(ncclCommFinalize(ranks.comms[0]) == ncclInvalidUsage);
  CHECK(ncclAllReduce(x[0].p, x[0].p, 1, ncclFloat32, ncclSum, ranks.comms[0], ranks.streams[0]) == ncclInvalidUsage);
  int version = 0;
  CHECK(ncclGetVersion(&version) == ncclSuccess);
  CHECK(version == NCCL_VERSION_CODE);
  CHECK(std::string(ncclGetErrorString(ncclInvalidUsage)) == "invalid usage");
}
