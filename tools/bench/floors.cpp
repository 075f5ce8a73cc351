// What this machine can do at best, measured: the bounds that other figures are compared with. Nothing of Gradus here.
// bench_floors [--threads N] [--seconds S] floor/fma|copy|copy_streaming|update...
#include <barrier>
#include <functional>
#include <memory>
#include <new>
#include <thread>

#include "workloads.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace {

// A range of the arrays that one thread works on; a multiple of 16 floats.
struct Range {
  float* out;
  const float* in;
  int64_t numel;
};

// The kernels of one instruction set.
struct Kernels {
  int lanes;                      // floats in a vector
  float (*fma)(int64_t rounds);   // `accumulators` vector FMAs a round, independent of each other
  void (*copy)(Range);            // ordinary stores: the line written is read first
  void (*copy_streaming)(Range);  // stores past the cache
  void (*update)(Range);          // out = f(out): stores to lines just read, as an optimizer does
};

constexpr int accumulators = 12;  // latency x throughput of FMA is 8 to 10 on the cores of today

// Intrinsics differ between instruction sets by name only, and a template cannot carry a target attribute: a macro.
#define GRADUS_FLOOR_KERNELS(name, isa, Vector, prefix)                                                       \
  struct name {                                                                                               \
    static constexpr int lanes = sizeof(Vector) / sizeof(float);                                              \
    [[gnu::target(isa)]] static float fma(int64_t rounds) {                                                   \
      const Vector factor = prefix##_set1_ps(0.999f), term = prefix##_set1_ps(1e-3f);                         \
      Vector sums[accumulators];                                                                              \
      for (int i = 0; i < accumulators; ++i) sums[i] = prefix##_set1_ps(float(i));                            \
      for (int64_t round = 0; round < rounds; ++round) {                                                      \
        _Pragma("GCC unroll 16") for (Vector & sum : sums) sum = prefix##_fmadd_ps(sum, factor, term);        \
      }                                                                                                       \
      for (int i = 1; i < accumulators; ++i) sums[0] += sums[i];                                              \
      return sums[0][0];                                                                                      \
    }                                                                                                         \
    [[gnu::target(isa)]] static void copy(Range r) {                                                          \
      for (int64_t i = 0; i < r.numel; i += lanes) prefix##_store_ps(r.out + i, prefix##_load_ps(r.in + i));  \
    }                                                                                                         \
    [[gnu::target(isa)]] static void copy_streaming(Range r) {                                                \
      for (int64_t i = 0; i < r.numel; i += lanes) prefix##_stream_ps(r.out + i, prefix##_load_ps(r.in + i)); \
      _mm_sfence();                                                                                           \
    }                                                                                                         \
    [[gnu::target(isa)]] static void update(Range r) {                                                        \
      const Vector factor = prefix##_set1_ps(0.999f);                                                         \
      for (int64_t i = 0; i < r.numel; i += lanes)                                                            \
        prefix##_store_ps(r.out + i, prefix##_mul_ps(prefix##_load_ps(r.out + i), factor));                   \
    }                                                                                                         \
    static constexpr Kernels kernels{lanes, fma, copy, copy_streaming, update};                               \
  }

#if defined(__x86_64__)
GRADUS_FLOOR_KERNELS(Avx512, "avx512f", __m512, _mm512);
GRADUS_FLOOR_KERNELS(Avx2, "avx2,fma", __m256, _mm256);
#endif

// What the compiler makes of plain loops. There is no portable streaming store.
struct Portable {
  static constexpr int lanes = 4;
  static float fma(int64_t rounds) {
    float sums[accumulators * lanes];
    for (int i = 0; i < accumulators * lanes; ++i) sums[i] = float(i);
    for (int64_t round = 0; round < rounds; ++round) {
      for (float& sum : sums) sum = sum * 0.999f + 1e-3f;
    }
    for (int i = 1; i < accumulators * lanes; ++i) sums[0] += sums[i];
    return sums[0];
  }
  static void copy(Range r) { std::copy_n(r.in, r.numel, r.out); }
  static void update(Range r) {
    for (int64_t i = 0; i < r.numel; ++i) r.out[i] *= 0.999f;
  }
  static constexpr Kernels kernels{lanes, fma, copy, nullptr, update};
};

const Kernels& best_kernels() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f")) return Avx512::kernels;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return Avx2::kernels;
#endif
  return Portable::kernels;
}

// The caller and threads - 1 helpers do the same work on parts of their own, starting and ending together.
class Team {
 public:
  explicit Team(int threads) : barrier_(threads) {
    for (int part = 1; part < threads; ++part) helpers_.emplace_back([this, part] { help(part); });
  }
  ~Team() { run(nullptr); }
  Team(const Team&) = delete;

  void run(std::function<void(int part)> work) {
    work_ = std::move(work);
    barrier_.arrive_and_wait();
    if (!work_) return;
    work_(0);
    barrier_.arrive_and_wait();
  }

 private:
  void help(int part) {
    for (barrier_.arrive_and_wait(); work_; barrier_.arrive_and_wait()) {
      work_(part);
      barrier_.arrive_and_wait();
    }
  }

  std::barrier<> barrier_;
  std::function<void(int)> work_;
  std::vector<std::jthread> helpers_;
};

struct Free {
  void operator()(float* p) const { ::operator delete[](p, std::align_val_t(64)); }
};
using Array = std::unique_ptr<float[], Free>;

Array make_array(int64_t numel) {
  Array array(static_cast<float*>(::operator new[](size_t(numel) * sizeof(float), std::align_val_t(64))));
  std::fill_n(array.get(), numel, 1.0f);
  return array;
}

void fma(const std::string& id, const Kernels& kernels, Team& team, const bench::Options& options) {
  constexpr int64_t rounds = 200'000;
  std::vector<float> sums(size_t(options.threads) * 16);  // a cache line each
  const auto work = [&] { team.run([&](int part) { sums[size_t(part) * 16] = kernels.fma(rounds); }); };
  const double gflop = 2e-9 * double(rounds * accumulators * kernels.lanes * options.threads);
  bench::report_rate(id, bench::measure(options.seconds, work), gflop, "GFLOP/s");
}

// GB/s of 100 MiB read and 100 MiB written.
void move(const std::string& id, void (*kernel)(Range), Team& team, const bench::Options& options) {
  constexpr int64_t step = 16;  // floats: a cache line and the widest vector
  const Array in = make_array(bench::stream_numel), out = make_array(bench::stream_numel);
  const auto bound = [&](int part) { return bench::stream_numel * part / options.threads / step * step; };
  const auto work = [&] {
    team.run([&](int part) {
      const int64_t begin = bound(part);
      kernel({out.get() + begin, in.get() + begin, bound(part + 1) - begin});
    });
  };
  bench::report_rate(id, bench::measure(options.seconds, work), bench::stream_gigabytes, "GB/s");
}

}  // namespace

int main(int argc, char** argv) {
  const bench::Options options = bench::parse_options(argc, argv);
  const Kernels& kernels = best_kernels();
  Team team(options.threads);
  for (const std::string& id : options.ids) {
    if (id == "floor/fma") {
      fma(id, kernels, team, options);
    } else if (id == "floor/copy") {
      move(id, kernels.copy, team, options);
    } else if (id == "floor/copy_streaming") {
      if (kernels.copy_streaming) move(id, kernels.copy_streaming, team, options);
    } else if (id == "floor/update") {
      move(id, kernels.update, team, options);
    } else {
      bench::unknown_id(id);
    }
  }
}
