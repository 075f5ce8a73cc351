// Curves as inline SVG: grid, axes, lines, values on hover.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>

#include <gradus/core/error.h>
#include <gradus/data/display/detail/axis.h>
#include <gradus/data/display/detail/html.h>
#include <gradus/data/display/detail/text.h>

namespace gradus::detail {
namespace {

// The drawing in SVG units; the page scales it.
constexpr double width = 560, height = 280, left = 46, right = 8, top = 10, bottom = 34;
constexpr size_t most_buckets = 500;  // of a line: about one a unit
constexpr size_t most_hovers = 80;    // points that tell their value
constexpr size_t palette = 6;         // colours in the style sheet

struct Plane {
  Axis x, y;
  double across(double value) const { return left + x.position(value) * (width - left - right); }
  double down(double value) const { return height - bottom - y.position(value) * (height - top - bottom); }
};

/// The points that a line of limited width can show: of each bucket the first, lowest, highest and last, in their
/// order. A gap stays one.
std::vector<Point> thinned(const std::vector<Point>& points) {
  const size_t bucket = points.size() / most_buckets;
  if (bucket <= 4) return points;
  std::vector<Point> kept;
  for (size_t first = 0; first < points.size(); first += bucket) {
    const size_t end = std::min(first + bucket, points.size());
    size_t low = first, high = first;
    bool gap = false;
    for (size_t i = first; i < end; ++i) {
      gap = gap || !is_finite(points[i]);
      if (points[i].y < points[low].y) low = i;
      if (points[i].y > points[high].y) high = i;
    }
    if (gap) {
      kept.insert(kept.end(), points.begin() + static_cast<std::ptrdiff_t>(first),
                  points.begin() + static_cast<std::ptrdiff_t>(end));
      continue;
    }
    size_t chosen[] = {first, std::min(low, high), std::max(low, high), end - 1};
    for (auto i = std::begin(chosen); i != std::unique(std::begin(chosen), std::end(chosen)); ++i)
      kept.push_back(points[*i]);
  }
  return kept;
}

std::string draw_line(const std::vector<Point>& points, const Plane& plane, std::string_view style) {
  std::string path;
  bool pen_down = false;
  for (const Point point : thinned(points)) {
    if (!is_finite(point)) {
      pen_down = false;
      continue;
    }
    // h0: a point between two gaps is a dot, by the round ends of the line.
    path += fmt::format("{}{:.1f} {:.1f}{}", pen_down ? "L" : "M", plane.across(point.x), plane.down(point.y),
                        pen_down ? "" : "h0");
    pen_down = true;
  }
  return path.empty() ? path : fmt::format("<path class=\"curve{}\" d=\"{}\"/>\n", style, path);
}

/// Invisible targets over evenly spaced points; a short curve shows its points.
std::string draw_hovers(const std::vector<Point>& points, const Plane& plane, const Figure& figure,
                        const std::string& name) {
  std::vector<Point> finite;
  std::copy_if(points.begin(), points.end(), std::back_inserter(finite), is_finite);
  const size_t count = std::min(finite.size(), most_hovers);
  const std::string_view marked = finite.size() <= 20 ? " marked" : "";
  std::string text;
  for (size_t i = 0; i < count; ++i) {
    const Point p = finite[count == 1 ? 0 : i * (finite.size() - 1) / (count - 1)];
    const std::string title = fmt::format("{} {:.6g}: {} {}", figure.x_label, p.x, name, format_metric(p.y));
    text += fmt::format(
        "<g><title>{0}</title><circle class=\"hit\" cx=\"{1:.1f}\" cy=\"{2:.1f}\" r=\"9\"/>"
        "<circle class=\"dot{3}\" cx=\"{1:.1f}\" cy=\"{2:.1f}\" r=\"4\"/></g>\n",
        escape_html(title), plane.across(p.x), plane.down(p.y), marked);
  }
  return text;
}

std::string draw_axes(const Plane& plane, const Figure& figure) {
  std::string text;
  const double floor = height - bottom;
  for (const double tick : plane.y.ticks) {
    text += fmt::format(
        "<path class=\"grid\" d=\"M{0} {1:.1f}H{2}\"/><text class=\"y\" x=\"{3}\" y=\"{4:.1f}\">{5}</text>\n", left,
        plane.down(tick), width - right, left - 8, plane.down(tick) + 4, plane.y.label(tick));
  }
  for (const double tick : plane.x.ticks) {
    text += fmt::format(
        "<path class=\"frame\" d=\"M{0:.1f} {1}v4\"/><text class=\"x\" x=\"{0:.1f}\" y=\"{2}\">{3}</text>\n",
        plane.across(tick), floor, floor + 17, plane.x.label(tick));
  }
  text += fmt::format("<path class=\"frame\" d=\"M{} {}H{}\"/>", left, floor, width - right);
  text += fmt::format("<text class=\"end\" x=\"{}\" y=\"{}\">{}</text>\n", width - right, height - 2,
                      escape_html(figure.x_label));
  return text;
}

std::string draw_caption(const Figure& figure) {
  std::string text = fmt::format("<figcaption><strong>{}</strong>", escape_html(figure.title));
  for (size_t i = 0; i < figure.series.size(); ++i) {
    const Series& series = figure.series[i];
    const auto last = std::find_if(series.y.rbegin(), series.y.rend(), [](double y) { return std::isfinite(y); });
    text += fmt::format("<span><i class=\"s{}\"></i>{} <b>{}</b></span>", i % palette, escape_html(series.name),
                        last == series.y.rend() ? "" : format_metric(*last));
  }
  return text + "</figcaption>\n";
}

}  // namespace

std::string draw_figure(const Figure& source) {
  if (source.smoothing < 1)
    throw ValueError(fmt::format("write_report: smoothing of a figure is {}; want at least 1", source.smoothing));
  Figure figure = source;
  std::vector<std::vector<Point>> raw, curves;
  for (Series& series : figure.series) {
    raw.push_back(points_of(series, "write_report"));
    series = smoothed(series, source.smoothing);
    curves.push_back(points_of(series, "write_report"));
  }
  const Bounds bounds = bounds_of(raw);
  const Plane plane{make_axis(bounds.x, 7, false), make_axis(bounds.y, 6, true)};

  std::string text =
      fmt::format("<figure class=\"card\">\n{}<svg viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{}\">\n",
                  draw_caption(figure), width, height, escape_html(figure.title));
  text += draw_axes(plane, figure);
  if (!figure.y_label.empty())
    text += fmt::format("<text x=\"{}\" y=\"{}\">{}</text>\n", left + 8, top + 10, escape_html(figure.y_label));
  for (size_t i = 0; i < curves.size(); ++i) {
    text += fmt::format("<g class=\"s{}\">\n", i % palette);
    if (source.smoothing > 1) text += draw_line(raw[i], plane, " faint");
    text += draw_line(curves[i], plane, "") + draw_hovers(curves[i], plane, figure, figure.series[i].name) + "</g>\n";
  }
  if (bounds.x.empty())
    text += fmt::format("<text class=\"x\" x=\"{}\" y=\"{}\">no data</text>\n", width / 2, height / 2);
  return text + "</svg>\n</figure>\n";
}

}  // namespace gradus::detail
