// The word by which the first failure of a job is told to all its ranks, through the store. The launcher writes the
// same key when it sees a process end, the store itself when a connection ends without farewell.
#pragma once

#include <string>

#include <gradus/core/error.h>

namespace gradus::dist::detail {

/// Under the job's prefix.
std::string abort_key(int attempt);

/// JSON: {"rank": whom to blame or -1, "kind": "timeout", "message": what happened}.
std::string encode_abort(const CommError& error);
/// Takes anything: what is missing or senseless counts as a rank that was lost.
CommError decode_abort(const std::string& word);

}  // namespace gradus::dist::detail
