// The tree within one process and over several.
#include <gradus/distributed/detail/shard_tree.h>

#include <algorithm>

#include <gradus/autograd/ops.h>

namespace gradus::dist::detail {
namespace {

// The subtrees that cover a rank's shards.
std::vector<ShardRange> subtrees(int rank, int ranks, int64_t shards) {
  const ShardRange block = shards_of(rank, ranks, shards);
  ShardTree tree;
  for (int64_t s = 0; s < block.count; ++s) tree.append({{block.first + s, 1}, {}});
  std::vector<ShardRange> ranges;
  for (const ShardTree::Node& node : tree.nodes()) ranges.push_back(node.range);
  return ranges;
}

}  // namespace

ShardRange shards_of(int rank, int ranks, int64_t shards) {
  const int64_t first = shards * rank / ranks;
  return {first, shards * (rank + 1) / ranks - first};
}

void ShardTree::append(Node node) {
  nodes_.push_back(std::move(node));
  while (nodes_.size() >= 2) {
    Node &left = nodes_[nodes_.size() - 2], &right = nodes_.back();
    if (left.range.count != right.range.count || left.range.first % (2 * left.range.count) != 0) break;
    if (left.sums.empty())
      left.sums = std::move(right.sums);
    else
      for (size_t i = 0; i < right.sums.size(); ++i) left.sums[i].add_(right.sums[i]);
    left.range.count *= 2;
    nodes_.pop_back();
  }
}

// Each rank adds up one part of every sum: it gets that part of all ranks' subtrees, goes on with the tree, and gives
// the result to all.
std::vector<Tensor> combine(const ShardTree& mine, ProcessGroup world, int64_t shards, const std::vector<Tensor>& like,
                            const std::function<bool(ShardRange)>& has_rows) {
  const int ranks = world.size();
  if (ranks == 1) return mine.nodes().front().sums;
  std::vector<std::vector<ShardRange>> ranges;
  size_t most = 0;
  for (int r = 0; r < ranks; ++r) {
    ranges.push_back(subtrees(r, ranks, shards));
    most = std::max(most, ranges.back().size());
  }

  struct Exchange {
    Tensor sent, parts;  // (ranks, most, elements of a part)
    Work work;
  };
  std::vector<Exchange> exchanges;
  for (size_t i = 0; i < like.size(); ++i) {
    const int64_t part = like[i].numel() / ranks;
    const TensorOptions options{.dtype = like[i].dtype(), .device = like[i].device()};
    const Tensor sent = zeros({ranks, static_cast<int64_t>(most), part}, options), parts = empty(sent.shape(), options);
    for (size_t k = 0; k < mine.nodes().size(); ++k)
      if (const ShardTree::Node& node = mine.nodes()[k]; !node.sums.empty())
        sent.select(1, static_cast<int64_t>(k)).copy_(node.sums[i].view({ranks, part}));
    exchanges.push_back({sent, parts, world.all_to_all(parts, sent)});
  }

  std::vector<Tensor> sums, own;
  std::vector<Work> works;
  for (size_t i = 0; i < like.size(); ++i) {
    exchanges[i].work.wait();
    ShardTree tree;
    for (int r = 0; r < ranks; ++r)
      for (size_t k = 0; k < ranges[static_cast<size_t>(r)].size(); ++k) {
        const ShardRange range = ranges[static_cast<size_t>(r)][k];
        const Tensor part = exchanges[i].parts[r][static_cast<int64_t>(k)];
        tree.append({range, has_rows(range) ? std::vector<Tensor>{part} : std::vector<Tensor>{}});
      }
    sums.push_back(empty_like(like[i]));
    own.push_back(tree.nodes().front().sums.front());
    works.push_back(world.all_gather(sums.back(), own.back()));
  }
  for (const Work& work : works) work.wait();
  return sums;
}

}  // namespace gradus::dist::detail
