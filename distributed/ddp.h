// Data parallelism: each rank trains the same model with its part of the batch, and backward averages the gradients.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>

#include <gradus/autograd/autograd.h>
#include <gradus/core/stateful.h>
#include <gradus/distributed/process_group.h>

namespace gradus::dist {

/// What two runs have to share for their results to have the same bits.
enum class Determinism : uint8_t {
  run,         ///< the number of processes, too
  world_size,  ///< not the number of processes: the batch is always cut into the same shards, see DDP::backward
};

struct DDPOptions {
  NamedTensors buffers = {};  ///< net.buffers(): those of rank 0 count
  /// Gradients travel together in buckets. The first one is small, so that the link is not idle for long, and so is the
  /// last one, behind which nothing hides.
  int64_t bucket_bytes = 25 << 20, edge_bucket_bytes = 1 << 20;
  std::optional<Dtype> wire = {};  ///< bfloat16: float32 gradients travel with half the bytes, and are rounded for it
  bool find_unused = false;        ///< some parameters may have no gradient in a backward, others on each rank
  Determinism determinism = Determinism::run;
  int64_t shards = 8;  ///< of a batch, with Determinism::world_size: a power of two, as many as processes or more
};

/// The loss of a batch: a mean over its rows, which are along dim 0.
using LossFunction = std::function<Tensor(const Tensor& x, const Tensor& y)>;

namespace detail {
class Reducer;
}

/// Distributed data parallelism (Li et al., VLDB 2020). Every backward leaves the mean of all ranks' gradients in
/// grad(), the same bits on each. Parameters and buffers are made equal to rank 0's at the start.
///
///   dist::DDP ddp(net.parameters(), world, {.buffers = net.buffers()});
///   for (auto& [x, y] : loader) {
///     opt.zero_grad();
///     loss = cross_entropy(net(x), y);
///     loss.backward();          // or: loss = ddp.backward(x, y, [&](auto& x, auto& y) { ... })
///     opt.step();
///   }
///
/// Gradients are views into the buckets, which are communicated while backward goes on, in the same order on all ranks.
/// So a gradient that was taken from grad() before changes with the next backward. Make DDP after net.to(...), and
/// anew when parameters are frozen. Buffers become rank 0's at the end of each backward that communicates.
///
/// Unless find_unused is on, every parameter gets a gradient in each backward; else backward throws a GradError that
/// names the parameter. With find_unused, one that was used by no rank keeps no gradient; what comes behind it in the
/// order of buckets is communicated at the end only.
///
/// When a backward that communicates throws on one rank, or the loss inside of ddp.backward, the job's groups end on
/// all ranks, with CommErrors that say why; on that rank itself every later backward is a GradError that does.
class GRADUS_API DDP {
 public:
  /// Compares names, shapes, dtypes and options: ValueError that names the first difference and the rank, on all ranks.
  DDP(const NamedTensors& parameters, const ProcessGroup& world, const DDPOptions& options = {});
  DDP(const DDP&) = delete;
  DDP& operator=(const DDP&) = delete;
  ~DDP();

  /// While one lives, backward only adds up this rank's gradients; the next one without it communicates the sum:
  ///   { auto guard = ddp.no_sync(micro + 1 < micros); loss.backward(); }
  class GRADUS_API NoSync {
   public:
    ~NoSync();
    NoSync(const NoSync&) = delete;
    NoSync& operator=(const NoSync&) = delete;

   private:
    friend class DDP;
    NoSync(detail::Reducer* reducer, bool active);
    detail::Reducer* reducer_;
    bool before_;
  };
  [[nodiscard]] NoSync no_sync(bool active = true);

  /// Forward and backward of this rank's rows of the global batch. The gradient is that of the mean over the rows of
  /// all ranks, however many each has; one without rows (none left at the end of an epoch: tensors of 0 rows, or
  /// undefined) takes part all the same. Returns that mean: 0-dim float64, the same bits on all ranks. What `loss`
  /// draws at random comes from a stream that the default generator gives this call and rank, so ranks with the same
  /// seed draw different numbers.
  ///
  /// With Determinism::world_size, results do not depend on the number of ranks: the global batch, the ranks' rows one
  /// after the other, is cut into `shards` parts; each is a forward and backward of its own, from rank 0's generator
  /// and the buffers as they were; and gradients, losses and floating buffers become sums and means along a binary tree
  /// over the shards, other buffers those of the first shard. Ranks whose rows are not whole shards pass them on first.
  /// `loss` is called several times then, or not at all. This is the only way to communicate in that mode; gradients
  /// that were there before are added to.
  Tensor backward(const Tensor& x, const Tensor& y, const LossFunction& loss);
  /// The same for any number of tensors with the same rows.
  Tensor backward(std::span<const Tensor> batch, const TensorFunction& loss);

 private:
  Ref<detail::Reducer> reducer_;
};

}  // namespace gradus::dist
