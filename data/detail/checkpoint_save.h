// One save, which all ranks of a group make together.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <vector>

#include <gradus/data/detail/checkpoint_share.h>
#include <gradus/distributed/process_group.h>

namespace gradus::data::detail {

struct SaveOptions {
  std::filesystem::path folder;       // of the run
  int64_t step = 0, keep = 1;         // whose checkpoint, and how many stay
  std::vector<int64_t> damaged = {};  // checkpoints that go as soon as this one is saved
};

/// Saves what `share` returns on each rank, and deletes older checkpoints. When the work of any rank fails, all ranks
/// throw a CheckpointError, which says whether the checkpoint is there; what was there before is then untouched. That
/// old ones cannot be deleted is a warning.
void save_together(const dist::ProcessGroup& group, const SaveOptions& options, const std::function<Share()>& share);

}  // namespace gradus::data::detail
