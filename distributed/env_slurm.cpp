// Reads Slurm's lists; what does not look like one is refused, not guessed at.
#include <gradus/distributed/detail/env_slurm.h>

#include <charconv>

namespace gradus::dist::detail {
namespace {

/// Takes a number off the front.
std::optional<int> take_number(std::string_view& text) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || value < 0) return {};
  text.remove_prefix(static_cast<size_t>(end - text.data()));
  return value;
}

bool take(std::string_view& text, std::string_view word) {
  if (!text.starts_with(word)) return false;
  text.remove_prefix(word.size());
  return true;
}

bool is_of_a_name(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_';
}

}  // namespace

std::optional<std::string> first_host(std::string_view list) {
  std::string host;
  while (!list.empty() && list.front() != ',') {
    if (take(list, "[")) {
      const size_t end = list.find(']');
      if (end == list.npos) return {};
      const size_t first = list.find_first_not_of("0123456789");  // up to '-', ',' or ']'; its zeros count
      if (first == 0 || (list[first] != '-' && list[first] != ',' && first != end)) return {};
      host += list.substr(0, first);
      list.remove_prefix(end + 1);
    } else {
      if (!is_of_a_name(list.front())) return {};
      host += list.front();
      list.remove_prefix(1);
    }
  }
  if (host.empty()) return {};
  return host;
}

std::optional<int> count_of_node(std::string_view counts, int node) {
  do {
    const auto count = take_number(counts);
    std::optional<int> times = 1;
    if (take(counts, "(x")) {
      times = take_number(counts);
      if (!take(counts, ")")) return {};
    }
    if (!count || !times) return {};
    if (node < *times) return count;
    node -= *times;
  } while (take(counts, ","));
  return {};
}

}  // namespace gradus::dist::detail
