// The workloads that Gradus and its peers both run: shapes, and the loop that times a training step.
// figures.py computes its bounds from the same shapes.
#pragma once
#include <array>
#include <functional>
#include <string>

#include "bench.h"

namespace bench {

// Pre-norm transformer language models over characters. Attention is full (masked, not skipped) in the peers.
struct GptSize {
  int64_t layers, width, heads, context, batch;
  int64_t vocabulary = 96;
};
inline constexpr GptSize gpt_s{4, 128, 4, 128, 16};
inline constexpr GptSize gpt_m{6, 384, 6, 256, 8};

inline constexpr int64_t image_batch = 64;
inline constexpr int64_t image_classes = 10;
inline constexpr double learning_rate = 3e-4;  // AdamW, all other options at PyTorch's defaults

// 3x3 filters, padding 1: (n, c, size, size) -> (n, filters, size, size).
struct ConvShape {
  const char* name;
  int64_t n, c, size, filters;
  double gflop() const { return 2e-9 * double(n * filters * c * 9 * size * size); }
};
inline constexpr std::array conv_shapes{ConvShape{"n64c32s28", 64, 32, 28, 64}, ConvShape{"n16c64s56", 16, 64, 56, 64}};

inline const ConvShape& conv_shape(const std::string& id, const std::string& name) {
  for (const ConvShape& shape : conv_shapes) {
    if (name == shape.name) return shape;
  }
  unknown_id(id);
}

// 100 MiB of floats as a matrix.
inline constexpr int64_t stream_rows = 25600, stream_columns = 1024;
inline constexpr int64_t stream_numel = stream_rows * stream_columns;
// The least bytes that have to move: an input read and an output written; AdamW reads four arrays and writes three.
inline constexpr double stream_gigabytes = 1e-9 * 2 * sizeof(float) * stream_numel;
inline constexpr double adamw_gigabytes = 1e-9 * 7 * sizeof(float) * stream_numel;

// Time `step`, which does one whole training step and returns its loss. Besides the milliseconds a step it reports
// the first loss and its fall after five steps, by which the harness sees whether two sides computed the same, and
// the peak memory of the process.
inline void time_training(const std::string& workload, double seconds, const std::function<double()>& step) {
  constexpr int warmup_steps = 5, min_samples = 3;
  const double first = step();
  for (int i = 1; i < warmup_steps; ++i) step();
  Stopwatch watch;
  double last = 0;
  const double end = now().wall + seconds;
  do {
    watch.start();
    const double loss = step();
    watch.stop();
    if (watch.samples() == 1) last = loss;
  } while (now().wall < end || watch.samples() < min_samples);
  report_time("train/" + workload, watch.timing(), 1e3, "ms");
  report("loss/" + workload, first, "");
  report("fall/" + workload, first - last, "");
  report("memory/" + workload, memory_bytes("VmHWM") / 1e6, "MB");
}

}  // namespace bench
