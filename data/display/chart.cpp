// The terminal chart: a canvas of braille dots or marks, a frame with ticks, a legend.
#include <gradus/data/display/chart.h>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <vector>

#include <gradus/core/error.h>
#include <gradus/data/display/detail/axis.h>
#include <gradus/data/display/detail/text.h>

namespace gradus {
namespace {

using detail::Axis;
using detail::Point;

constexpr std::string_view colors[] = {"38;5;75", "38;5;214", "38;5;114", "38;5;204", "38;5;141", "38;5;44"};
constexpr std::string_view marks = "*+ox#@";
constexpr int widest_default = 100, fewest_cells = 4;

std::string_view color_of(size_t series) { return colors[series % std::size(colors)]; }

/// A grid of cells. A cell shows the dots that were set in it, in the colour of the series drawn last.
class Canvas {
 public:
  Canvas(int columns, int rows, bool braille)
      : columns_(columns),
        rows_(rows),
        braille_(braille),
        cells_(static_cast<size_t>(columns) * static_cast<size_t>(rows)) {}

  int dots_wide() const { return braille_ ? columns_ * 2 : columns_; }
  int dots_high() const { return braille_ ? rows_ * 4 : rows_; }

  void line(int x0, int y0, int x1, int y1, size_t series) {
    const int length = std::max({std::abs(x1 - x0), std::abs(y1 - y0), 1});
    for (int i = 0; i <= length; ++i) {
      const double t = static_cast<double>(i) / length;
      dot(static_cast<int>(std::lround(x0 + t * (x1 - x0))), static_cast<int>(std::lround(y0 + t * (y1 - y0))), series);
    }
  }

  std::string row(int r, Colors depth) const {
    std::string text;
    for (int c = 0; c < columns_;) {  // one colour code for a run of cells of the same series
      const size_t series = at(c, r).series;
      std::string run;
      for (; c < columns_ && at(c, r).series == series; ++c) run += glyph(at(c, r));
      text += series == 0 ? run : detail::paint(run, color_of(series - 1), depth);
    }
    return text;
  }

 private:
  struct Cell {
    size_t series = 0;  // 0: empty, else index + 1
    uint8_t dots = 0;   // Unicode's order: bit i is dot i + 1
  };

  Cell& at(int c, int r) {
    return cells_[static_cast<size_t>(r) * static_cast<size_t>(columns_) + static_cast<size_t>(c)];
  }
  const Cell& at(int c, int r) const { return const_cast<Canvas*>(this)->at(c, r); }

  void dot(int x, int y, size_t series) {
    constexpr uint8_t bits[4][2] = {{0x01, 0x08}, {0x02, 0x10}, {0x04, 0x20}, {0x40, 0x80}};
    Cell& cell = braille_ ? at(x / 2, y / 4) : at(x, y);
    cell.series = series + 1;
    if (braille_) cell.dots |= bits[y % 4][x % 2];
  }

  std::string glyph(const Cell& cell) const {
    if (cell.series == 0) return " ";
    if (!braille_) return {marks[(cell.series - 1) % marks.size()]};
    const unsigned code = 0x2800u + cell.dots;  // three bytes of UTF-8
    return {static_cast<char>(0xE0 | code >> 12), static_cast<char>(0x80 | (code >> 6 & 0x3F)),
            static_cast<char>(0x80 | (code & 0x3F))};
  }

  int columns_, rows_;
  bool braille_;
  std::vector<Cell> cells_;
};

void draw_curve(Canvas& canvas, const std::vector<Point>& points, size_t series, const Axis& x, const Axis& y) {
  bool connected = false;
  int last_column = 0, last_row = 0;
  for (const Point point : points) {
    if (!detail::is_finite(point)) {
      connected = false;
      continue;
    }
    const int column = static_cast<int>(std::lround(x.position(point.x) * (canvas.dots_wide() - 1)));
    const int row = static_cast<int>(std::lround((1 - y.position(point.y)) * (canvas.dots_high() - 1)));
    canvas.line(connected ? last_column : column, connected ? last_row : row, column, row, series);
    connected = true;
    last_column = column;
    last_row = row;
  }
}

/// What stands left of the drawing: a label in the rows that have a tick. All are equally wide.
std::vector<std::string> y_labels(const Axis& y, int rows) {
  std::vector<std::string> labels(static_cast<size_t>(rows));
  for (const double tick : y.ticks) {
    const auto row = static_cast<size_t>(std::lround((1 - y.position(tick)) * (rows - 1)));
    if (labels[row].empty()) labels[row] = y.label(tick);
  }
  size_t width = 0;
  for (const auto& label : labels) width = std::max(width, label.size());
  for (auto& label : labels) label.insert(0, width - label.size(), ' ');
  return labels;
}

struct Footer {
  std::string rule, labels;
};

/// The x axis and the labels below it; a label that would touch its neighbour or leave the axis is left out.
Footer draw_footer(const Axis& x, int columns, std::string_view axis_label, bool utf8) {
  Footer footer;
  footer.labels.assign(static_cast<size_t>(columns), ' ');
  std::vector<bool> ticks(static_cast<size_t>(columns));
  const auto room = columns - detail::display_width(axis_label) - (axis_label.empty() ? 0 : 1);
  int free_from = 0;
  for (const double tick : x.ticks) {
    const int column = static_cast<int>(std::lround(x.position(tick) * (columns - 1)));
    const std::string label = x.label(tick);
    const int size = static_cast<int>(label.size());
    const int start = std::clamp(column - size / 2, 0, std::max(0, columns - size));
    if (start < free_from || start + size > room) continue;
    footer.labels.replace(static_cast<size_t>(start), label.size(), label);
    ticks[static_cast<size_t>(column)] = true;
    free_from = start + size + 1;
  }
  for (const bool tick : ticks) footer.rule += utf8 ? (tick ? "┬" : "─") : (tick ? "+" : "-");
  footer.labels.resize(static_cast<size_t>(std::max(0, columns - detail::display_width(axis_label))));
  footer.labels += detail::clip(axis_label, columns, utf8);
  return footer;
}

std::string draw_legend(std::span<const Series> series, bool braille, int columns, const Terminal& terminal) {
  std::string text;
  int used = 0;
  for (size_t i = 0; i < series.size(); ++i) {
    if (series[i].name.empty()) continue;
    const std::string name = detail::clip(detail::printable(series[i].name, terminal.utf8), columns - 4, terminal.utf8);
    const int width = detail::display_width(name) + 4;
    if (used > 0 && used + width > columns) {
      text += "\n";
      used = 0;
    }
    const std::string mark = braille ? "━" : std::string(1, marks[i % marks.size()]);
    text += fmt::format("  {} {}", detail::paint(mark, color_of(i), terminal.colors), name);
    used += width;
  }
  return text.empty() ? text : text + "\n";
}

void check(const ChartOptions& options) {
  if (options.columns < 0) throw ValueError(fmt::format("draw_chart: columns is {}; want at least 0", options.columns));
  if (options.rows < 1 || options.rows > 200)
    throw ValueError(fmt::format("draw_chart: rows is {}; want 1 to 200", options.rows));
}

}  // namespace

std::string draw_chart(std::span<const Series> series, const ChartOptions& options) {
  check(options);
  const Terminal& terminal = options.terminal;
  const bool braille = terminal.utf8 && (terminal.colors != Colors::none || series.size() <= 1);
  std::vector<std::vector<Point>> curves;
  for (const Series& one : series) curves.push_back(detail::points_of(one, "draw_chart"));
  const detail::Bounds bounds = detail::bounds_of(curves);

  const Axis y = detail::make_axis(bounds.y, std::clamp(options.rows / 2, 2, 8), options.rows > 2);
  const std::vector<std::string> labels = y_labels(y, options.rows);
  const int wish = options.columns > 0 ? std::min(options.columns, 1000) : std::min(terminal.columns, widest_default);
  const int columns = std::max(fewest_cells, wish - static_cast<int>(labels[0].size()) - 2);
  const Axis x = detail::make_axis(bounds.x, std::clamp(columns / 9, 3, 10), false);
  Canvas canvas(columns, options.rows, braille);
  for (size_t i = 0; i < curves.size(); ++i) draw_curve(canvas, curves[i], i, x, y);

  std::string text;
  if (!options.title.empty()) {
    const std::string title =
        detail::clip(detail::printable(options.title, terminal.utf8), std::max(wish, 1), terminal.utf8);
    text += detail::paint(title, "1", terminal.colors) + "\n";
  }
  for (int r = 0; r < options.rows; ++r) {
    const std::string& label = labels[static_cast<size_t>(r)];
    const bool tick = label.find_first_not_of(' ') != std::string::npos;
    const std::string_view frame = terminal.utf8 ? (tick ? " ┤" : " │") : (tick ? " +" : " |");
    const bool nothing = bounds.x.empty() && r == options.rows / 2;
    text += detail::paint(label + std::string(frame), "2", terminal.colors);
    text += nothing ? detail::clip(" no data", columns, terminal.utf8) : canvas.row(r, terminal.colors);
    text += "\n";
  }
  const Footer footer = draw_footer(x, columns, detail::printable(options.x_label, terminal.utf8), terminal.utf8);
  const std::string indent(labels[0].size() + 1, ' ');
  text += indent + detail::paint((terminal.utf8 ? "└" : "+") + footer.rule, "2", terminal.colors) + "\n";
  text += indent + " " + detail::paint(footer.labels, "2", terminal.colors) + "\n";
  return text + draw_legend(series, braille, columns, terminal);
}

}  // namespace gradus
