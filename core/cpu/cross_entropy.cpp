// CPU kernels: cross entropy between rows of logits and class indices, and its derivative. With label smoothing eps the
// loss of a row is (1 - eps) w[t] (lse - x[t]) + eps / n sum_c w[c] (lse - x[c]), where lse = log sum_c exp x[c].
#include <gradus/core/cpu/detail/rows.h>
#include <gradus/core/kernels.h>

namespace gradus::cpu {
namespace {

// What the rows have in common: the class weights (ones when absent), and the shares of the target and of each class.
template <class S>
struct Classes {
  using T = Compute<S>;

  Classes(const Tensor& weight, const CrossEntropyArgs& args, int64_t n)
      : weights(weight),
        count(n),
        target_share(T(1 - args.label_smoothing)),
        class_share(T(args.label_smoothing / static_cast<double>(n))),
        ignore_index(args.ignore_index) {
    for (int64_t c = 0; c < count; ++c) sum += weight_of(c);
  }
  T weight_of(int64_t c) const { return weights.at(c, T(1)); }

  Widened<S> weights;
  int64_t count;
  T sum = 0, target_share, class_share;
  int64_t ignore_index;
};

template <class T>
const SoftmaxLoops<T>& loops() {
  return loops_of<T>(isa().softmax_loops_f32(), isa().softmax_loops_f64());
}

template <class S, class T = Compute<S>>
T row_loss(const T* x, T lse, int64_t target, const Classes<S>& classes) {
  T loss = classes.target_share * classes.weight_of(target) * (lse - x[target]);
  if (classes.class_share == 0) return loss;
  T smooth = 0;
  for (int64_t c = 0; c < classes.count; ++c) smooth += classes.weight_of(c) * (lse - x[c]);
  return loss + classes.class_share * smooth;
}

void cross_entropy(Tensor& loss, Tensor& lse, const Tensor& logits, const Tensor& target, const Tensor& weight,
                   const CrossEntropyArgs& args) {
  dispatch_floating(logits.dtype(), [&]<class S>() {
    using T = Compute<S>;
    const Rows rows(logits);
    const Classes<S> classes(weight, args, rows.n);
    const int64_t* targets = target.data<int64_t>();
    T *losses = loss.mutable_data<T>(), *sums = lse.mutable_data<T>();
    Tensor no_output;
    map_rows<S>(rows, no_output, {&logits}, [&](T*, const auto& in, int64_t first, int64_t count) {
      loops<T>().logsumexp(sums + first, in[0], count, rows.n);
      for (int64_t r = first; r < first + count; ++r)
        losses[r] = targets[r] == classes.ignore_index
                        ? T(0)
                        : row_loss(in[0] + (r - first) * rows.n, sums[r], targets[r], classes);
    });
  });
}

// d loss / d x[c] = p[c] (target_share w[t] + class_share sum w) - class_share w[c] - [c = t] target_share w[t].
void cross_entropy_backward(Tensor& dlogits, const Tensor& g, const Tensor& logits, const Tensor& lse,
                            const Tensor& target, const Tensor& weight, const CrossEntropyArgs& args) {
  dispatch_floating(logits.dtype(), [&]<class S>() {
    using T = Compute<S>;
    const Rows rows(logits);
    const Classes<S> classes(weight, args, rows.n);
    const int64_t* targets = target.data<int64_t>();
    const T *gradients = g.data<T>(), *sums = lse.data<T>();
    map_rows<S>(rows, dlogits, {&logits}, [&](T* out, const auto& in, int64_t first, int64_t count) {
      for (int64_t r = first; r < first + count; ++r, out += rows.n) {
        const int64_t t = targets[r];
        const bool counts = t != classes.ignore_index;
        const T on_target = counts ? gradients[r] * classes.target_share * classes.weight_of(t) : T(0);
        const T on_class = counts ? gradients[r] * classes.class_share : T(0);
        const T scale = on_target + on_class * classes.sum;
        loops<T>().scaled_exp(out, in[0] + (r - first) * rows.n, sums + r, &scale, 1, rows.n);
        if (on_class != 0)
          for (int64_t c = 0; c < rows.n; ++c) out[c] -= on_class * classes.weight_of(c);
        if (counts) out[t] -= on_target;
      }
    });
  });
}

[[maybe_unused]] const bool registered = kernels::cross_entropy.set(DeviceType::cpu, cross_entropy) &&
                                         kernels::cross_entropy_backward.set(DeviceType::cpu, cross_entropy_backward);

}  // namespace
}  // namespace gradus::cpu
