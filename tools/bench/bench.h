// What every bench program shares, Gradus's and the peers': command line, timing, one JSON line per figure.
// Standard library only; the numbers that fill tensors are in synthetic.h.
#pragma once
#include <time.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace bench {

// PROGRAM [--threads N] [--seconds S] ID...: measure the figures named, each for about S seconds.
struct Options {
  int threads = 1;
  double seconds = 0.2;
  std::vector<std::string> ids;
};

inline Options parse_options(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    const bool has_value = i + 1 < argc;
    if (argument == "--threads" && has_value) {
      options.threads = std::atoi(argv[++i]);
    } else if (argument == "--seconds" && has_value) {
      options.seconds = std::atof(argv[++i]);
    } else {
      options.ids.emplace_back(argument);
    }
  }
  return options;
}

[[noreturn]] inline void unknown_id(const std::string& id) {
  std::fprintf(stderr, "no figure is called '%s'\n", id.c_str());
  std::exit(2);
}

// The parts of an id: "gemm/nn/256" -> gemm, nn, 256. Missing parts are empty.
inline std::vector<std::string> split_id(const std::string& id) {
  std::vector<std::string> parts;
  for (size_t begin = 0; begin <= id.size();) {
    const size_t end = std::min(id.find('/', begin), id.size());
    parts.push_back(id.substr(begin, end - begin));
    begin = end + 1;
  }
  parts.resize(std::max<size_t>(parts.size(), 3));
  return parts;
}

// What measures the figures of one family, "gemm" of "gemm/nn/256".
using Family = void (*)(const std::string& id, const std::vector<std::string>& parts, const Options& options);

inline void run_families(const Options& options, const std::map<std::string, Family>& families) {
  for (const std::string& id : options.ids) {
    const std::vector<std::string> parts = split_id(id);
    const auto family = families.find(parts[0]);
    if (family == families.end()) unknown_id(id);
    family->second(id, parts, options);
  }
}

// Seconds on the wall and seconds of this process's CPU time. The second is immune to preemption: it counts for
// one-thread figures when the machine turns out not to have been quiet.
struct Instant {
  double wall, cpu;
};

inline Instant now() {
  const auto read = [](clockid_t clock) {
    timespec t;
    clock_gettime(clock, &t);
    return double(t.tv_sec) + 1e-9 * double(t.tv_nsec);
  };
  return {read(CLOCK_MONOTONIC), read(CLOCK_PROCESS_CPUTIME_ID)};
}

// Seconds per call: the median on the wall, the minimum in CPU time.
struct Timing {
  double wall, cpu;
};

class Stopwatch {
 public:
  void start() { start_ = now(); }
  void stop(double calls = 1) {
    const Instant end = now();
    wall_.push_back((end.wall - start_.wall) / calls);
    cpu_.push_back((end.cpu - start_.cpu) / calls);
  }
  size_t samples() const { return wall_.size(); }
  Timing timing() const {
    std::vector<double> sorted = wall_;
    std::sort(sorted.begin(), sorted.end());
    return {sorted[sorted.size() / 2], *std::min_element(cpu_.begin(), cpu_.end())};
  }

 private:
  Instant start_{};
  std::vector<double> wall_, cpu_;
};

// Time `work()`, in batches long enough (1 ms) that reading the clocks does not count.
template <class Work>
Timing measure(double seconds, Work&& work) {
  constexpr double batch_seconds = 1e-3;
  constexpr size_t min_samples = 5;
  work();  // the first call fills caches and allocates
  const Instant before = now();
  work();
  const double once = std::max(now().wall - before.wall, 1e-8);
  const int64_t calls = std::max<int64_t>(1, int64_t(batch_seconds / once));
  Stopwatch watch;
  const double end = now().wall + seconds;
  do {
    watch.start();
    for (int64_t i = 0; i < calls; ++i) work();
    watch.stop(double(calls));
  } while (now().wall < end || watch.samples() < min_samples);
  return watch.timing();
}

// Time `work(prepared)` alone, on something `prepare()` builds anew for each sample.
template <class Prepare, class Work>
Timing measure_prepared(double seconds, Prepare&& prepare, Work&& work) {
  constexpr size_t min_samples = 3;
  Stopwatch watch;
  {
    auto prepared = prepare();  // warm-up
    work(prepared);
  }
  const double end = now().wall + seconds;
  do {
    auto prepared = prepare();
    watch.start();
    work(prepared);
    watch.stop();
  } while (now().wall < end || watch.samples() < min_samples);
  return watch.timing();
}

inline void report(const std::string& id, double value, const char* unit, double cpu) {
  std::printf("{\"id\": \"%s\", \"value\": %.6g, \"unit\": \"%s\", \"cpu\": %.6g}\n", id.c_str(), value, unit, cpu);
  std::fflush(stdout);
}
inline void report(const std::string& id, double value, const char* unit) { report(id, value, unit, value); }

// A time; `scale` units to the second.
inline void report_time(const std::string& id, Timing t, double scale, const char* unit) {
  report(id, t.wall * scale, unit, t.cpu * scale);
}

// A rate: `work` GFLOP or GB a call.
inline void report_rate(const std::string& id, Timing t, double work, const char* unit) {
  report(id, work / t.wall, unit, work / t.cpu);
}

// A field of /proc/self/status in bytes: VmRSS is what the process holds, VmHWM the most it ever held.
inline double memory_bytes(const char* field) {
  double kilobytes = 0;
  if (FILE* file = std::fopen("/proc/self/status", "r")) {
    char line[256];
    const size_t length = std::strlen(field);
    while (std::fgets(line, sizeof line, file)) {
      if (std::strncmp(line, field, length) == 0 && line[length] == ':') kilobytes = std::atof(line + length + 1);
    }
    std::fclose(file);
  }
  return kilobytes * 1024;
}

}  // namespace bench
