// Softmax and log-softmax over rows, and their derivatives: each element is read once and written once where the row
// fits into shared memory.
#include <gradus/core/kernels.h>
#include <gradus/cuda/device/log_sum.cuh>
#include <gradus/cuda/device/rows.cuh>
#include <gradus/cuda/launch.cuh>

namespace gradus::cuda {
namespace {

template <int width, bool logarithm, class S>
__device__ void softmax_rows(S* y, const S* x, const RowPlan& plan) {
  using T = Compute<S>;
  const Team team(plan.whole_block);
  for (int64_t row = team.first(); row < plan.rows; row += team.count()) {
    const KeptRow<S> in(plan, team, x, row, 0);
    LogSum<T> total = LogSum<T>::none();
    for_row<width>(team, plan.n, [&](int64_t i) {
      const auto values = in.template read<width>(i);
      for (const T value : values.item) total.add(value);
    });
    total = team.combine(total, typename LogSum<T>::Merge{});
    const T log_sum = math::log(total.sum), scale = T(1) / total.sum;
    for_row<width>(team, plan.n, [&](int64_t i) {
      auto values = in.template again<width>(i);
      for (T& value : values.item) {
        value -= total.top;
        value = logarithm ? value - log_sum : math::exp(value) * scale;
      }
      store_values<width>(y + row * plan.n + i, values);
    });
  }
}

// softmax: dx = (g - sum g y) y. log_softmax: dx = g - exp(y) sum g.
template <int width, bool logarithm, class S>
__device__ void softmax_backward_rows(S* dx, const S* g, const S* y, const RowPlan& plan) {
  using T = Compute<S>;
  const Team team(plan.whole_block);
  for (int64_t row = team.first(); row < plan.rows; row += team.count()) {
    const KeptRow<S> gradient(plan, team, g, row, 0), result(plan, team, y, row, 1);
    T sum = 0;
    for_row<width>(team, plan.n, [&](int64_t i) {
      const auto gs = gradient.template read<width>(i), ys = result.template read<width>(i);
      for (int j = 0; j < width; ++j) sum += logarithm ? gs.item[j] : gs.item[j] * ys.item[j];
    });
    sum = team.combine(sum, Add{});
    for_row<width>(team, plan.n, [&](int64_t i) {
      auto gs = gradient.template again<width>(i);
      const auto ys = result.template again<width>(i);
      for (int j = 0; j < width; ++j)
        gs.item[j] = logarithm ? gs.item[j] - math::exp(ys.item[j]) * sum : (gs.item[j] - sum) * ys.item[j];
      store_values<width>(dx + row * plan.n + i, gs);
    });
  }
}

template <class S, bool logarithm>
__global__ void softmax_kernel(S* y, const S* x, RowPlan plan) {
  if (plan.packed)
    softmax_rows<pack_size<S>, logarithm>(y, x, plan);
  else
    softmax_rows<1, logarithm>(y, x, plan);
}

template <class S, bool logarithm>
__global__ void softmax_backward_kernel(S* dx, const S* g, const S* y, RowPlan plan) {
  if (plan.packed)
    softmax_backward_rows<pack_size<S>, logarithm>(dx, g, y, plan);
  else
    softmax_backward_rows<1, logarithm>(dx, g, y, plan);
}

template <bool logarithm>
void softmax(Tensor& y, const Tensor& x) {
  if (y.numel() == 0) return;
  const int64_t n = y.rank() ? y.size(-1) : 1;
  dispatch_floating(y.dtype(), [&]<class S>() {
    const RowLaunch rows = plan_rows<S>(y.numel() / n, n, {&y, &x}, 1);
    launch<softmax_kernel<S, logarithm>>(rows.blocks, rows.threads, rows.shared_bytes, elements<S>(y),
                                         elements<const S>(x), rows.plan);
  });
}

template <bool logarithm>
void softmax_backward(Tensor& dx, const Tensor& g, const Tensor& y) {
  if (dx.numel() == 0) return;
  const int64_t n = dx.rank() ? dx.size(-1) : 1;
  dispatch_floating(dx.dtype(), [&]<class S>() {
    const RowLaunch rows = plan_rows<S>(dx.numel() / n, n, {&dx, &g, &y}, 2);
    launch<softmax_backward_kernel<S, logarithm>>(rows.blocks, rows.threads, rows.shared_bytes, elements<S>(dx),
                                                  elements<const S>(g), elements<const S>(y), rows.plan);
  });
}

[[maybe_unused]] const bool filled = kernels::softmax.set(DeviceType::cuda, softmax<false>) &&
                                     kernels::softmax_backward.set(DeviceType::cuda, softmax_backward<false>) &&
                                     kernels::log_softmax.set(DeviceType::cuda, softmax<true>) &&
                                     kernels::log_softmax_backward.set(DeviceType::cuda, softmax_backward<true>);

}  // namespace
}  // namespace gradus::cuda
