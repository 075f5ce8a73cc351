// Terminal pictures: half blocks with colours, or ASCII shades; rows of pictures with captions.
#include <gradus/data/display/picture.h>

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

#include <gradus/core/error.h>
#include <gradus/data/display/detail/grey.h>
#include <gradus/data/display/detail/text.h>

namespace gradus {
namespace {

constexpr int gap = 2;  // cells between two pictures
constexpr std::string_view shades = " .:-=+*#%@";

/// xterm's grey for a brightness: 24 steps from 8 to 238, and the black and white of the colour cube beyond them.
int palette_grey(uint8_t grey) {
  if (grey < 4) return 16;
  if (grey > 246) return 231;
  return 232 + std::clamp((grey - 8 + 5) / 10, 0, 23);
}

/// A cell that shows two pixels; the colours stay set for the cells behind it.
std::string half_block(uint8_t upper, uint8_t lower, Colors depth) {
  if (depth == Colors::truecolor) return fmt::format("\x1b[38;2;{0};{0};{0};48;2;{1};{1};{1}m▀", upper, lower);
  return fmt::format("\x1b[38;5;{};48;5;{}m▀", palette_grey(upper), palette_grey(lower));
}

using Lines = std::vector<std::string>;

Lines draw_cells(const Picture& picture, const Terminal& terminal) {
  const bool blocks = terminal.utf8 && terminal.colors != Colors::none;
  const auto pixel = [&](int64_t y, int64_t x) { return picture.pixels[static_cast<size_t>(y * picture.width + x)]; };
  Lines lines;
  for (int64_t y = 0; y < picture.height; y += 2) {
    std::string& line = lines.emplace_back();
    int shown = -1;  // the pair of pixels whose colours are set
    for (int64_t x = 0; x < picture.width; ++x) {
      const uint8_t upper = pixel(y, x), lower = pixel(std::min(y + 1, picture.height - 1), x);
      if (!blocks) {
        line += shades[static_cast<size_t>(upper + lower) * shades.size() / 511];
      } else {
        line += shown == (upper << 8 | lower) ? "▀" : half_block(upper, lower, terminal.colors);
        shown = upper << 8 | lower;
      }
    }
    if (blocks) line += "\x1b[0m";
  }
  return lines;
}

Lines draw_caption(const Picture& picture, const Terminal& terminal) {
  const bool right = picture.verdict == Verdict::right, wrong = picture.verdict == Verdict::wrong;
  const std::string_view color = right ? "32" : wrong ? "31" : "";
  const std::string_view mark = right ? (terminal.utf8 ? "✓ " : "+ ") : wrong ? (terminal.utf8 ? "✗ " : "x ") : "";
  const int width = static_cast<int>(picture.width);
  Lines lines;
  for (std::string_view rest = picture.caption; !rest.empty() || (lines.empty() && !mark.empty());) {
    const std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(rest.size(), line.size() + 1));
    const std::string text = std::string(lines.empty() ? mark : "").append(detail::printable(line, terminal.utf8));
    const std::string fitted = detail::clip(text, width, terminal.utf8);
    const auto padding = static_cast<size_t>(width - detail::display_width(fitted));
    lines.push_back(detail::paint(fitted, color, terminal.colors) + std::string(padding, ' '));
  }
  return lines;
}

/// Lines of several pictures next to each other; where one has no line left, spaces hold its place.
std::string side_by_side(std::span<const Picture> row, const std::vector<Lines>& columns) {
  size_t height = 0;
  for (const Lines& lines : columns) height = std::max(height, lines.size());
  std::string text;
  for (size_t line = 0; line < height; ++line) {
    for (size_t i = 0; i < row.size(); ++i) {
      if (i > 0) text.append(gap, ' ');
      text += line < columns[i].size() ? columns[i][line] : std::string(static_cast<size_t>(row[i].width), ' ');
    }
    text += "\n";
  }
  return text;
}

std::string draw_row(std::span<const Picture> row, const Terminal& terminal) {
  std::vector<Lines> cells, captions;
  for (const Picture& picture : row) {
    cells.push_back(draw_cells(picture, terminal));
    captions.push_back(draw_caption(picture, terminal));
  }
  return side_by_side(row, cells) + side_by_side(row, captions);
}

}  // namespace

namespace detail {

void check_picture(const Picture& picture, const char* what) {
  const auto [width, height] = std::pair(picture.width, picture.height);
  const auto size = static_cast<int64_t>(picture.pixels.size());
  // size / width instead of width * height: a product could overflow.
  if (width < 1 || height < 1 || size % width != 0 || size / width != height) {
    throw ShapeError(fmt::format("{}: a picture of {} x {} has {} pixels; want width x height, both at least 1", what,
                                 width, height, size));
  }
}

Picture shrink(const Picture& picture, int64_t most_columns) {
  if (picture.width <= most_columns) return picture;
  Picture small{{},
                most_columns,
                std::max<int64_t>(1, picture.height * most_columns / picture.width),
                picture.caption,
                picture.verdict};
  small.pixels.reserve(static_cast<size_t>(small.width * small.height));
  for (int64_t y = 0; y < small.height; ++y) {
    const int64_t top = y * picture.height / small.height,
                  bottom = std::max(top + 1, (y + 1) * picture.height / small.height);
    for (int64_t x = 0; x < small.width; ++x) {
      const int64_t left = x * picture.width / small.width, right = (x + 1) * picture.width / small.width;
      int64_t sum = 0;
      for (int64_t v = top; v < bottom; ++v) {
        for (int64_t u = left; u < right; ++u) sum += picture.pixels[static_cast<size_t>(v * picture.width + u)];
      }
      small.pixels.push_back(static_cast<uint8_t>(sum / ((bottom - top) * (right - left))));
    }
  }
  return small;
}

}  // namespace detail

std::string draw_pictures(std::span<const Picture> pictures, const PictureOptions& options) {
  if (options.columns < 0)
    throw ValueError(fmt::format("draw_pictures: columns is {}; want at least 0", options.columns));
  if (options.picture_columns < 1) {
    throw ValueError(fmt::format("draw_pictures: picture_columns is {}; want at least 1", options.picture_columns));
  }
  const int columns = std::max(1, options.columns > 0 ? options.columns : options.terminal.columns);
  std::vector<Picture> fitted;
  for (const Picture& picture : pictures) {
    detail::check_picture(picture, "draw_pictures");
    fitted.push_back(detail::shrink(picture, std::min(options.picture_columns, columns)));
  }
  std::string text;
  for (size_t first = 0; first < fitted.size();) {
    size_t end = first;
    for (int64_t used = 0; end < fitted.size(); ++end) {
      used += fitted[end].width + (end > first ? gap : 0);
      if (end > first && used > columns) break;
    }
    text += draw_row(std::span(fitted).subspan(first, end - first), options.terminal);
    first = end;
    if (first < fitted.size()) text += "\n";
  }
  return text;
}

}  // namespace gradus
