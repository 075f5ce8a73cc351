// The progress line: what is on it, how it is fitted to the width, when it is drawn.
#include <gradus/data/display/progress.h>

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <utility>
#include <vector>

#include <gradus/core/error.h>
#include <gradus/data/display/detail/text.h>
#include <gradus/data/display/terminal.h>

namespace gradus {
namespace {

using Clock = std::chrono::steady_clock;
constexpr double redraw_interval = 0.05;  // seconds
constexpr double rate_memory = 3.0;       // seconds after which an old rate weighs 1/e
constexpr int shortest_bar = 8, longest_bar = 30;

double seconds_between(Clock::time_point a, Clock::time_point b) {
  return std::chrono::duration<double>(b - a).count();
}

/// Steps per second, an exponential mean over the last seconds without the bias of its start.
class Rate {
 public:
  void update(double now, int64_t steps) {
    const double elapsed = now - last_time_;
    if (elapsed < 1e-3 || steps == last_steps_) return;
    const double decay = std::exp(-elapsed / rate_memory);
    mean_ = mean_ * decay + (1 - decay) * static_cast<double>(steps - last_steps_) / elapsed;
    weight_ = weight_ * decay + (1 - decay);
    last_time_ = now;
    last_steps_ = steps;
  }
  double per_second() const { return weight_ > 0 ? mean_ / weight_ : 0; }

 private:
  double last_time_ = 0, mean_ = 0, weight_ = 0;
  int64_t last_steps_ = 0;
};

/// Bytes of this process that are in memory now, 0 when the system does not tell.
int64_t resident_bytes() {
  char text[128];
  const int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  const ssize_t size = read(fd, text, sizeof text - 1);
  close(fd);
  if (size <= 0) return 0;
  text[size] = '\0';
  long long all = 0, resident = 0;
  return std::sscanf(text, "%lld %lld", &all, &resident) == 2 ? resident * sysconf(_SC_PAGESIZE) : 0;
}

/// A display must not stop a training: what cannot be written is lost.
void write_all(int fd, std::string_view text) {
  if (fd == STDOUT_FILENO) std::fflush(stdout);  // keeps the order with what the program printed itself
  while (!text.empty()) {
    const ssize_t written = write(fd, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return;
    text.remove_prefix(static_cast<size_t>(written));
  }
}

std::string draw_bar(double fraction, int cells, const Terminal& terminal, bool complete) {
  const std::string_view full = terminal.utf8 ? "━" : "=", half = terminal.utf8 ? "╸" : ">",
                         rest = terminal.utf8 ? "─" : "-";
  const int halves = static_cast<int>(fraction * 2 * cells);
  std::string done, left;
  for (int i = 0; i < halves / 2; ++i) done += full;
  if (halves % 2) done += half;
  for (int i = (halves + 1) / 2; i < cells; ++i) left += rest;
  return detail::paint(done, complete ? "32" : "36", terminal.colors) +
         detail::paint(left, left.empty() ? "" : "2", terminal.colors);
}

// What leaves a line that is too narrow: the smallest value first.
enum class Rank { memory, item_rate, step_rate, count, other_metric, bar, time, first_metric, percent, label };

struct Part {
  Rank rank;
  int group;  // groups stand between bars, the parts of one group between spaces
  std::string text;
  std::string_view color = "";
};

int width_of(const std::vector<Part>& parts) {
  int width = 0;
  for (size_t i = 0; i < parts.size(); ++i) {
    width += parts[i].rank == Rank::bar ? shortest_bar : detail::display_width(parts[i].text);
    if (i > 0) width += parts[i].group == parts[i - 1].group ? 1 : 3;
  }
  return width;
}

/// Removes the least important parts, of equals the last, until the line fits; the label stays and is cut.
void fit(std::vector<Part>& parts, int width, bool utf8) {
  while (parts.size() > 1 && width_of(parts) > width) {
    auto least = parts.begin();
    for (auto part = parts.begin(); part != parts.end(); ++part) {
      if (part->rank <= least->rank) least = part;
    }
    parts.erase(least);
  }
  if (parts.size() == 1) parts[0].text = detail::clip(parts[0].text, width, utf8);
}

}  // namespace

struct Progress::State {
  State(std::string_view name, int64_t total_steps, ProgressOptions wishes)
      : label(name), total(total_steps), done(wishes.done), options(std::move(wishes)) {}

  std::string label;
  int64_t total, done;
  ProgressOptions options;
  Terminal terminal;
  std::vector<std::pair<std::string, MetricValue>> metrics;
  int64_t items = 0;
  Rate rate;
  Clock::time_point start = Clock::now(), last_draw = start;
  int64_t last_drawn = -1;  // steps on the line drawn last
  bool finished = false;

  int64_t steps_here() const { return done - options.done; }
  bool complete() const { return total > 0 && done >= total; }
  double fraction() const {
    return complete() ? 1 : total > 0 ? static_cast<double>(done) / static_cast<double>(total) : 0;
  }
  bool is_due(Clock::time_point now) const;
  std::string time_text(double elapsed, double per_second) const;
  std::vector<Part> parts(Clock::time_point now) const;
  void add_rates(std::vector<Part>& line, double per_second) const;
  std::string live_line(Clock::time_point now) const;
  std::string plain_line(Clock::time_point now) const;
  void draw(Clock::time_point now);
};

bool Progress::State::is_due(Clock::time_point now) const {
  const double waited = seconds_between(last_draw, now);
  if (terminal.interactive) return waited >= redraw_interval;
  const int64_t since = done - std::max(last_drawn, options.done);
  return waited >= options.plain_interval && since >= std::max<int64_t>(1, total / 10);
}

void Progress::State::add_rates(std::vector<Part>& line, double per_second) const {
  if (per_second <= 0) return;
  line.push_back(
      {Rank::step_rate, 2,
       per_second < 1 ? detail::format_rate(1 / per_second) + " s/it" : detail::format_rate(per_second) + " it/s"});
  if (items == 0) return;
  const double items_per_step = static_cast<double>(items) / static_cast<double>(steps_here());
  line.push_back({Rank::item_rate, 2,
                  fmt::format("{} {}/s", detail::format_rate(per_second * items_per_step),
                              detail::printable(options.unit, terminal.utf8))});
}

std::string Progress::State::time_text(double elapsed, double per_second) const {
  if (total == 0 || finished || per_second <= 0) return detail::format_duration(elapsed);
  return "ETA " + detail::format_duration(static_cast<double>(std::max<int64_t>(0, total - done)) / per_second);
}

std::vector<Part> Progress::State::parts(Clock::time_point now) const {
  std::vector<Part> line;
  line.push_back({Rank::label, 0, detail::printable(label, terminal.utf8), "1"});
  if (total > 0) {  // padded: what stands behind should not move
    line.push_back({Rank::bar, 0, ""});
    line.push_back({Rank::percent, 0, fmt::format("{:3.0f}%", std::floor(100 * fraction()))});
    line.push_back({Rank::count, 0, fmt::format("{:{}}/{}", done, std::to_string(total).size(), total)});
  } else {
    line.push_back({Rank::percent, 0, std::to_string(done)});
  }
  for (const auto& [name, metric] : metrics) {
    const double value = metric.read();
    line.push_back({&name == &metrics[0].first ? Rank::first_metric : Rank::other_metric, 1,
                    fmt::format("{} {}", detail::printable(name, terminal.utf8), detail::format_metric(value)),
                    std::isfinite(value) ? "" : "1;31"});
  }
  const double elapsed = seconds_between(start, now);
  const double mean_rate = elapsed > 0 ? static_cast<double>(steps_here()) / elapsed : 0;
  const double per_second = finished || rate.per_second() == 0 ? mean_rate : rate.per_second();
  add_rates(line, per_second);
  line.push_back({Rank::time, 3, time_text(elapsed, per_second)});
  if (const int64_t bytes = resident_bytes()) line.push_back({Rank::memory, 4, detail::format_bytes(bytes), "2"});
  return line;
}

std::string Progress::State::live_line(Clock::time_point now) const {
  std::vector<Part> line = parts(now);
  const int width = std::max(1, terminal.columns - 1);  // a full last column would wrap
  fit(line, width, terminal.utf8);
  const int bar_cells = std::min(longest_bar, shortest_bar + width - width_of(line));
  std::string text = "\r";
  for (size_t i = 0; i < line.size(); ++i) {
    if (i > 0) text += line[i].group == line[i - 1].group ? " " : detail::paint(" | ", "2", terminal.colors);
    text += line[i].rank == Rank::bar ? draw_bar(fraction(), bar_cells, terminal, complete())
                                      : detail::paint(line[i].text, line[i].color, terminal.colors);
  }
  return text + "\x1b[K";  // clears what a longer line left behind
}

std::string Progress::State::plain_line(Clock::time_point now) const {
  std::string text;
  int group = 0;
  for (const Part& part : parts(now)) {
    if (part.rank == Rank::bar) continue;
    if (!text.empty()) text += part.group == group ? " " : " | ";
    text += part.text;
    group = part.group;
  }
  return text + "\n";
}

void Progress::State::draw(Clock::time_point now) {
  terminal = detect_terminal(options.fd);  // a window may have changed its size
  rate.update(seconds_between(start, now), steps_here());
  write_all(options.fd, terminal.interactive ? live_line(now) : plain_line(now));
  last_draw = now;
  last_drawn = done;
}

MetricValue::MetricValue(const Tensor& tensor) : tensor_(tensor.detach()) {
  if (tensor.numel() != 1)
    throw ShapeError(fmt::format("Progress: a metric is a tensor {}; want one element", to_string(tensor.shape())));
}
double MetricValue::read() const { return tensor_.defined() ? tensor_.item<double>() : number_; }

Progress::Progress(std::string_view label, int64_t total_steps, ProgressOptions options) {
  if (total_steps < 0) {
    throw ValueError(fmt::format("Progress: total_steps is {}; want at least 0 (0: unknown)", total_steps));
  }
  if (options.done < 0) throw ValueError(fmt::format("Progress: options.done is {}; want at least 0", options.done));
  state_ = make_box<State>(label, total_steps, std::move(options));
  state_->terminal = detect_terminal(state_->options.fd);
  if (state_->terminal.interactive && !state_->options.quiet) state_->draw(state_->start);
}

Progress::~Progress() {
  try {
    finish();
  } catch (...) {  // out of memory while drawing: the line stays as it is
  }
}

void Progress::tick(std::initializer_list<Metric> metrics, int64_t items_per_step) {
  if (state_->finished) return;
  State& s = *state_;
  ++s.done;
  s.items += std::max<int64_t>(0, items_per_step);
  if (s.options.quiet) return;
  s.metrics.resize(metrics.size(), {{}, 0.0});
  auto kept = s.metrics.begin();
  for (const auto& [name, value] : metrics) {
    kept->first = name;  // the string's memory is used again: no allocation a step
    kept->second = value;
    ++kept;
  }
  if (const auto now = Clock::now(); s.is_due(now)) s.draw(now);
}

void Progress::print(std::string_view line) {
  if (state_->options.quiet) return;
  State& s = *state_;
  const bool redraw = s.terminal.interactive && !s.finished;
  write_all(s.options.fd, fmt::format("{}{}\n", redraw ? "\r\x1b[K" : "", line));
  if (redraw) s.draw(Clock::now());
}

void Progress::finish() {
  if (std::exchange(state_->finished, true) || state_->options.quiet) return;
  State& s = *state_;
  const bool unseen = s.done != std::max(s.last_drawn, s.options.done);
  if (s.terminal.interactive) {
    s.draw(Clock::now());
    write_all(s.options.fd, "\n");
  } else if (unseen) {
    s.draw(Clock::now());
  }
}

}  // namespace gradus
