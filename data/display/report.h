// A training run as one HTML page. The same curves and pictures for the terminal are in chart and picture.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <gradus/core/api.h>
#include <gradus/data/display/confusion.h>
#include <gradus/data/display/picture.h>
#include <gradus/data/display/series.h>

namespace gradus {

struct Fact {
  std::string name = {}, value = {};
};

/// Curves that share their axes.
struct Figure {
  std::string title = {}, x_label = {}, y_label = {};
  std::vector<Series> series = {};
  int64_t smoothing = 1;  ///< > 1: the running mean (see smoothed()) is drawn over the faint curve itself
};

/// What a report shows, in this order. Empty parts are left out.
struct Report {
  std::string title = {};
  std::string subtitle = {};          ///< one line: when, on what
  std::vector<Fact> highlights = {};  ///< the few figures that matter, shown large
  std::vector<Figure> figures = {};
  std::vector<Picture> pictures = {};
  std::optional<Confusion> confusion = {};  ///< per-class table, and the matrix up to 50 classes
  std::vector<Fact> summary = {};           ///< everything else worth knowing
};

/// Writes the report as one self-contained HTML file: SVG curves with values on hover, PNG pictures inside the page,
/// light and dark as the reader prefers, no script and nothing from elsewhere. All text is escaped. The file appears
/// under its name when it is complete.
/// @throws IoError when the file cannot be written; ShapeError for a picture whose pixels do not fit its size, or a
/// series with x and y of different lengths; ValueError when a smoothing is < 1.
GRADUS_API void write_report(const std::string& path, const Report& report);

}  // namespace gradus
