// CPU kernels: batch norm and group norm of [N, C, S], and their derivatives. A channel is N stretches of S elements;
// a group of one sample is a row. Sums of a stretch are in the compute type, sums of stretches in double.
#include <vector>

#include <gradus/core/cpu/detail/rows.h>
#include <gradus/core/kernels.h>

namespace gradus::cpu {
namespace {

template <class T>
const NormLoops<T>& loops() {
  return loops_of<T>(isa().norm_loops_f32(), isa().norm_loops_f64());
}

// The mean and the variance of `numel` elements of which only sums are known: `add(f)` calls f(x, n) for each stretch.
// The second pass corrects the rounding of the first.
struct Moments {
  double mean, variance;
};
template <class T, class Add>
Moments moments(int64_t numel, Add add) {
  const double n = static_cast<double>(numel);
  double total = 0, first = 0, second = 0;
  add([&](const T* x, int64_t length) { total += static_cast<double>(loops<T>().sum(x, length)); });
  const T guess = T(total / n);
  add([&](const T* x, int64_t length) {
    T sums[2];
    loops<T>().deviations(sums, x, length, guess);
    first += static_cast<double>(sums[0]);
    second += static_cast<double>(sums[1]);
  });
  const double shift = first / n, variance = second / n - shift * shift;
  return {static_cast<double>(guess) + shift, variance < 0 ? 0 : variance};  // a NaN stays one
}

// Where the elements of one channel lie.
struct Stretches {
  int64_t count, length, stride;

  int64_t numel() const { return count * length; }
  // Calls body(offset) for each stretch.
  template <class Body>
  void each(Body body) const {
    for (int64_t i = 0; i < count; ++i) body(i * stride);
  }
};

// Calls body(c, out, in, stretches) for every channel of [N, C, S], on any thread. Short stretches, and elements that
// are not of the compute type, are gathered into one dense stretch for a block of channels and scattered back.
template <class S, size_t inputs, class Body>
void map_channels(Tensor& y, const Tensor* const (&x)[inputs], Body body) {
  using T = Compute<S>;
  constexpr int64_t shortest = 16, most_channels = 16;
  const int64_t samples = x[0]->size(0), channels = x[0]->size(1), length = x[0]->size(2);
  const int64_t numel = std::max<int64_t>(1, samples * length), stride = channels * length;
  S* const to = y.defined() ? y.mutable_data<S>() : nullptr;
  std::array<const S*, inputs> from;
  for (size_t i = 0; i < inputs; ++i) from[i] = x[i]->template data<S>();

  if constexpr (std::is_same_v<S, T>) {
    if (length >= shortest) {
      parallel_for(0, channels, std::max<int64_t>(1, grain / numel), [&](int64_t begin, int64_t end) {
        for (int64_t c = begin; c < end; ++c) {
          std::array<const T*, inputs> in;
          for (size_t i = 0; i < inputs; ++i) in[i] = from[i] + c * length;
          body(c, to ? to + c * length : nullptr, in, Stretches{samples, length, stride});
        }
      });
      return;
    }
  }
  const int64_t block = std::clamp<int64_t>(grain / numel, 1, most_channels);
  parallel_for(0, (channels + block - 1) / block, 1, [&](int64_t begin, int64_t end) {
    std::vector<T> buffer((inputs + 1) * static_cast<size_t>(block * numel));
    for (int64_t b = begin; b < end; ++b) {
      const int64_t first = b * block, count = std::min(block, channels - first);
      // Calls move(element of the tensor, element of the dense stretch) for the block.
      const auto each_element = [&](T* dense, auto move) {
        for (int64_t n = 0; n < samples; ++n)
          for (int64_t c = 0; c < count; ++c)
            for (int64_t s = 0; s < length; ++s)
              move(n * stride + (first + c) * length + s, dense[c * numel + n * length + s]);
      };
      T* const wide = buffer.data() + block * numel;
      for (size_t i = 0; i < inputs; ++i)
        each_element(wide + static_cast<int64_t>(i) * block * numel,
                     [&](int64_t at, T& element) { element = static_cast<T>(from[i][at]); });
      for (int64_t c = 0; c < count; ++c) {
        std::array<const T*, inputs> in;
        for (size_t i = 0; i < inputs; ++i) in[i] = wide + (static_cast<int64_t>(i) * block + c) * numel;
        body(first + c, to ? buffer.data() + c * numel : nullptr, in, Stretches{1, numel, 0});
      }
      if (to) each_element(buffer.data(), [&](int64_t at, T& element) { to[at] = S(element); });
    }
  });
}

void batch_norm(Tensor& y, Tensor& mean, Tensor& var, const Tensor& x, const Tensor& weight, const Tensor& bias,
                double eps) {
  dispatch_floating(x.dtype(), [&]<class S>() {
    using T = Compute<S>;
    const auto& loop = loops<T>();
    const Widened<S> factors(weight), shifts(bias);
    T *means = mean.mutable_data<T>(), *variances = var.mutable_data<T>();
    map_channels<S>(y, {&x}, [&](int64_t c, T* out, const auto& in, const Stretches& at) {
      const Moments m =
          moments<T>(at.numel(), [&](auto add) { at.each([&](int64_t i) { add(in[0] + i, at.length); }); });
      means[c] = T(m.mean);
      variances[c] = T(m.variance);
      const T scale = factors.at(c, T(1)) * T(1 / std::sqrt(m.variance + eps));
      at.each([&](int64_t i) { loop.affine(out + i, in[0] + i, at.length, means[c], scale, shifts.at(c, T(0))); });
    });
  });
}

// With z = (x - mean) rstd: dbias = sum g, dweight = sum g z, dx = weight rstd (g - mean g - z mean(g z)).
void batch_norm_backward(Tensor& dx, Tensor& dweight, Tensor& dbias, const Tensor& g, const Tensor& x,
                         const Tensor& mean, const Tensor& var, const Tensor& weight, double eps) {
  dispatch_floating(x.dtype(), [&]<class S>() {
    using T = Compute<S>;
    const auto& loop = loops<T>();
    const Widened<S> factors(weight);
    const T *means = mean.data<T>(), *variances = var.data<T>();
    S* const weight_gradient = dweight.defined() ? dweight.mutable_data<S>() : nullptr;
    S* const bias_gradient = dbias.defined() ? dbias.mutable_data<S>() : nullptr;
    map_channels<S>(dx, {&g, &x}, [&](int64_t c, T* out, const auto& in, const Stretches& at) {
      const T center = means[c], rstd = T(1 / std::sqrt(static_cast<double>(variances[c]) + eps));
      double gradients = 0, products = 0;
      at.each([&](int64_t i) {
        T sums[2];
        loop.gradient_sums(sums, in[0] + i, in[1] + i, at.length, center);
        gradients += static_cast<double>(sums[0]);
        products += static_cast<double>(sums[1]);
      });
      if (weight_gradient) weight_gradient[c] = S(T(products) * rstd);
      if (bias_gradient) bias_gradient[c] = S(T(gradients));
      if (!out) return;
      const double numel = static_cast<double>(at.numel());
      const T scale = factors.at(c, T(1)) * rstd, slope = scale * rstd * rstd * T(products / numel),
              offset = scale * T(gradients / numel);
      at.each(
          [&](int64_t i) { loop.gradient(out + i, in[0] + i, in[1] + i, at.length, center, scale, slope, offset); });
    });
  });
}

// ---- groups: [N, C, S] as N groups rows of C / groups channels
struct Groups {
  int64_t channels, length, groups, per_group;
  Rows rows;
  Groups(const Tensor& x, int64_t count)
      : channels(x.size(1)),
        length(x.size(2)),
        groups(count),
        per_group(channels / count),
        rows(x, per_group * length) {}
  // The channel with which a row begins.
  int64_t first_channel(int64_t row) const { return row % groups * per_group; }
};

void group_norm(Tensor& y, Tensor& mean, Tensor& rstd, const Tensor& x, const Tensor& weight, const Tensor& bias,
                int64_t groups, double eps) {
  dispatch_floating(x.dtype(), [&]<class S>() {
    using T = Compute<S>;
    const auto& loop = loops<T>();
    const Groups at(x, groups);
    const Widened<S> factors(weight), shifts(bias);
    T *means = mean.mutable_data<T>(), *scales = rstd.mutable_data<T>();
    map_rows<S>(at.rows, y, {&x}, [&](T* out, const auto& in, int64_t first, int64_t count) {
      const T* from = in[0];
      for (int64_t row = first; row < first + count; ++row) {
        const Moments m = moments<T>(at.rows.n, [&](auto add) { add(from, at.rows.n); });
        const T center = T(m.mean), scale = T(1 / std::sqrt(m.variance + eps));
        means[row] = center;
        scales[row] = scale;
        const int64_t channel = at.first_channel(row);
        for (int64_t c = channel; c < channel + at.per_group; ++c, out += at.length, from += at.length)
          loop.affine(out, from, at.length, center, scale * factors.at(c, T(1)), shifts.at(c, T(0)));
      }
    });
  });
}

// dweight and dbias from the sums {g, g (x - mean)} of each sample and channel, in the order of the samples.
template <class S, class T>
void add_up_samples(Tensor& dweight, Tensor& dbias, const std::vector<T>& sums, const T* rstd, const Groups& at) {
  const int64_t samples = at.rows.count / at.groups;
  for (int64_t c = 0; c < at.channels; ++c) {
    T gradients = 0, products = 0;
    for (int64_t n = 0; n < samples; ++n) {
      const size_t i = static_cast<size_t>(2 * (n * at.channels + c));
      gradients += sums[i];
      products += sums[i + 1] * rstd[n * at.groups + c / at.per_group];
    }
    if (dweight.defined()) dweight.mutable_data<S>()[c] = S(products);
    if (dbias.defined()) dbias.mutable_data<S>()[c] = S(gradients);
  }
}

void group_norm_backward(Tensor& dx, Tensor& dweight, Tensor& dbias, const Tensor& g, const Tensor& x,
                         const Tensor& mean, const Tensor& rstd, const Tensor& weight, int64_t groups) {
  dispatch_floating(x.dtype(), [&]<class S>() {
    using T = Compute<S>;
    const auto& loop = loops<T>();
    const Groups at(x, groups);
    const Widened<S> factors(weight);
    const T *means = mean.data<T>(), *scales = rstd.data<T>();
    std::vector<T> sums(static_cast<size_t>(2 * at.rows.count * at.per_group));
    map_rows<S>(at.rows, dx, {&g, &x}, [&](T* out, const auto& in, int64_t first, int64_t count) {
      for (int64_t row = first; row < first + count; ++row) {
        const T *from = in[1] + (row - first) * at.rows.n, *gradient = in[0] + (row - first) * at.rows.n;
        T* const own = sums.data() + 2 * row * at.per_group;
        const int64_t channel = at.first_channel(row);
        T gradients = 0, products = 0;
        for (int64_t c = 0; c < at.per_group; ++c) {
          loop.gradient_sums(own + 2 * c, gradient + c * at.length, from + c * at.length, at.length, means[row]);
          gradients += own[2 * c] * factors.at(channel + c, T(1));
          products += own[2 * c + 1] * factors.at(channel + c, T(1));
        }
        if (!out) continue;
        const T numel = T(at.rows.n), r = scales[row], slope = r * r * r * products / numel,
                offset = r * gradients / numel;
        T* const to = out + (row - first) * at.rows.n;
        for (int64_t c = 0; c < at.per_group; ++c)
          loop.gradient(to + c * at.length, gradient + c * at.length, from + c * at.length, at.length, means[row],
                        r * factors.at(channel + c, T(1)), slope, offset);
      }
    });
    add_up_samples<S>(dweight, dbias, sums, scales, at);
  });
}

[[maybe_unused]] const bool registered = kernels::batch_norm.set(DeviceType::cpu, batch_norm) &&
                                         kernels::batch_norm_backward.set(DeviceType::cpu, batch_norm_backward) &&
                                         kernels::group_norm.set(DeviceType::cpu, group_norm) &&
                                         kernels::group_norm_backward.set(DeviceType::cpu, group_norm_backward);

}  // namespace
}  // namespace gradus::cpu
