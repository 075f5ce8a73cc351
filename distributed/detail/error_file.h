// What a worker leaves behind for its launcher when it fails: GRADUS_ERROR_FILE, read after its end. Written as a
// Failure of abort_word.h, whose `rank` is the one that says so.
#pragma once

#include <gradus/core/api.h>

namespace gradus::dist::detail {

/// From now on an exception that nobody catches is written there before the program ends as it would have, unless an
/// earlier one is there already. Does nothing without a launcher, and never throws.
GRADUS_API void write_uncaught_errors(int rank) noexcept;

}  // namespace gradus::dist::detail
