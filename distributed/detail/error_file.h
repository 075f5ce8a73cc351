// What a worker leaves behind for its launcher when it fails: GRADUS_ERROR_FILE, read after its end.
#pragma once

#include <string>

#include <gradus/core/api.h>

namespace gradus::dist::detail {

/// Writes {"rank": 3, "message": "...", "kind": "peer_lost"} unless an earlier failure is there already: the first one
/// counts. `kind` is a CommError's, in its spelling, or empty. Does nothing without a launcher, and never throws.
GRADUS_API void write_error_file(int rank, const std::string& message, const char* kind = "") noexcept;

/// From now on an exception that nobody catches is written there before the program ends as it would have.
GRADUS_API void write_uncaught_errors(int rank);

}  // namespace gradus::dist::detail
