// CPU kernels: layer norm and RMS norm over rows, and their derivatives.
#include <vector>

#include <gradus/core/cpu/detail/rows.h>
#include <gradus/core/kernels.h>

namespace gradus::cpu {
namespace {

template <class T>
const NormLoops<T>& loops() {
  return loops_of<T>(isa().norm_loops_f32(), isa().norm_loops_f64());
}

void layer_norm(Tensor& y, Tensor& mean, Tensor& rstd, const Tensor& x, const Tensor& weight, const Tensor& bias,
                double eps) {
  dispatch_floating(x.dtype(), [&]<class S>() {
    using T = Compute<S>;
    const Rows rows(x);
    const Widened<S> factors(weight), shifts(bias);
    T *means = mean.mutable_data<T>(), *scales = rstd.mutable_data<T>();
    map_rows<S>(rows, y, {&x}, [&](T* out, const auto& in, int64_t first, int64_t count) {
      loops<T>().layer_norm(out, means + first, scales + first, in[0], factors.get(), shifts.get(), count, rows.n,
                            T(eps));
    });
  });
}

void rms_norm(Tensor& y, Tensor& rstd, const Tensor& x, const Tensor& weight, double eps) {
  dispatch_floating(x.dtype(), [&]<class S>() {
    using T = Compute<S>;
    const Rows rows(x);
    const Widened<S> factors(weight);
    T* scales = rstd.mutable_data<T>();
    map_rows<S>(rows, y, {&x}, [&](T* out, const auto& in, int64_t first, int64_t count) {
      loops<T>().rms_norm(out, scales + first, in[0], factors.get(), count, rows.n, T(eps));
    });
  });
}

// Adds up row 0, `stride`, 2 stride, ... of `partial` in order into a vector of n elements.
template <class S, class T = Compute<S>>
void write_sum(Tensor& y, const T* partial, int64_t count, int64_t stride) {
  if (!y.defined()) return;
  const int64_t n = y.numel();
  std::vector<T> total(static_cast<size_t>(n), T(0));
  for (int64_t row = 0; row < count; ++row)
    for (int64_t i = 0; i < n; ++i) total[static_cast<size_t>(i)] += partial[row * stride + i];
  S* out = y.mutable_data<S>();
  for (int64_t i = 0; i < n; ++i) out[i] = S(total[static_cast<size_t>(i)]);
}

// Calls body(dx, dweight, dbias, in, first, count) for all rows. Weight and bias have a sum of their own for each piece
// of fixed size, so that the result does not depend on the number of threads.
template <class S, class Body>
void backward(Tensor& dx, Tensor& dweight, Tensor& dbias, const Tensor& g, const Tensor& x, Body body) {
  using T = Compute<S>;
  constexpr int64_t most_pieces = 64;
  const bool learned = dweight.defined() || dbias.defined();
  const Rows rows(x);
  const int64_t piece = std::max(rows.with(grain), (rows.count + most_pieces - 1) / most_pieces);
  const int64_t pieces = (rows.count + piece - 1) / piece, stride = 2 * rows.n;
  std::vector<T> partial(static_cast<size_t>(pieces * stride), T(0));
  parallel_for(0, pieces, 1, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p) {
      T* const sums = partial.data() + p * stride;
      map_rows_here<S>(rows, p * piece, std::min(rows.count, (p + 1) * piece), dx, {&g, &x},
                       [&](T* out, const auto& in, int64_t first, int64_t count) {
                         body(out, learned ? sums : nullptr, learned ? sums + rows.n : nullptr, in, first, count);
                       });
    }
  });
  write_sum<S>(dweight, partial.data(), pieces, stride);
  write_sum<S>(dbias, partial.data() + (pieces ? rows.n : 0), pieces, stride);
}

void layer_norm_backward(Tensor& dx, Tensor& dweight, Tensor& dbias, const Tensor& g, const Tensor& x,
                         const Tensor& mean, const Tensor& rstd, const Tensor& weight) {
  dispatch_floating(x.dtype(), [&]<class S>() {
    using T = Compute<S>;
    const Widened<S> factors(weight);
    const T *means = mean.data<T>(), *scales = rstd.data<T>();
    backward<S>(dx, dweight, dbias, g, x, [&](T* out, T* dw, T* db, const auto& in, int64_t first, int64_t count) {
      loops<T>().layer_norm_backward(out, dw, db, in[0], in[1], means + first, scales + first, factors.get(), count,
                                     Rows(x).n);
    });
  });
}

void rms_norm_backward(Tensor& dx, Tensor& dweight, const Tensor& g, const Tensor& x, const Tensor& rstd,
                       const Tensor& weight) {
  dispatch_floating(x.dtype(), [&]<class S>() {
    using T = Compute<S>;
    const Widened<S> factors(weight);
    const T* scales = rstd.data<T>();
    Tensor no_bias;
    backward<S>(dx, dweight, no_bias, g, x, [&](T* out, T* dw, T*, const auto& in, int64_t first, int64_t count) {
      loops<T>().rms_norm_backward(out, dw, in[0], in[1], scales + first, factors.get(), count, Rows(x).n);
    });
  });
}

[[maybe_unused]] const bool registered = kernels::layer_norm.set(DeviceType::cpu, layer_norm) &&
                                         kernels::layer_norm_backward.set(DeviceType::cpu, layer_norm_backward) &&
                                         kernels::rms_norm.set(DeviceType::cpu, rms_norm) &&
                                         kernels::rms_norm_backward.set(DeviceType::cpu, rms_norm_backward);

}  // namespace
}  // namespace gradus::cpu
