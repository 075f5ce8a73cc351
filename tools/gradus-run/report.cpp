// A table as wide as its longest entries.
#include "report.h"

#include <algorithm>

#include <fmt/format.h>

namespace gradus::run {

std::string to_text(const Rows& rows) {
  return nlohmann::json(rows).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::string report(const Verdict& verdict, const Rows& rows, int attempts) {
  std::string text =
      fmt::format("gradus-run: failed after {} attempt{}: {}\n", attempts, attempts == 1 ? "" : "s", verdict.message);
  if (rows.empty()) return text;
  const auto width = [&rows](std::string Row::*column, size_t least) {
    for (const Row& row : rows) least = std::max(least, (row.*column).size());
    return least;
  };
  const size_t host = width(&Row::host, 4), ending = width(&Row::ending, 6), step = width(&Row::last_step, 9);
  const auto line = [&](auto mark, auto rank, auto&... rest) {
    std::string entry = fmt::format("{} {:>4}  {:<{}}  {:<{}}  {:<{}}  {}", mark, rank, rest...);
    entry.erase(entry.find_last_not_of(' ') + 1);
    return entry + '\n';
  };
  const std::string titles[] = {"host", "ending", "last step", "log"};
  text += line(' ', "rank", titles[0], host, titles[1], ending, titles[2], step, titles[3]);
  for (const Row& row : rows)
    text += line(row.rank == verdict.rank ? '*' : ' ', row.rank, row.host, host, row.ending, ending, row.last_step,
                 step, row.log);
  if (!verdict.words.empty()) text += verdict.words + '\n';
  return text;
}

}  // namespace gradus::run
