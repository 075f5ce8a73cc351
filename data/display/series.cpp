// Curves and their axes: checks, ranges, round ticks, the running mean.
#include <gradus/data/display/series.h>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include <gradus/core/error.h>
#include <gradus/data/display/detail/axis.h>

namespace gradus {
namespace detail {

void Interval::include(double value) {
  value = std::clamp(value, -1e300, 1e300);
  const bool first = empty();
  low = first ? value : std::min(low, value);
  high = first ? value : std::max(high, value);
}

double Axis::position(double value) const { return std::clamp((value - low) / (high - low), 0.0, 1.0); }

std::string Axis::label(double tick) const {
  if (std::abs(tick) < step / 2) return "0";
  const double largest = std::max(std::abs(low), std::abs(high));
  if (largest >= 1e15 || step < 1e-4) return fmt::format("{:.3g}", tick);
  struct Unit {
    double factor;
    const char* suffix;
  };
  const Unit unit = largest >= 1e10  ? Unit{1e9, "G"}
                    : largest >= 1e7 ? Unit{1e6, "M"}
                    : largest >= 1e4 ? Unit{1e3, "k"}
                                     : Unit{1, ""};
  const int decimals = std::max(0, static_cast<int>(std::ceil(-std::log10(step / unit.factor) - 1e-9)));
  return fmt::format("{:.{}f}{}", tick / unit.factor, decimals, unit.suffix);
}

Axis make_axis(Interval range, int most_ticks, bool round_ends) {
  if (range.empty()) range = {0, 1};
  // A flat curve, or one whose digits end before its range begins, gets room around it.
  const double size = std::max(std::abs(range.low), std::abs(range.high));
  if (range.high - range.low <= 1e-9 * size || range.high - range.low < 1e-290) {
    const double room = size < 1e-200 ? 1 : size / 10;
    range = {range.low - room, range.high + room};
  }
  const double rough = (range.high - range.low) / std::max(1, most_ticks - 1);
  const double power = std::pow(10.0, std::floor(std::log10(rough)));
  const double digit = rough / power;
  Axis axis{range.low, range.high, power * (digit <= 1 ? 1 : digit <= 2 ? 2 : digit <= 5 ? 5 : 10), {}};
  if (round_ends) {
    axis.low = std::floor(range.low / axis.step + 1e-6) * axis.step;
    axis.high = std::ceil(range.high / axis.step - 1e-6) * axis.step;
  }
  const double first = std::ceil(axis.low / axis.step - 1e-6), last = std::floor(axis.high / axis.step + 1e-6);
  for (double i = first; i <= last; ++i) axis.ticks.push_back(i * axis.step);
  return axis;
}

std::vector<Point> points_of(const Series& series, const char* what) {
  if (!series.x.empty() && series.x.size() != series.y.size()) {
    throw ShapeError(fmt::format("{}: series \"{}\" has {} x and {} y; want as many x as y, or no x", what, series.name,
                                 series.x.size(), series.y.size()));
  }
  std::vector<Point> points(series.y.size());
  for (size_t i = 0; i < points.size(); ++i) {
    points[i] = {series.x.empty() ? static_cast<double>(i) : series.x[i], series.y[i]};
  }
  return points;
}

bool is_finite(Point point) { return std::isfinite(point.x) && std::isfinite(point.y); }

Bounds bounds_of(std::span<const std::vector<Point>> curves) {
  Bounds bounds;
  for (const auto& curve : curves) {
    for (const Point point : curve) {
      if (!is_finite(point)) continue;
      bounds.x.include(point.x);
      bounds.y.include(point.y);
    }
  }
  return bounds;
}

}  // namespace detail

namespace {

/// The two-sided exponential mean as one pass forwards and one backwards: the weighted sums of both sides and their
/// weights.
class TwoSidedMean {
 public:
  explicit TwoSidedMean(const std::vector<double>& values, double decay)
      : sums_(values.size()), weights_(values.size()) {
    pass(values.begin(), values.end(), sums_.begin(), weights_.begin(), decay, true);
    pass(values.rbegin(), values.rend(), sums_.rbegin(), weights_.rbegin(), decay, false);
  }
  double at(size_t i) const { return sums_[i] / weights_[i]; }

 private:
  void pass(auto value, auto end, auto total_sum, auto total_weight, double decay, bool with_own) {
    double sum = 0, weight = 0;
    for (; value != end; ++value, ++total_sum, ++total_weight) {
      if (!std::isfinite(*value)) continue;
      sum *= decay;
      weight *= decay;
      *total_sum += with_own ? sum + *value : sum;
      *total_weight += with_own ? weight + 1 : weight;
      sum += *value;
      weight += 1;
    }
  }
  std::vector<double> sums_, weights_;
};

}  // namespace

Series smoothed(const Series& series, int64_t window) {
  if (window < 1) throw ValueError(fmt::format("smoothed: window is {}; want at least 1", window));
  detail::points_of(series, "smoothed");
  if (window == 1) return series;
  const TwoSidedMean mean(series.y, std::exp(-1 / static_cast<double>(window)));
  Series smooth = series;
  for (size_t i = 0; i < smooth.y.size(); ++i) {
    if (std::isfinite(smooth.y[i])) smooth.y[i] = mean.at(i);
  }
  return smooth;
}

}  // namespace gradus
