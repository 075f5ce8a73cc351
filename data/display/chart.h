// Line charts for the terminal. The same curves as SVG are in report.
#pragma once

#include <span>
#include <string>

#include <gradus/core/api.h>
#include <gradus/data/display/series.h>
#include <gradus/data/display/terminal.h>

namespace gradus {

struct ChartOptions {
  std::string title = {};
  std::string x_label = {};               ///< stands at the right below the x axis
  int columns = 0;                        ///< width with labels; 0: the terminal's, at most 100
  int rows = 12;                          ///< height of the drawing without axis and legend
  Terminal terminal = detect_terminal();  ///< what the output can show
};

/// Draws curves as lines of text with a y axis, an x axis and a legend; every line ends in a newline. Braille dots (2 x
/// 4 a cell) where the output shows UTF-8 and curves can be told apart by colour, else one mark a cell: `*`, `+`, `o`,
/// `x`. Gaps and points that are not finite are left out; without a point at all the frame says "no data".
/// @throws ShapeError when x and y of a series differ in length; ValueError when columns < 0 or rows is not in 1..200.
GRADUS_API std::string draw_chart(std::span<const Series> series, const ChartOptions& options = {});

}  // namespace gradus
