// Failures to JSON and back.
#include <gradus/distributed/detail/abort_word.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <iterator>
#include <limits>
#include <string_view>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace gradus::dist::detail {
namespace {

constexpr std::array<std::string_view, 5> kinds = {"setup", "timeout", "peer_lost", "mismatch", "aborted"};

/// Bytes. Parsed, brackets take forty times their memory.
constexpr size_t longest_word = 64 << 10;

}  // namespace

std::string Failure::text() const {
  nlohmann::json json = {{"rank", rank}, {"message", message}};
  if (kind) json["kind"] = kinds[static_cast<size_t>(*kind)];
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::optional<Failure> Failure::parse(const std::string& text) {
  if (text.size() > longest_word) return {};
  const nlohmann::json json = nlohmann::json::parse(text, nullptr, false);
  if (!json.is_object()) return {};
  Failure failure;
  const auto message = json.find("message");
  if (message == json.end() || !message->is_string()) return {};
  failure.message = message->get<std::string>();
  if (const auto rank = json.find("rank"); rank != json.end() && rank->is_number_integer()) {
    const auto number = rank->get<int64_t>();
    if (number >= 0 && number <= std::numeric_limits<int>::max()) failure.rank = static_cast<int>(number);
  }
  if (const auto kind = json.find("kind"); kind != json.end() && kind->is_string()) {
    const auto found = std::find(kinds.begin(), kinds.end(), kind->get<std::string>());
    if (found != kinds.end()) failure.kind = static_cast<CommError::Kind>(std::distance(kinds.begin(), found));
  }
  return failure;
}

std::string abort_key(int attempt) { return fmt::format("abort/{}", attempt); }

std::string encode_abort(const CommError& error) { return Failure{error.rank, error.kind, error.what()}.text(); }

CommError decode_abort(const std::string& word) {
  const Failure failure = Failure::parse(word).value_or(Failure{-1, {}, "a process of the job failed"});
  return CommError(failure.message, failure.kind.value_or(CommError::Kind::peer_lost), failure.rank);
}

}  // namespace gradus::dist::detail
