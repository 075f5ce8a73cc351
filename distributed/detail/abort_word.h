// What is told of a failure, and how it is written. As the abort word it tells all ranks of a job of the first one,
// through the store: the launcher writes that key, too, when it sees a process end, and the store itself when a
// connection ends without farewell. As last words it tells the launcher what a worker failed of (error_file.h).
#pragma once

#include <optional>
#include <string>

#include <gradus/core/api.h>
#include <gradus/core/error.h>

namespace gradus::dist::detail {

struct Failure {
  int rank = -1;                             ///< of the job: whom to blame; -1 when nobody knows
  std::optional<CommError::Kind> kind = {};  ///< nothing where it was no CommError
  std::string message = {};

  /// JSON: {"rank": 3, "kind": "timeout", "message": "what happened"}; what is no UTF-8 is replaced.
  GRADUS_API std::string text() const;
  /// Takes anything; nothing unless it is such a JSON with a message. A rank or kind that makes no sense is left out.
  GRADUS_API static std::optional<Failure> parse(const std::string& text);
};

/// Of the abort word, under the job's prefix.
GRADUS_API std::string abort_key(int attempt);
std::string encode_abort(const CommError& error);
/// Takes anything: what is missing or senseless counts as a rank that was lost.
CommError decode_abort(const std::string& word);

}  // namespace gradus::dist::detail
