// Giving a checkpoint to things, whatever number of ranks wrote it.
#pragma once

#include <filesystem>
#include <vector>

#include <gradus/core/stateful.h>
#include <gradus/data/detail/checkpoint_manifest.h>

namespace gradus::data::detail {

/// Reads from the files only what this rank needs. Where the number of ranks has changed, a random generator goes on as
/// rank 0's, and 2^40 counters further for each rank unless all were at the same place. An Error when the things are
/// others than those that were saved.
void restore(const std::vector<Stateful*>& things, int rank, int ranks, const std::filesystem::path& folder,
             const Manifest& manifest);

}  // namespace gradus::data::detail
