// How an attempt ended, as all launchers of a job are told it.
#pragma once

#include <string>

#include <nlohmann/json.hpp>

namespace gradus::run {

struct Verdict {
  int code = 0;           // of the launcher
  int rank = -1;          // who failed first; -1 when nobody knows, or nobody did
  std::string message;    // what happened, in a few words
  bool may_help = false;  // starting again
  std::string words;      // what it or its groups said themselves, if anything

  bool failed() const { return code != 0; }

  std::string text() const {
    return nlohmann::json{
        {"code", code}, {"rank", rank}, {"message", message}, {"may_help", may_help}, {"words", words}}
        .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  }
  /// From the store; throws nlohmann::json::exception when it is something else.
  static Verdict parse(const std::string& text) {
    const auto json = nlohmann::json::parse(text);
    return {json.at("code"), json.at("rank"), json.at("message"), json.at("may_help"), json.at("words")};
  }
};

}  // namespace gradus::run
