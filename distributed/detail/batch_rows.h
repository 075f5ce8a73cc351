// The rows of a global batch, which ranks hold one after the other: how many there are, and passing them on.
#pragma once

#include <span>
#include <vector>

#include <gradus/distributed/process_group.h>

namespace gradus::dist::detail {

/// Rows of this rank's tensors, along dim 0; 0 for undefined ones. ValueError when they differ.
int64_t rows_of(std::span<const Tensor> batch);

/// This rank's tensors when rank r gets the rows [want[r], want[r + 1]) of the global batch and has brought
/// [have[r], have[r + 1]). All ranks call it.
std::vector<Tensor> pass_rows(std::span<const Tensor> batch, ProcessGroup world, const std::vector<int64_t>& have,
                              const std::vector<int64_t>& want, Device device);

}  // namespace gradus::dist::detail
