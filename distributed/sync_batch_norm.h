// Batch norm with the statistics of all ranks' batches: for batches that are too small on each.
#pragma once

#include <gradus/distributed/process_group.h>
#include <gradus/nn/layers.h>

namespace gradus::dist {

struct SyncBatchNormParams {
  double momentum = 0.1, eps = 1e-5;
};
/// batch_norm() in training, x [N, C, ...], with the moments by channel over the elements of all ranks, however many
/// each has; C is the same on all. Running statistics (may be undefined) come out the same on all ranks. Derivatives of
/// every order, which communicate as well: all ranks run forward and backward, in the same order.
GRADUS_API Tensor sync_batch_norm(const Tensor& x, const Tensor& running_mean, const Tensor& running_var,
                                  const Tensor& weight, const Tensor& bias, const ProcessGroup& world,
                                  const SyncBatchNormParams& params = {});

/// From now on, the BatchNorm layers of `net` use sync_batch_norm() in training. Returns how many there are. Not with
/// Determinism::world_size, in which every shard has its own statistics, nor with batches of which a rank has no rows.
GRADUS_API int64_t convert_sync_batch_norm(nn::Module& net, const ProcessGroup& world);

}  // namespace gradus::dist
