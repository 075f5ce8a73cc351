// What the launcher itself says, and writing whole lines so that nobody's get mixed.
#pragma once

#include <cerrno>
#include <string_view>

#include <fmt/format.h>
#include <unistd.h>

namespace gradus::run {

/// False when nobody can take it any more.
inline bool write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno != EINTR) return false;
    if (n > 0) bytes.remove_prefix(static_cast<size_t>(n));
  }
  return true;
}

template <class... Args>
void say(fmt::format_string<Args...> format, Args&&... args) {
  write_all(STDERR_FILENO, fmt::format("gradus-run: {}\n", fmt::format(format, std::forward<Args>(args)...)));
}

}  // namespace gradus::run
