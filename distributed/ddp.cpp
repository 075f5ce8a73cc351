// What DDP checks and makes equal at the start. Buckets and backward are in detail/.
#include <gradus/distributed/ddp.h>

#include <bit>
#include <string>
#include <unordered_set>

#include <gradus/autograd/ops.h>
#include <gradus/core/detail/check.h>
#include <gradus/distributed/detail/reducer.h>

namespace gradus::dist {
namespace {

void check_options(const DDPOptions& o, const ProcessGroup& world) {
  GRADUS_CHECK(o.bucket_bytes > 0 && o.edge_bucket_bytes > 0, ValueError,
               "DDP: bucket_bytes {} and edge_bucket_bytes {}; want more than 0", o.bucket_bytes, o.edge_bucket_bytes);
  GRADUS_CHECK(!o.wire || is_floating(*o.wire), DtypeError, "DDP: gradients cannot travel as {}; want bfloat16",
               *o.wire);
  if (o.determinism == Determinism::run) return;
  GRADUS_CHECK(!o.wire, ValueError, "DDP: with Determinism::world_size gradients are not rounded; leave .wire out");
  GRADUS_CHECK(o.shards > 0 && std::has_single_bit(static_cast<uint64_t>(o.shards)), ValueError,
               "DDP: {} shards; want a power of two", o.shards);
  GRADUS_CHECK(o.shards >= world.size(), ValueError, "DDP: {} shards for {} processes; want one for each, or more",
               o.shards, world.size());
}

void check_tensors(const NamedTensors& parameters, const NamedTensors& buffers) {
  std::unordered_set<const TensorImpl*> seen;
  for (const NamedTensors* named : {&parameters, &buffers})
    for (const auto& [name, x] : *named) {
      gradus::detail::check_defined("DDP", name.c_str(), x);
      GRADUS_CHECK(seen.insert(&x.impl()).second, ValueError, "DDP: '{}' comes twice", name);
      GRADUS_CHECK(x.is_leaf(), GradError, "DDP: '{}' is the result of an operation; want a leaf", name);
      GRADUS_CHECK(x.is_contiguous(), ValueError, "DDP: '{}' is a strided view; want a contiguous tensor", name);
    }
}

// A line for the options, one for each tensor: what has to be the same on all ranks.
std::vector<std::string> described(const NamedTensors& parameters, const DDPOptions& o) {
  std::vector<std::string> lines{fmt::format(
      "the options bucket_bytes {}, edge_bucket_bytes {}, wire {}, find_unused {}, determinism {}, shards {}",
      o.bucket_bytes, o.edge_bucket_bytes, o.wire ? fmt::format("{}", *o.wire) : "as they are", o.find_unused,
      o.determinism == Determinism::run ? "run" : "world_size", o.shards)};
  for (const auto& [name, x] : parameters)
    lines.push_back(fmt::format("the {} '{}' {}{}", x.requires_grad() ? "parameter" : "frozen parameter", name,
                                x.dtype(), x.shape()));
  for (const auto& [name, x] : o.buffers)
    lines.push_back(fmt::format("the buffer '{}' {}{}", name, x.dtype(), x.shape()));
  return lines;
}

std::vector<std::string> split_lines(const std::string& text) {
  std::vector<std::string> lines;
  for (size_t at = 0; at < text.size();) {
    const size_t end = text.find('\n', at);
    lines.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return lines;
}

// All ranks see all descriptions, so all throw, and of the same rank.
void check_same_model(const NamedTensors& parameters, const DDPOptions& options, const ProcessGroup& world) {
  std::string mine;
  for (const std::string& line : described(parameters, options)) mine += line + '\n';
  const std::vector<std::string> all = world.all_gather_text(mine);
  for (size_t r = 1; r < all.size(); ++r) {
    if (all[r] == all[0]) continue;
    const std::vector<std::string> first = split_lines(all[0]), other = split_lines(all[r]);
    size_t i = 0;
    while (i < first.size() && i < other.size() && first[i] == other[i]) ++i;
    throw ValueError(fmt::format("DDP: rank {} has {} where rank 0 has {}; every rank has to make the same model", r,
                                 i < other.size() ? other[i] : "nothing more",
                                 i < first.size() ? first[i] : "nothing more"));
  }
}

void take_from_rank_0(const NamedTensors& parameters, const NamedTensors& buffers, const ProcessGroup& world) {
  std::vector<Work> works;
  for (const NamedTensors* named : {&parameters, &buffers})
    for (const auto& [name, x] : *named) works.push_back(world.broadcast(x.detach(), 0));
  for (const Work& work : works) work.wait();
}

}  // namespace

DDP::DDP(const NamedTensors& parameters, const ProcessGroup& world, const DDPOptions& options) {
  check_options(options, world);
  check_tensors(parameters, options.buffers);
  check_same_model(parameters, options, world);
  take_from_rank_0(parameters, options.buffers, world);
  NamedTensors trained;
  for (const NamedTensor& p : parameters)
    if (p.tensor.requires_grad()) trained.push_back(p);
  GRADUS_CHECK(!trained.empty(), ValueError, "DDP: there are no parameters to train");
  reducer_ = make_ref<detail::Reducer>(trained, world, options);
  reducer_->attach();
}
DDP::~DDP() { reducer_->close(); }

Tensor DDP::backward(const Tensor& x, const Tensor& y, const LossFunction& loss) {
  const Tensor batch[] = {x, y};
  return backward(batch, [&](std::span<const Tensor> part) { return loss(part[0], part[1]); });
}
Tensor DDP::backward(std::span<const Tensor> batch, const TensorFunction& loss) {
  return reducer_->backward(batch, loss);
}

DDP::NoSync DDP::no_sync(bool active) { return NoSync(reducer_.get(), active); }
DDP::NoSync::NoSync(detail::Reducer* reducer, bool active) : reducer_(reducer), before_(reducer->syncing) {
  reducer_->syncing = before_ && !active;
}
DDP::NoSync::~NoSync() { reducer_->syncing = before_; }

}  // namespace gradus::dist
