// Strings for a display: cleaned, measured in cells, cut, coloured; figures with units.
#include <gradus/data/display/detail/text.h>

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

namespace gradus::detail {
namespace {

struct Range {
  char32_t first, last;
};

// Blocks of Unicode's East Asian Width table that are wide throughout, and the emoji blocks.
constexpr Range wide[] = {{0x1100, 0x115F},   {0x2E80, 0xA4CF},   {0xAC00, 0xD7A3},  {0xF900, 0xFAFF},
                          {0xFE30, 0xFE6F},   {0xFF00, 0xFF60},   {0xFFE0, 0xFFE6},  {0x1F300, 0x1F64F},
                          {0x1F680, 0x1F6FF}, {0x1F900, 0x1FAFF}, {0x20000, 0x3FFFD}};
constexpr Range zero_width[] = {{0x0300, 0x036F}, {0x200B, 0x200F}, {0x20D0, 0x20FF}, {0xFE00, 0xFE0F}};

template <size_t N>
bool within(char32_t code, const Range (&ranges)[N]) {
  return std::any_of(ranges, ranges + N, [code](Range r) { return code >= r.first && code <= r.last; });
}

int cells(char32_t code) { return within(code, zero_width) ? 0 : within(code, wide) ? 2 : 1; }

// Control characters, and the marks that turn the direction of text around.
bool is_control(char32_t code) {
  return code < 0x20 || (code >= 0x7F && code < 0xA0) || (code >= 0x2028 && code <= 0x202E) ||
         (code >= 0x2066 && code <= 0x2069);
}

}  // namespace

Character decode_utf8(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return {lead, 1, true};
  const size_t bytes = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  if (lead < 0xC2 || lead > 0xF4 || text.size() < bytes) return {};
  char32_t code = lead & (0x7Fu >> bytes);
  for (size_t i = 1; i < bytes; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return {};
    code = code << 6 | (byte(i) & 0x3Fu);
  }
  constexpr std::array<char32_t, 5> smallest = {0, 0, 0x80, 0x800, 0x10000};
  const bool surrogate = code >= 0xD800 && code <= 0xDFFF;
  if (code < smallest[bytes] || code > 0x10FFFF || surrogate) return {};
  return {code, bytes, true};
}

std::string printable(std::string_view text, bool utf8) {
  std::string clean;
  clean.reserve(text.size());
  while (!text.empty()) {
    const Character c = decode_utf8(text);
    if (!c.valid || is_control(c.code) || (!utf8 && c.code >= 0x80)) {
      clean += '?';
    } else {
      clean += text.substr(0, c.bytes);
    }
    text.remove_prefix(c.bytes);
  }
  return clean;
}

int display_width(std::string_view text) {
  int width = 0;
  while (!text.empty()) {
    const Character c = decode_utf8(text);
    width += cells(c.code);
    text.remove_prefix(c.bytes);
  }
  return width;
}

std::string clip(std::string_view text, int width, bool utf8) {
  if (display_width(text) <= width) return std::string(text);
  if (width <= 0) return {};
  const std::string_view ellipsis = utf8 ? "…" : ".";
  size_t kept = 0;
  for (int used = 1;;) {  // one cell is the ellipsis
    const Character c = decode_utf8(text.substr(kept));
    used += cells(c.code);
    if (used > width) break;
    kept += c.bytes;
  }
  return std::string(text.substr(0, kept)).append(ellipsis);
}

std::string paint(std::string_view text, std::string_view code, Colors colors) {
  if (colors == Colors::none || code.empty()) return std::string(text);
  return fmt::format("\x1b[{}m{}\x1b[0m", code, text);
}

std::string format_metric(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  if (std::abs(value) >= 0.01 && std::abs(value) < 1) return fmt::format("{:.4f}", value);
  std::string text = fmt::format("{:#.4g}", value);
  if (text.back() == '.') text.pop_back();
  // 2.100e-05 -> 2.100e-5
  if (const size_t e = text.find('e'); e != std::string::npos && text.size() == e + 4 && text[e + 2] == '0') {
    text.erase(e + 2, 1);
    if (text[e + 1] == '+') text.erase(e + 1, 1);
  }
  return text;
}

std::string format_rate(double per_second) {
  if (!std::isfinite(per_second)) return "-";
  constexpr std::string_view units[] = {"", "k", "M", "G", "T"};
  size_t unit = 0;
  while (per_second >= 999.5 && unit + 1 < std::size(units)) {
    per_second /= 1000;
    ++unit;
  }
  const int decimals = per_second < 0.995 ? 2 : per_second < 99.95 ? 1 : 0;
  return fmt::format("{:.{}f}{}", per_second, decimals, units[unit]);
}

std::string format_duration(double seconds) {
  if (!std::isfinite(seconds) || seconds > 3.2e9) return "-";  // a hundred years
  const auto total = static_cast<int64_t>(std::max(0.0, seconds) + 0.5);
  const int64_t days = total / 86400, hours = total / 3600, minutes = total / 60 % 60;
  if (days > 0) return fmt::format("{}d {:02}:{:02}", days, hours % 24, minutes);
  if (hours > 0) return fmt::format("{}:{:02}:{:02}", hours, minutes, total % 60);
  return fmt::format("{}:{:02}", minutes, total % 60);
}

std::string format_bytes(int64_t bytes) {
  const auto amount = static_cast<double>(bytes);
  if (amount >= 999.5e6) return fmt::format("{:.1f} GB", amount / 1e9);
  if (amount >= 999.5e3) return fmt::format("{:.0f} MB", amount / 1e6);
  return fmt::format("{:.0f} kB", amount / 1e3);
}

}  // namespace gradus::detail
