// A live progress line for a training loop. Curves and pictures live in chart and picture, the record in run_folder.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>

#include <gradus/core/box.h>
#include <gradus/core/tensor.h>

namespace gradus {

/// A number, or a tensor of one element whose value is read when the line is drawn: a loss on an accelerator then costs
/// a wait at most 20 times a second. The tensor is kept without its graph.
class GRADUS_API MetricValue {
 public:
  MetricValue(double number) : number_(number) {}
  /// @throws ShapeError unless the tensor has one element.
  MetricValue(const Tensor& tensor);
  double read() const;

 private:
  double number_ = 0;
  Tensor tensor_;
};

/// A named number of one step.
struct Metric {
  std::string_view name;
  MetricValue value;
};

struct ProgressOptions {
  bool quiet = false;          ///< print nothing at all
  std::string unit = "items";  ///< what `items_per_step` counts, as shown: "img", "tokens"
  int64_t done = 0;            ///< steps done before this process started, for a resumed run
  double plain_interval = 10;  ///< seconds between two lines where the line cannot be redrawn
  int fd = 1;                  ///< file descriptor written to
};

/// Progress through a known or unknown number of steps.
///
///     epoch 3/6 ━━━━━━━╸── 68% 319/468 | loss 0.2417 acc 0.9110 | 41.2 it/s 5.3k img/s | ETA 0:04 | 1.2 GB
///
/// On a terminal one line is redrawn, at most 20 times a second, and fitted to its width: the least important parts go
/// first. Elsewhere (a pipe, a file, TERM=dumb) a plain line appears every `plain_interval` seconds or every tenth of
/// the steps, whichever is rarer, and at the end. The memory is the resident set of this process. Rates and ETA follow
/// the last seconds; the last line gives the mean rate and the time it all took.
///
/// The cursor is never hidden, so nothing needs repair after a crash; the destructor ends the line. An output that
/// cannot be written to is ignored. One thread at a time may use a Progress.
class GRADUS_API Progress {
 public:
  /// @param total_steps steps in all; 0 when unknown.
  /// @throws ValueError when total_steps or options.done is negative.
  Progress(std::string_view label, int64_t total_steps, ProgressOptions options = {});
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  ~Progress();

  /// One more step is done. `items_per_step` is what the step processed (the batch size); 0 shows no second rate.
  void tick(std::initializer_list<Metric> metrics = {}, int64_t items_per_step = 0);

  /// Prints a line of text above the progress line.
  void print(std::string_view line);

  /// Draws the last state and ends the line; later calls do nothing. The destructor calls it.
  void finish();

 private:
  struct State;
  Box<State> state_;
};

}  // namespace gradus
