// How a process tells the launcher that watches it how far it is.
#pragma once

#include <cstdint>

#include <gradus/core/api.h>

namespace gradus::dist {

/// "Step `step` is in `phase`", a word or two such as "backward" (39 bytes are kept). Called at least once a step, it
/// lets `gradus-run --heartbeat` name the rank that hangs while all others wait for it. A few stores to memory; nothing
/// without a launcher that watches. Any thread may call it.
GRADUS_API void heartbeat(int64_t step, const char* phase);
/// Another phase of the same step; DDP says so when backward begins, and when it waits for the other ranks.
GRADUS_API void heartbeat(const char* phase);

}  // namespace gradus::dist
