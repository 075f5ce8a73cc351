// Group norm of [N, C, S] and its derivative. A group of one sample is a row of C / groups stretches of S elements.
#include <gradus/core/factories.h>
#include <gradus/core/kernels.h>
#include <gradus/core/math.h>
#include <gradus/cuda/device/channels.cuh>
#include <gradus/cuda/device/rows.cuh>
#include <gradus/cuda/launch.cuh>

namespace gradus::cuda {
namespace {

struct Groups {
  int64_t samples, channels, length, groups, per_group;
  Quotient by_length;

  Groups(const Tensor& x, int64_t count)
      : samples(x.size(0)),
        channels(x.size(1)),
        length(x.size(2)),
        groups(count),
        per_group(channels / count),
        by_length(length, per_group * length) {}
  int64_t rows() const { return samples * groups; }
  /// The channel of element i of a row.
  __device__ int64_t channel(int64_t row, int64_t i) const { return row % groups * per_group + by_length(i); }
};

template <int width, class S, class T = Compute<S>>
__device__ void norm_rows(S* y, T* mean, T* rstd, const S* x, const S* weight, const S* bias, T eps,
                          const Groups& groups, const RowPlan& plan) {
  const Team team(plan.whole_block);
  for (int64_t row = team.first(); row < plan.rows; row += team.count()) {
    const KeptRow<S> in(plan, team, x, row, 0);
    const Moments<T> moments = row_moments<width>(team, in, plan.n);
    const T scale = T(1) / math::sqrt(moments.variance + eps);
    if (team.rank == 0) {
      mean[row] = moments.mean;
      rstd[row] = scale;
    }
    for_row<width>(team, plan.n, [&](int64_t i) {
      const int64_t channel = groups.channel(row, i);
      const T factor = scale * at_or(weight, channel, T(1)), shift = at_or(bias, channel, T(0));
      auto values = in.template again<width>(i);
      for (T& value : values.item) value = (value - moments.mean) * factor + shift;
      store_values<width>(y + row * plan.n + i, values);
    });
  }
}
template <class S, class T = Compute<S>>
__global__ void group_norm_kernel(S* y, T* mean, T* rstd, const S* x, const S* weight, const S* bias, T eps,
                                  Groups groups, RowPlan plan) {
  if (plan.packed)
    norm_rows<pack_size<S>>(y, mean, rstd, x, weight, bias, eps, groups, plan);
  else
    norm_rows<1>(y, mean, rstd, x, weight, bias, eps, groups, plan);
}

// ---- derivative: the sums {g, g (x - mean)} of each stretch first; then dx from those of a row's stretches, and the
// gradients of weight and bias from those of a channel's, in the order of the samples
template <int width, class S, class T = Compute<S>>
__device__ void sum_rows(Two<T>* sums, const S* g, const S* x, const T* mean, int64_t per_group, const RowPlan& plan) {
  const Team team(plan.whole_block);
  for (int64_t row = team.first(); row < plan.rows; row += team.count()) {
    const T center = mean[row / per_group];
    Two<T> total{0, 0};
    for_row<width>(team, plan.n, [&](int64_t i) {
      const auto gradients = load_values<width>(g + row * plan.n + i),
                 values = load_values<width>(x + row * plan.n + i);
      for (int j = 0; j < width; ++j) {
        total.first += gradients.item[j];
        total.second += gradients.item[j] * (values.item[j] - center);
      }
    });
    total = team.combine(total, Add{});
    if (team.rank == 0) sums[row] = total;
  }
}
template <class S, class T = Compute<S>>
__global__ void sum_stretches(Two<T>* sums, const S* g, const S* x, const T* mean, int64_t per_group, RowPlan plan) {
  if (plan.packed)
    sum_rows<pack_size<S>>(sums, g, x, mean, per_group, plan);
  else
    sum_rows<1>(sums, g, x, mean, per_group, plan);
}

template <int width, class S, class T = Compute<S>>
__device__ void gradient_rows(S* dx, const S* g, const S* x, const T* mean, const T* rstd, const S* weight,
                              const Two<T>* sums, const Groups& groups, const RowPlan& plan) {
  const Team team(plan.whole_block);
  for (int64_t row = team.first(); row < plan.rows; row += team.count()) {
    Two<T> total{0, 0};
    for (int64_t c = team.rank; c < groups.per_group; c += team.size) {
      const T factor = at_or(weight, row % groups.groups * groups.per_group + c, T(1));
      const Two<T> own = sums[row * groups.per_group + c];
      total = Add{}(total, Two<T>{own.first * factor, own.second * factor});
    }
    total = team.combine(total, Add{});
    const T center = mean[row], scale = rstd[row], n = static_cast<T>(plan.n);
    const T slope = scale * scale * scale * total.second / n, offset = scale * total.first / n;
    for_row<width>(team, plan.n, [&](int64_t i) {
      const int64_t at = row * plan.n + i;
      const T factor = scale * at_or(weight, groups.channel(row, i), T(1));
      auto gradients = load_values<width>(g + at);
      const auto values = load_values<width>(x + at);
      for (int j = 0; j < width; ++j)
        gradients.item[j] = gradients.item[j] * factor - (values.item[j] - center) * slope - offset;
      store_values<width>(dx + at, gradients);
    });
  }
}
template <class S, class T = Compute<S>>
__global__ void group_norm_backward_kernel(S* dx, const S* g, const S* x, const T* mean, const T* rstd, const S* weight,
                                           const Two<T>* sums, Groups groups, RowPlan plan) {
  if (plan.packed)
    gradient_rows<pack_size<S>>(dx, g, x, mean, rstd, weight, sums, groups, plan);
  else
    gradient_rows<1>(dx, g, x, mean, rstd, weight, sums, groups, plan);
}

template <class S, class T = Compute<S>>
__global__ void add_up_samples(S* dweight, S* dbias, const Two<T>* sums, const T* rstd, Groups groups) {
  for (int64_t c = thread_number(); c < groups.channels; c += thread_count()) {
    T gradients = 0, products = 0;
#pragma unroll 4
    for (int64_t n = 0; n < groups.samples; ++n) {
      const Two<T> own = sums[n * groups.channels + c];
      gradients += own.first;
      products += own.second * rstd[n * groups.groups + c / groups.per_group];
    }
    if (dweight) dweight[c] = static_cast<S>(products);
    if (dbias) dbias[c] = static_cast<S>(gradients);
  }
}

// Rows of groups; a pack lies within one channel.
template <class S>
RowLaunch plan_groups(const Groups& at, std::initializer_list<const Tensor*> operands, int inputs) {
  RowLaunch rows = plan_rows<S>(at.rows(), at.per_group * at.length, operands, inputs);
  rows.plan.packed = rows.plan.packed && at.length % pack_size<S> == 0;
  return rows;
}

void group_norm(Tensor& y, Tensor& mean, Tensor& rstd, const Tensor& x, const Tensor& weight, const Tensor& bias,
                int64_t groups, double eps) {
  if (x.numel() == 0) return;
  dispatch_floating(x.dtype(), [&]<class S>() {
    using T = Compute<S>;
    const Groups at(x, groups);
    const RowLaunch rows = plan_groups<S>(at, {&y, &x}, 1);
    launch<group_norm_kernel<S>>(rows.blocks, rows.threads, rows.shared_bytes, elements<S>(y), elements<T>(mean),
                                 elements<T>(rstd), elements<const S>(x), elements<const S>(weight),
                                 elements<const S>(bias), static_cast<T>(eps), at, rows.plan);
  });
}

void group_norm_backward(Tensor& dx, Tensor& dweight, Tensor& dbias, const Tensor& g, const Tensor& x,
                         const Tensor& mean, const Tensor& rstd, const Tensor& weight, int64_t groups) {
  if (x.numel() == 0) {
    for (Tensor* sum : {&dweight, &dbias})
      if (sum->defined()) kernels::fill(x.device(), *sum, 0);
    return;
  }
  dispatch_floating(x.dtype(), [&]<class S>() {
    using T = Compute<S>;
    const Groups at(x, groups);
    const int64_t stretches = at.samples * at.channels;
    const Tensor memory = empty({stretches, 2}, {.dtype = dtype_of<T>, .device = x.device()});
    auto* const sums = elements<Two<T>>(memory);
    const RowLaunch of_stretches = plan_rows<S>(stretches, at.length, {&g, &x}, 0);
    launch<sum_stretches<S>>(of_stretches.blocks, of_stretches.threads, 0, sums, elements<const S>(g),
                             elements<const S>(x), elements<const T>(mean), at.per_group, of_stretches.plan);
    const RowLaunch rows = plan_groups<S>(at, {&dx, &g, &x}, 0);
    if (dx.defined())
      launch<group_norm_backward_kernel<S>>(rows.blocks, rows.threads, 0, elements<S>(dx), elements<const S>(g),
                                            elements<const S>(x), elements<const T>(mean), elements<const T>(rstd),
                                            elements<const S>(weight), static_cast<const Two<T>*>(sums), at, rows.plan);
    if (dweight.defined() || dbias.defined())
      launch<add_up_samples<S>>(blocks_for(at.channels), threads_per_block, 0, elements<S>(dweight), elements<S>(dbias),
                                static_cast<const Two<T>*>(sums), elements<const T>(rstd), at);
  });
}

[[maybe_unused]] const bool filled = kernels::group_norm.set(DeviceType::cuda, group_norm) &&
                                     kernels::group_norm_backward.set(DeviceType::cuda, group_norm_backward);

}  // namespace
}  // namespace gradus::cuda
