// A curve: what the chart in the terminal and the figure in the report draw.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <gradus/core/api.h>

namespace gradus {

/// A named curve. `x` and `y` have the same length, or `x` is empty and stands for 0, 1, 2, ... Points that are not
/// finite are gaps.
struct Series {
  std::string name = {};
  std::vector<double> x = {}, y = {};
};

/// The mean of y around each point, in which a value `window` points away, before or after, weighs 1/e of the point's
/// own: it does not lag behind. Gaps stay gaps. A window of 1 changes nothing.
/// @throws ValueError when window < 1; ShapeError when x and y differ in length.
GRADUS_API Series smoothed(const Series& series, int64_t window);

}  // namespace gradus
