// Sums along a binary tree over the shards of a batch. Whoever adds which part, the additions are the same, and so are
// the bits.
#pragma once

#include <functional>
#include <vector>

#include <gradus/distributed/process_group.h>

namespace gradus::dist::detail {

/// Some neighbouring shards.
struct ShardRange {
  int64_t first, count;
};
/// The shards of rank `rank` of `ranks`.
GRADUS_API ShardRange shards_of(int rank, int ranks, int64_t shards);

class GRADUS_API ShardTree {
 public:
  /// A subtree of `count` shards, a power of two, and the sums over them. Without sums nothing is added for it: its
  /// shards have no rows.
  struct Node {
    ShardRange range;
    std::vector<Tensor> sums;
  };
  /// Appends the next subtree to the right and joins what are siblings now. The tensors' values may change.
  void append(Node node);
  /// As few subtrees as cover all that was appended, from left to right.
  const std::vector<Node>& nodes() const { return nodes_; }

 private:
  std::vector<Node> nodes_;
};

/// The sums over all shards, from the trees of all ranks over their own. Every sum is flat, with a multiple of the
/// group's size of elements. `has_rows` says whether there are rows among some shards.
std::vector<Tensor> combine(const ShardTree& mine, ProcessGroup world, int64_t shards, const std::vector<Tensor>& like,
                            const std::function<bool(ShardRange)>& has_rows);

}  // namespace gradus::dist::detail
