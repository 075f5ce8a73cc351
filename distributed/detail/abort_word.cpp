// The abort word to JSON and back.
#include <gradus/distributed/detail/abort_word.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <string_view>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace gradus::dist::detail {
namespace {

constexpr std::array<std::string_view, 5> kinds = {"setup", "timeout", "peer_lost", "mismatch", "aborted"};

}  // namespace

std::string abort_key(int attempt) { return fmt::format("abort/{}", attempt); }

std::string encode_abort(const CommError& error) {
  const nlohmann::json word = {
      {"rank", error.rank}, {"kind", kinds[static_cast<size_t>(error.kind)]}, {"message", error.what()}};
  return word.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

CommError decode_abort(const std::string& word) {
  const nlohmann::json json = nlohmann::json::parse(word, nullptr, false);
  int rank = -1;
  auto kind = CommError::Kind::peer_lost;
  std::string message = "a process of the job failed";
  if (json.is_object()) {
    if (const auto it = json.find("rank"); it != json.end() && it->is_number_integer()) rank = it->get<int>();
    if (const auto it = json.find("message"); it != json.end() && it->is_string()) message = it->get<std::string>();
    if (const auto it = json.find("kind"); it != json.end() && it->is_string()) {
      const auto found = std::find(kinds.begin(), kinds.end(), it->get<std::string>());
      if (found != kinds.end()) kind = static_cast<CommError::Kind>(std::distance(kinds.begin(), found));
    }
  }
  return CommError(message, kind, rank);
}

}  // namespace gradus::dist::detail
