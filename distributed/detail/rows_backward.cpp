// DDP::backward: the gradient of the mean over all ranks' rows, by one forward of each rank, or shard by shard with the
// same bits for any number of ranks.
#include <algorithm>

#include <gradus/autograd/ops.h>
#include <gradus/core/detail/check.h>
#include <gradus/core/philox.h>
#include <gradus/core/random.h>
#include <gradus/distributed/detail/batch_rows.h>
#include <gradus/distributed/detail/buffer_mean.h>
#include <gradus/distributed/detail/reducer.h>
#include <gradus/distributed/detail/shard_tree.h>

namespace gradus::dist::detail {
namespace {

// The n-th of the streams that begin at a place of a generator, which gives up one counter for each.
Generator stream(uint64_t seed, uint64_t offset, int64_t n) {
  const philox::Words words = philox::philox(seed, offset + static_cast<uint64_t>(n));
  return Generator((uint64_t{words.w[0]} << 32) | words.w[1]);
}

Tensor checked_loss(const Tensor& loss) {
  gradus::detail::check_floating("DDP::backward", "the loss", loss);
  GRADUS_CHECK(loss.numel() == 1, ShapeError, "DDP::backward: the loss is {}; want one element, a mean over the rows",
               loss.shape());
  return loss;
}

// What all ranks know of a global batch.
struct Agreement {
  std::vector<int64_t> first_row;  // of each rank, and behind the last one
  uint64_t seed, offset;           // of rank 0's generator
  int64_t rows() const { return first_row.back(); }
};

Agreement agree(int64_t rows, const ProcessGroup& world, Device device) {
  const Generator& generator = default_generator();
  const int64_t own[] = {rows, static_cast<int64_t>(generator.seed()), static_cast<int64_t>(generator.offset())};
  const Tensor mine = tensor(std::span<const int64_t>(own)).to(device).view({1, 3});
  const Tensor all = empty({world.size(), 3}, {.dtype = int64, .device = device});  // (ranks, 3)
  world.all_gather(all, mine).wait();
  const Tensor host = all.to(Device::cpu());
  const int64_t* told = host.data<int64_t>();
  Agreement agreed{{0}, static_cast<uint64_t>(told[1]), static_cast<uint64_t>(told[2])};
  for (int64_t r = 0; r < world.size(); ++r) agreed.first_row.push_back(agreed.rows() + told[3 * r]);
  GRADUS_CHECK(agreed.rows() > 0, ValueError, "DDP::backward: no rank has any rows");
  return agreed;
}

// Where a batch is cut.
struct Cut {
  int64_t rows, shards;
  int64_t first_row(int64_t shard) const { return rows * shard / shards; }
  int64_t rows_in(ShardRange range) const { return first_row(range.first + range.count) - first_row(range.first); }
  double weight(int64_t shard) const { return static_cast<double>(rows_in({shard, 1})) / static_cast<double>(rows); }
  // The first shard that has rows.
  bool is_first(int64_t shard) const { return first_row(shard) == 0 && first_row(shard + 1) > 0; }
};

// The rows of this rank's shards.
std::vector<Tensor> rows_of_shards(std::span<const Tensor> batch, const ProcessGroup& world, const Agreement& agreed,
                                   const Cut& cut, Device device) {
  std::vector<int64_t> want;
  for (int r = 0; r <= world.size(); ++r) want.push_back(cut.first_row(cut.shards * r / world.size()));
  if (want == agreed.first_row) return {batch.begin(), batch.end()};
  return pass_rows(batch, world, agreed.first_row, want, device);
}

std::vector<Tensor> narrowed(const std::vector<Tensor>& batch, int64_t first, int64_t count) {
  std::vector<Tensor> part;
  for (const Tensor& x : batch) part.push_back(x.narrow(0, first, count));
  return part;
}

}  // namespace

// While it lives, backward leaves the gradients in the buckets and nothing is sent.
class Reducer::Collecting {
 public:
  explicit Collecting(Reducer& reducer) : reducer_(reducer) { reducer_.collecting_ = true; }
  ~Collecting() { reducer_.collecting_ = false; }
  Collecting(const Collecting&) = delete;
  Collecting& operator=(const Collecting&) = delete;

 private:
  Reducer& reducer_;
};

Tensor Reducer::backward(std::span<const Tensor> batch, const TensorFunction& loss) {
  check_in_step();
  return options_.determinism == Determinism::world_size ? sharded_backward(batch, loss) : whole_backward(batch, loss);
}

// ---- one forward of all rows; the ranks tell each other how many they have meanwhile
Tensor Reducer::whole_backward(std::span<const Tensor> batch, const TensorFunction& loss) {
  const int64_t rows = rows_of(batch), ranks = world_.size();
  const Tensor mine = full({1}, rows, {.dtype = int64, .device = device()}),
               all = empty({ranks}, {.dtype = int64, .device = device()});
  const Work told = world_.all_gather(all, mine);
  const uint64_t seed = default_generator().seed(), place = default_generator().advance(4 * ranks);
  Generator own = stream(seed, place, world_.rank());
  const UseGenerator use(own);

  const Tensor value = rows > 0 ? loss_of(batch, loss) : Tensor();
  told.wait();
  const int64_t total = alone_ ? rows : sum(all).item<int64_t>();
  GRADUS_CHECK(total > 0, ValueError, "DDP::backward: no rank has any rows");
  const double share = static_cast<double>(rows) / static_cast<double>(total);
  const uint64_t rounds = rounds_;
  // The buckets will be divided by the number of ranks.
  if (rows > 0) value.backward(full_like(value.detach(), share * static_cast<double>(ranks)));
  if (!alone_ && syncing && rounds_ == rounds) finish_without_backward(rows == 0);
  const Tensor mean =
      rows > 0 ? value.detach().to(float64).view({}) * share : zeros({}, {.dtype = float64, .device = device()});
  world_.all_reduce(mean).wait();
  return mean;
}

Tensor Reducer::loss_of(std::span<const Tensor> batch, const TensorFunction& loss) try {
  return checked_loss(loss(batch));
} catch (...) {
  fall_out_of_step_by_exception();  // the others wait for this rank
  throw;
}

// ---- shard by shard
Tensor Reducer::sharded_backward(std::span<const Tensor> batch, const TensorFunction& loss) {
  GRADUS_CHECK(syncing, GradError, "DDP::backward: no_sync() and Determinism::world_size exclude each other");
  const Agreement agreed = agree(rows_of(batch), world_, device());
  const Cut cut{agreed.rows(), options_.shards};
  const std::vector<Tensor> rows = rows_of_shards(batch, world_, agreed, cut, device());
  default_generator().seek(agreed.seed, agreed.offset + static_cast<uint64_t>(cut.shards));
  const Accumulated before = accumulated();
  const BufferMean buffers(buffers_);

  ShardTree tree;
  const ShardRange block = shards_of(world_.rank(), world_.size(), cut.shards);
  try {
    for (int64_t s = block.first; s < block.first + block.count; ++s) {
      const ShardRange shard{s, 1};
      if (cut.rows_in(shard) == 0) {
        tree.append({shard, {}});
        continue;
      }
      Generator own = stream(agreed.seed, agreed.offset, s);
      const UseGenerator use(own);
      buffers.restore();
      const Tensor value =
          checked_loss(loss(narrowed(rows, cut.first_row(s) - cut.first_row(block.first), cut.rows_in(shard))));
      tree.append({shard, shard_sums(value, cut.weight(s), buffers.changes(cut.weight(s), cut.is_first(s)))});
    }
  } catch (...) {
    buffers.restore();
    fall_out_of_step_by_exception();
    throw;
  }
  const std::vector<Tensor> sums = combine(tree, world_, cut.shards, sums_like(buffers.numel()),
                                           [&](ShardRange range) { return cut.rows_in(range) > 0; });
  const int64_t parameters = static_cast<int64_t>(parameters_.size());
  const Tensor& beside = sums.back();
  buffers.move(beside.narrow(0, 1 + parameters, buffers.numel()));
  take(sums, beside.narrow(0, 1, parameters), before);
  return beside[0].clone();
}

// What is added up over the shards: the buckets, and beside them the loss, how often each parameter was used, and the
// changes of the buffers, in float64.
std::vector<Tensor> Reducer::sums_like(int64_t buffers) const {
  std::vector<Tensor> like;
  for (const Bucket& b : buckets_) like.push_back(b.flat);
  const int64_t ranks = world_.size(), beside = 1 + static_cast<int64_t>(parameters_.size()) + buffers;
  like.push_back(zeros({(beside + ranks - 1) / ranks * ranks}, {.dtype = float64, .device = device()}));
  return like;
}

std::vector<Tensor> Reducer::shard_sums(const Tensor& loss, double weight, const std::vector<Tensor>& buffer_changes) {
  for (Parameter& p : parameters_) {
    p.tensor.set_grad({});
    p.ready = false;
  }
  const Collecting collecting(*this);
  loss.backward(full_like(loss.detach(), weight));

  const NoGrad no_graph;
  std::vector<double> uses;
  for (const Parameter& p : parameters_) {
    GRADUS_CHECK(p.ready || options_.find_unused, GradError, "{}", without_gradient(p));
    if (!p.ready) p.place.view.zero_();
    uses.push_back(p.ready ? 1 : 0);
  }
  std::vector<Tensor> sums,
      beside{loss.detach().to(float64).view({1}) * weight, tensor(std::span<const double>(uses)).to(device(), float64)};
  for (const Bucket& b : buckets_) sums.push_back(b.flat.clone());
  beside.insert(beside.end(), buffer_changes.begin(), buffer_changes.end());
  const Tensor all = cat(beside), room = sums_like(all.numel() - 1 - static_cast<int64_t>(parameters_.size())).back();
  room.narrow(0, 0, all.numel()).copy_(all);
  sums.push_back(room);
  return sums;
}

Reducer::Accumulated Reducer::accumulated() const {
  const NoGrad no_graph;
  Accumulated before;
  for (const Parameter& p : parameters_) before.has.push_back(p.tensor.grad().defined());
  if (std::find(before.has.begin(), before.has.end(), true) == before.has.end()) return before;
  for (const Parameter& p : parameters_) settle(p);
  for (const Bucket& b : buckets_) before.flats.push_back(b.flat.clone());
  return before;
}

// The gradients are what was there before plus the sums.
void Reducer::take(const std::vector<Tensor>& sums, const Tensor& uses, const Accumulated& before) {
  const NoGrad no_graph;
  for (size_t b = 0; b < buckets_.size(); ++b)
    buckets_[b].flat.copy_(before.flats.empty() ? sums[b] : before.flats[b].add_(sums[b]));
  const Tensor host = uses.to(Device::cpu());
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const Parameter& p = parameters_[i];
    p.tensor.set_grad(before.has[i] || host.data<double>()[i] > 0 ? p.place.view : Tensor());
  }
}

}  // namespace gradus::dist::detail
