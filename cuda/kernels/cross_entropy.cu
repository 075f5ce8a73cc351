// Cross entropy between rows of logits and class indices, and its derivative, which may be written over the logits.
// With label smoothing eps the loss of a row is (1 - eps) w[t] (lse - x[t]) + eps / n sum_c w[c] (lse - x[c]). A target
// that is ignored, or that names no class, gives 0.
#include <gradus/core/factories.h>
#include <gradus/core/kernels.h>
#include <gradus/cuda/device/log_sum.cuh>
#include <gradus/cuda/device/rows.cuh>
#include <gradus/cuda/launch.cuh>

namespace gradus::cuda {
namespace {

// What the rows have in common: the class weights (null for ones) and their sum (null for n), and the shares of the
// target and of each class.
template <class S>
struct Classes {
  using T = Compute<S>;

  const S* weight;
  const T* weight_sum;
  T target_share, class_share;
  int64_t ignore_index;

  __device__ bool counts(int64_t target, int64_t n) const {
    return target != ignore_index && target >= 0 && target < n;
  }
  __device__ T weight_of(int64_t c) const { return at_or(weight, c, T(1)); }
};

template <int width, class S, class T = Compute<S>>
__device__ void loss_rows(T* loss, T* lse, const S* x, const int64_t* target, const Classes<S>& classes,
                          const RowPlan& plan) {
  const Team team(plan.whole_block);
  for (int64_t row = team.first(); row < plan.rows; row += team.count()) {
    const KeptRow<S> in(plan, team, x, row, 0);
    LogSum<T> total = LogSum<T>::none();
    for_row<width>(team, plan.n, [&](int64_t i) {
      const auto values = in.template read<width>(i);
      for (const T value : values.item) total.add(value);
    });
    const T log_sum = team.combine(total, typename LogSum<T>::Merge{}).value();
    T smooth = 0;
    if (classes.class_share != 0) {
      for_row<width>(team, plan.n, [&](int64_t i) {
        const auto values = in.template again<width>(i);
        for (int j = 0; j < width; ++j) smooth += classes.weight_of(i + j) * (log_sum - values.item[j]);
      });
      smooth = classes.class_share * team.combine(smooth, Add{});
    }
    if (team.rank != 0) continue;
    const int64_t t = target[row];
    lse[row] = log_sum;
    loss[row] = classes.counts(t, plan.n)
                    ? classes.target_share * classes.weight_of(t) * (log_sum - load(x[row * plan.n + t])) + smooth
                    : T(0);
  }
}

// d loss / d x[c] = p[c] (target_share w[t] + class_share sum w) - class_share w[c] - [c = t] target_share w[t].
template <int width, class S, class T = Compute<S>>
__device__ void gradient_rows(S* dx, const T* g, const S* x, const T* lse, const int64_t* target,
                              const Classes<S>& classes, const RowPlan& plan) {
  const Team team(plan.whole_block);
  const T weight_sum = at_or(classes.weight_sum, 0, static_cast<T>(plan.n));
  for (int64_t row = team.first(); row < plan.rows; row += team.count()) {
    const int64_t t = target[row];
    const bool counts = classes.counts(t, plan.n);
    const T on_target = counts ? g[row] * classes.target_share * classes.weight_of(t) : T(0);
    const T on_class = counts ? g[row] * classes.class_share : T(0);
    const T scale = on_target + on_class * weight_sum, shift = lse[row];
    for_row<width>(team, plan.n, [&](int64_t i) {
      auto values = load_values<width>(x + row * plan.n + i);
      for (int j = 0; j < width; ++j) {
        T value = scale == 0 ? T(0) : math::exp(values.item[j] - shift) * scale;
        if (on_class != 0) value -= on_class * classes.weight_of(i + j);
        values.item[j] = counts && i + j == t ? value - on_target : value;
      }
      store_values<width>(dx + row * plan.n + i, values);
    });
  }
}

template <class S, class T = Compute<S>>
__global__ void cross_entropy_kernel(T* loss, T* lse, const S* x, const int64_t* target, Classes<S> classes,
                                     RowPlan plan) {
  if (plan.packed)
    loss_rows<pack_size<S>>(loss, lse, x, target, classes, plan);
  else
    loss_rows<1>(loss, lse, x, target, classes, plan);
}

template <class S, class T = Compute<S>>
__global__ void cross_entropy_backward_kernel(S* dx, const T* g, const S* x, const T* lse, const int64_t* target,
                                              Classes<S> classes, RowPlan plan) {
  if (plan.packed)
    gradient_rows<pack_size<S>>(dx, g, x, lse, target, classes, plan);
  else
    gradient_rows<1>(dx, g, x, lse, target, classes, plan);
}

template <class S>
Classes<S> classes_of(const Tensor& weight, const Tensor& weight_sum, const CrossEntropyArgs& args, int64_t n) {
  using T = Compute<S>;
  return {elements<const S>(weight), elements<const T>(weight_sum), T(1 - args.label_smoothing),
          T(args.label_smoothing / static_cast<double>(n)), args.ignore_index};
}

void cross_entropy(Tensor& loss, Tensor& lse, const Tensor& logits, const Tensor& target, const Tensor& weight,
                   const CrossEntropyArgs& args) {
  if (logits.numel() == 0) return;
  const int64_t n = logits.size(-1);
  dispatch_floating(logits.dtype(), [&]<class S>() {
    using T = Compute<S>;
    const RowLaunch rows = plan_rows<S>(logits.numel() / n, n, {&logits}, 1);
    launch<cross_entropy_kernel<S>>(rows.blocks, rows.threads, rows.shared_bytes, elements<T>(loss), elements<T>(lse),
                                    elements<const S>(logits), elements<const int64_t>(target),
                                    classes_of<S>(weight, {}, args, n), rows.plan);
  });
}

void cross_entropy_backward(Tensor& dlogits, const Tensor& g, const Tensor& logits, const Tensor& lse,
                            const Tensor& target, const Tensor& weight, const CrossEntropyArgs& args) {
  if (logits.numel() == 0) return;
  const int64_t n = logits.size(-1);
  Tensor weight_sum;
  if (weight.defined() && args.label_smoothing != 0) {
    weight_sum = empty({1}, {.dtype = lse.dtype(), .device = lse.device()});
    kernels::reduce_sum(lse.device(), weight_sum, reshaped(weight, {1, n, 1}));
  }
  dispatch_floating(logits.dtype(), [&]<class S>() {
    using T = Compute<S>;
    const RowLaunch rows = plan_rows<S>(logits.numel() / n, n, {&dlogits, &logits}, 0);
    launch<cross_entropy_backward_kernel<S>>(rows.blocks, rows.threads, rows.shared_bytes, elements<S>(dlogits),
                                             elements<const T>(g), elements<const S>(logits), elements<const T>(lse),
                                             elements<const int64_t>(target),
                                             classes_of<S>(weight, weight_sum, args, n), rows.plan);
  });
}

[[maybe_unused]] const bool filled = kernels::cross_entropy.set(DeviceType::cuda, cross_entropy) &&
                                     kernels::cross_entropy_backward.set(DeviceType::cuda, cross_entropy_backward);

}  // namespace
}  // namespace gradus::cuda
