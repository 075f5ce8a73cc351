// Buffers of a model, such as running statistics, when several shards start from the same values: each shard's change,
// and what the changes come to together.
#pragma once

#include <vector>

#include <gradus/core/tensor.h>

namespace gradus::dist::detail {

class BufferMean {
 public:
  /// Notes the present values as the start.
  explicit BufferMean(std::vector<Tensor> buffers);
  void restore() const;
  /// How far the buffers have moved, as flat float64 tensors: those of floating dtype times `weight`, others only where
  /// `is_first`.
  std::vector<Tensor> changes(double weight, bool is_first) const;
  /// Elements of all changes.
  int64_t numel() const;
  /// Sets the buffers to the start plus the sum of all shards' changes (numel()). One that did not move, infinite or
  /// not, keeps its bits.
  void move(const Tensor& sums) const;

 private:
  std::vector<Tensor> buffers_, start_;
};

}  // namespace gradus::dist::detail
