// What one rank writes of the things' state.
#pragma once

#include <cstdint>
#include <vector>

#include <gradus/core/stateful.h>

namespace gradus::data::detail {

struct Share {
  std::vector<StateSlice> slices;  ///< on the CPU; names are "<thing>/<entry>"
  uint32_t common = 0;             ///< of the names, dtypes and shapes that are divided: the same on all ranks

  uint64_t bytes() const;
};

/// Divides the state among the ranks: what all of them have by bytes, large tensors in pieces; slices stay with their
/// owner; of a random generator each rank keeps its own row of (ranks, 2). `copy`: nothing in the share changes when
/// training goes on.
Share share_of(const std::vector<Stateful*>& things, int rank, int ranks, bool copy);

}  // namespace gradus::data::detail
