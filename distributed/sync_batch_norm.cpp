// Sums over the ranks that can be differentiated, and batch norm written with them.
#include <gradus/distributed/sync_batch_norm.h>

#include <gradus/autograd/autograd.h>
#include <gradus/core/detail/check.h>

namespace gradus::dist {
namespace {

// A group as a tensor, so that a node can save it: the graph keeps the group alive.
Tensor as_tensor(const ProcessGroup& world) {
  auto* const kept = new ProcessGroup(world);
  return from_blob(kept, {sizeof(ProcessGroup)}, uint8, [kept] { delete kept; });
}
const ProcessGroup& group_in(const Tensor& x) { return *static_cast<const ProcessGroup*>(x.raw_data()); }

// Every rank's result depends on every rank's x, so a rank's gradient is the sum of all ranks'.
Tensor sum_over_ranks(const Tensor& x, ProcessGroup world) {
  const Tensor y = dense(x.detach()).clone();
  world.all_reduce(y).wait();
  return record("sum_over_ranks", y, {&x}, save(as_tensor(world)),
                [](const Tensor& g, const Saved& s) -> Grads { return {sum_over_ranks(g, group_in(s[0]))}; });
}

// [C] for [N, C, L], in the dtype of the work; an absent one stays absent.
Tensor by_channel(const Tensor& x, Dtype work) { return x.defined() ? x.to(work).view({-1, 1}) : x; }

// running = (1 - momentum) running + momentum value, in place: a statistic is no part of the graph.
void move_running(const Tensor& running, const Tensor& value, double momentum) {
  if (!running.defined() || is_recomputing()) return;
  const NoGrad no_graph;
  running.mul_(1 - momentum);
  running.add_(value.detach().to(running.dtype()), momentum);
}

}  // namespace

Tensor sync_batch_norm(const Tensor& x, const Tensor& running_mean, const Tensor& running_var, const Tensor& weight,
                       const Tensor& bias, const ProcessGroup& world, const SyncBatchNormParams& params) {
  gradus::detail::check_floating("sync_batch_norm", "x", x);
  GRADUS_CHECK(x.rank() >= 2, ShapeError, "sync_batch_norm: x is {}; want [N, C, ...]", x.shape());
  const int64_t channels = x.size(1);
  for (const Tensor* p : {&running_mean, &running_var, &weight, &bias})
    GRADUS_CHECK(!p->defined() || p->shape() == Shape{channels}, ShapeError,
                 "sync_batch_norm: a parameter or running statistic is {}; want [{}] for x {}", p->shape(), channels,
                 x.shape());
  const Dtype work = x.dtype() == float64 ? float64 : float32;
  const int64_t length = channels ? x.numel() / std::max<int64_t>(1, x.size(0) * channels) : 0;
  const Tensor values = x.to(work).reshape({x.size(0), channels, length});  // (N, C, L)

  const Tensor own_count = full({1}, x.size(0) * length, {.dtype = work, .device = x.device()});
  const Tensor totals = sum_over_ranks(cat({sum(values, {0, 2}), own_count}), world);  // (C + 1)
  const Tensor count = totals.detach().narrow(0, channels, 1);
  const Tensor mean = totals.narrow(0, 0, channels) / count;
  const Tensor centred = values - by_channel(mean, work);
  const Tensor var = sum_over_ranks(sum(square(centred), {0, 2}), world) / count;
  move_running(running_mean, mean, params.momentum);
  move_running(running_var, var.detach() * (count / clamp(count - 1, 1)), params.momentum);  // the unbiased variance

  Tensor y = centred * by_channel(rsqrt(var + params.eps), work);
  if (weight.defined()) y = y * by_channel(weight, work);
  if (bias.defined()) y = y + by_channel(bias, work);
  return y.reshape(x.shape()).to(x.dtype());
}

int64_t convert_sync_batch_norm(nn::Module& net, const ProcessGroup& world) {
  int64_t converted = 0;
  for (const nn::NamedModule& m : net.named_modules())
    if (auto* const layer = dynamic_cast<nn::BatchNorm*>(m.module)) {
      layer->training_norm = [world](const nn::BatchNorm& self, const Tensor& x) {
        return sync_batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, world,
                               {self.momentum, self.eps});
      };
      ++converted;
    }
  return converted;
}

}  // namespace gradus::dist
