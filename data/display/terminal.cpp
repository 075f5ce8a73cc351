// Asks the environment and the kernel what an output can show.
#include <gradus/data/display/terminal.h>

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <string>
#include <string_view>

namespace gradus {
namespace {

constexpr int most_columns = 1000;  // a nonsense COLUMNS must not become a gigantic line

std::string_view environment(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

int columns_of(int fd) {
  int columns = 0;
  const std::string_view wish = environment("COLUMNS");
  const auto [end, error] = std::from_chars(wish.data(), wish.data() + wish.size(), columns);
  if (error == std::errc{} && end == wish.data() + wish.size() && columns > 0) return std::min(columns, most_columns);
  winsize size{};
  if (ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return std::min<int>(size.ws_col, most_columns);
  return 80;
}

bool locale_is_utf8() {
  for (const char* name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    std::string locale(environment(name));
    if (locale.empty()) continue;
    std::transform(locale.begin(), locale.end(), locale.begin(),
                   [](char c) { return c >= 'A' && c <= 'Z' ? c + 32 : c; });
    return locale.find("utf-8") != std::string::npos || locale.find("utf8") != std::string::npos;
  }
  return false;
}

Colors colors_of_terminal() {
  if (!environment("NO_COLOR").empty()) return Colors::none;
  const std::string_view depth = environment("COLORTERM");
  return depth == "truecolor" || depth == "24bit" ? Colors::truecolor : Colors::palette;
}

}  // namespace

Terminal detect_terminal(int fd) {
  Terminal terminal;
  terminal.interactive = isatty(fd) == 1 && environment("TERM") != "dumb";
  terminal.columns = columns_of(fd);
  terminal.utf8 = locale_is_utf8();
  if (terminal.interactive) terminal.colors = colors_of_terminal();
  return terminal;
}

}  // namespace gradus
