// Strings for a display: cleaned, measured in cells, cut, coloured; figures with units. No output happens here.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include <gradus/data/display/terminal.h>

namespace gradus::detail {

/// One character of UTF-8 text. An invalid byte has `valid` false and is one byte long.
struct Character {
  char32_t code = 0;
  size_t bytes = 1;
  bool valid = false;
};
Character decode_utf8(std::string_view text);  // the first character of a text that is not empty

/// Text that stays on its line: control characters and invalid bytes become '?', without `utf8` all but ASCII does.
std::string printable(std::string_view text, bool utf8);

/// Cells that printable text takes on a terminal: East Asian wide characters and emoji two, combining marks none.
int display_width(std::string_view text);

/// Printable text cut to a width; a cut text ends in an ellipsis.
std::string clip(std::string_view text, int width, bool utf8);

/// Text between an SGR code ("1;32") and a reset; unchanged without colours or code.
std::string paint(std::string_view text, std::string_view code, Colors colors);

std::string format_metric(double value);      // 0.2417, 12.34, 2.100e-5, nan
std::string format_rate(double per_second);   // 0.52, 41.2, 412, 5.3k, 1.2M
std::string format_duration(double seconds);  // 0:04, 12:34, 1:02:03, 3d 04:05
std::string format_bytes(int64_t bytes);      // 812 MB, 1.2 GB; powers of 1000

}  // namespace gradus::detail
