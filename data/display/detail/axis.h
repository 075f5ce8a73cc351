// From numbers to positions: ranges, round ticks, their labels. The terminal chart and the SVG figure share it.
#pragma once

#include <span>
#include <string>
#include <vector>

#include <gradus/data/display/series.h>

namespace gradus::detail {

struct Point {
  double x = 0, y = 0;
};

/// Smallest and largest value; empty (low > high) until a value is included. Values are held within +-1e300, so that a
/// range never overflows.
struct Interval {
  double low = 1, high = -1;
  bool empty() const { return low > high; }
  void include(double value);
};

/// An axis whose range is not empty, with ticks at multiples of 1, 2 or 5 times a power of ten.
struct Axis {
  double low = 0, high = 1, step = 1;
  std::vector<double> ticks;

  double position(double value) const;   ///< 0 at low, 1 at high, held in between
  std::string label(double tick) const;  ///< as many digits as the step asks for: 0.25, 1.5k, 2e-05
};

/// @param round_ends widen the range to whole steps.
Axis make_axis(Interval range, int most_ticks, bool round_ends);

/// Checks the lengths and fills in an absent x. `what` opens the message.
/// @throws ShapeError
std::vector<Point> points_of(const Series& series, const char* what);

bool is_finite(Point point);

/// The ranges of all finite points.
struct Bounds {
  Interval x, y;
};
Bounds bounds_of(std::span<const std::vector<Point>> curves);

}  // namespace gradus::detail
