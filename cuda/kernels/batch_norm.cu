// Batch norm of [N, C, S] and its derivative. What a channel sums up comes from parts of a size that the shape fixes;
// they are joined in float64, and leave for each channel the numbers of one elementwise pass.
#include <gradus/core/factories.h>
#include <gradus/core/kernels.h>
#include <gradus/core/math.h>
#include <gradus/cuda/device/channels.cuh>
#include <gradus/cuda/device/rows.cuh>
#include <gradus/cuda/launch.cuh>

namespace gradus::cuda {
namespace {

// ---- parts of channels. Where stretches are long, a block takes `size` elements of a channel, whose samples are
// strung together. Where they are short, a thread takes one column of [N, C S] for `size` samples and its neighbour the
// next, so that a channel has S columns. Results are [count, C, width].
struct Parts {
  int64_t samples, channels, length;
  bool by_block, packed;
  int64_t total, size, count;  // elements of a column, of a part; parts of a column
  int64_t width;               // columns of a channel
  Quotient by_length;

  Parts(const Tensor& x, bool aligned)
      : samples(x.size(0)),
        channels(x.size(1)),
        length(x.size(2)),
        by_block(length >= warp_lanes),
        packed(aligned && length * itemsize(x.dtype()) % 16 == 0),
        total(by_block ? samples * length : samples),
        size(by_block ? 8192 : 64),
        count((total + size - 1) / size),
        width(by_block ? 1 : length),
        by_length(length, samples * length) {}
  __device__ int64_t size_of(int64_t part) const {
    const int64_t rest = total - part * size;
    return rest < size ? rest : size;
  }
  /// Where element i of a channel lies.
  __device__ int64_t place(int64_t channel, int64_t i) const {
    const int64_t sample = by_length(i);
    return (sample * channels + channel) * length + (i - sample * length);
  }
};

// One part: which channel it belongs to, where its elements are, what those who share it know together.
template <int width, bool by_block>
struct Part {
  const Parts& parts;
  int64_t number, column, begin, size;

  __device__ Part(const Parts& all, int64_t result) : parts(all), number(result) {
    const int64_t columns = all.channels * all.width, part = result / columns;
    column = result % columns;
    begin = part * all.size;
    size = all.size_of(part);
  }
  __device__ int64_t channel() const { return by_block ? column : column / parts.width; }

  // Calls body(place) for this thread's elements, `width` at a time.
  template <class Body>
  __device__ void each(Body body) const {
    if constexpr (by_block) {
      for (int64_t i = int64_t{width} * threadIdx.x; i < size; i += int64_t{width} * blockDim.x)
        body(parts.place(column, begin + i));
    } else {
#pragma unroll 4
      for (int64_t i = begin; i < begin + size; ++i) body(i * parts.channels * parts.width + column);
    }
  }
  template <class A>
  __device__ A sum(A value) const {
    if constexpr (by_block)
      return block_combine(value, Add{});
    else
      return value;
  }
  template <class A>
  __device__ void write(A* results, A value) const {
    if (!by_block || threadIdx.x == 0) results[number] = value;
  }
};

// Calls job.operator()<width, by_block>(part) for the parts of this block, or of this thread.
template <int width, bool by_block, class Job>
__device__ void for_parts(const Parts& parts, const Job& job) {
  const int64_t results = parts.count * parts.channels * parts.width;
  for (int64_t i = by_block ? blockIdx.x : thread_number(); i < results; i += by_block ? gridDim.x : thread_count())
    job(Part<width, by_block>(parts, i));
}
template <class Job>
__global__ void for_all_parts(Job job, Parts parts) {
  if (!parts.by_block)
    for_parts<1, false>(parts, job);
  else if (parts.packed)
    for_parts<pack_size<typename Job::Element>, true>(parts, job);
  else
    for_parts<1, true>(parts, job);
}

// The mean of a part, and the sum of the squared deviations from it. The second pass corrects the first.
template <class S>
struct FindMoments {
  using Element = S;
  using T = Compute<S>;
  Two<T>* results;
  const S* x;

  template <int width, bool by_block>
  __device__ void operator()(const Part<width, by_block>& part) const {
    T sum = 0;
    part.each([&](int64_t at) {
      const auto values = load_values<width>(x + at);
      for (const T value : values.item) sum += value;
    });
    const T n = static_cast<T>(part.size), guess = part.sum(sum) / n;
    Two<T> sums{0, 0};
    part.each([&](int64_t at) {
      const auto values = load_values<width>(x + at);
      for (const T value : values.item) {
        const T deviation = value - guess;
        sums.first += deviation;
        sums.second += deviation * deviation;
      }
    });
    sums = part.sum(sums);
    const T shift = sums.first / n;
    part.write(results, Two<T>{guess + shift, sums.second - shift * sums.first});
  }
};

// The sums of g and g (x - mean).
template <class S>
struct SumGradients {
  using Element = S;
  using T = Compute<S>;
  Two<T>* results;
  const S *g, *x;
  const T* mean;

  template <int width, bool by_block>
  __device__ void operator()(const Part<width, by_block>& part) const {
    const T center = mean[part.channel()];
    Two<T> sums{0, 0};
    part.each([&](int64_t at) {
      const auto gradients = load_values<width>(g + at), values = load_values<width>(x + at);
      for (int j = 0; j < width; ++j) {
        sums.first += gradients.item[j];
        sums.second += gradients.item[j] * (values.item[j] - center);
      }
    });
    part.write(results, part.sum(sums));
  }
};

template <class Job>
void run(const Job& job, const Parts& parts) {
  const int64_t results = parts.count * parts.channels * parts.width;
  if (results > 0)
    launch<for_all_parts<Job>>(blocks_for(results, parts.by_block ? 1 : threads_per_block), threads_per_block, 0, job,
                               parts);
}

// ---- channels from their parts: a warp each
template <class T>
struct alignas(16) Coefficients {
  T center, scale, slope, offset;
};

// The sum of f(result, its number of elements) over the parts of a channel.
template <class T, class F>
__device__ double sum_parts(const Two<T>* results, const Parts& parts, int64_t channel, F f) {
  double sum = 0;
  for (int64_t i = threadIdx.x % warp_lanes; i < parts.count * parts.width; i += warp_lanes) {
    const int64_t part = i / parts.width, column = channel * parts.width + i % parts.width;
    sum += f(results[part * parts.channels * parts.width + column], static_cast<double>(parts.size_of(part)));
  }
  return warp_combine(sum, Add{});
}

// y = (x - center) scale + offset.
template <class S, class T = Compute<S>>
__global__ void join_moments(T* mean, T* variance, Coefficients<T>* coefficients, const Two<T>* results,
                             const S* weight, const S* bias, double eps, Parts parts) {
  const double n = static_cast<double>(parts.samples * parts.length);
  for (int64_t c = thread_number() / warp_lanes; c < parts.channels; c += thread_count() / warp_lanes) {
    const double center =
        sum_parts(results, parts, c, [](Two<T> part, double size) { return size * static_cast<double>(part.first); }) /
        n;
    const double squares = sum_parts(results, parts, c, [center](Two<T> part, double size) {
      const double shift = static_cast<double>(part.first) - center;
      return static_cast<double>(part.second) + size * shift * shift;
    });
    if (threadIdx.x % warp_lanes != 0) continue;
    const double squared = squares < 0 ? 0.0 : squares / n;  // a NaN stays one
    mean[c] = static_cast<T>(center);
    variance[c] = static_cast<T>(squared);
    coefficients[c] = {mean[c], at_or(weight, c, T(1)) * static_cast<T>(1 / math::sqrt(squared + eps)), 0,
                       at_or(bias, c, T(0))};
  }
}

// With z = (x - mean) rstd: dbias = sum g, dweight = sum g z, dx = weight rstd (g - mean g - z mean(g z)), which is
// g scale - (x - center) slope - offset.
template <class S, class T = Compute<S>>
__global__ void join_gradients(S* dweight, S* dbias, Coefficients<T>* coefficients, const Two<T>* results,
                               const T* mean, const T* variance, const S* weight, double eps, Parts parts) {
  const double n = static_cast<double>(parts.samples * parts.length);
  for (int64_t c = thread_number() / warp_lanes; c < parts.channels; c += thread_count() / warp_lanes) {
    const double gradients =
        sum_parts(results, parts, c, [](Two<T> part, double) { return static_cast<double>(part.first); });
    const double products =
        sum_parts(results, parts, c, [](Two<T> part, double) { return static_cast<double>(part.second); });
    if (threadIdx.x % warp_lanes != 0) continue;
    const T rstd = static_cast<T>(1 / math::sqrt(static_cast<double>(variance[c]) + eps));
    const T scale = at_or(weight, c, T(1)) * rstd;
    if (dweight) dweight[c] = static_cast<S>(static_cast<T>(products) * rstd);
    if (dbias) dbias[c] = static_cast<S>(static_cast<T>(gradients));
    coefficients[c] = {mean[c], scale, scale * rstd * rstd * static_cast<T>(products / n),
                       scale * static_cast<T>(gradients / n)};
  }
}

// ---- the elementwise passes; g is null in the forward one
template <int width, class S, class T = Compute<S>>
__device__ void apply_coefficients(S* y, const S* g, const S* x, const Coefficients<T>* coefficients,
                                   const ChannelOf& channel_of, int64_t numel) {
  for (int64_t i = width * thread_number(); i < numel; i += width * thread_count()) {
    const Coefficients<T> c = coefficients[channel_of(i)];
    auto values = load_values<width>(x + i);
    if (g) {
      const auto gradients = load_values<width>(g + i);
      for (int j = 0; j < width; ++j)
        values.item[j] = gradients.item[j] * c.scale - (values.item[j] - c.center) * c.slope - c.offset;
    } else {
      for (T& value : values.item) value = (value - c.center) * c.scale + c.offset;
    }
    store_values<width>(y + i, values);
  }
}
template <class S, class T = Compute<S>>
__global__ void apply(S* y, const S* g, const S* x, const Coefficients<T>* coefficients, ChannelOf channel_of,
                      int64_t numel, bool packed) {
  if (packed)
    apply_coefficients<pack_size<S>>(y, g, x, coefficients, channel_of, numel);
  else
    apply_coefficients<1>(y, g, x, coefficients, channel_of, numel);
}

// Room for what the parts find, and for what the channels are then computed with.
template <class S, class T = Compute<S>>
struct Workspace {
  Tensor results, coefficients;
  Workspace(const Parts& parts, Device device)
      : results(empty({parts.count, parts.channels, parts.width, 2}, {.dtype = dtype_of<T>, .device = device})),
        coefficients(empty({parts.channels, 4}, {.dtype = dtype_of<T>, .device = device})) {}
};

unsigned blocks_of_channels(const Parts& parts) { return blocks_for(parts.channels, threads_per_block / warp_lanes); }

template <class S>
void apply_to(Tensor& y, const Tensor& g, const Tensor& x, const Tensor& coefficients, const Parts& parts) {
  if (!y.defined() || y.numel() == 0) return;
  launch<apply<S>>(blocks_for(y.numel() / (parts.packed ? pack_size<S> : 1)), threads_per_block, 0, elements<S>(y),
                   elements<const S>(g), elements<const S>(x), elements<const Coefficients<Compute<S>>>(coefficients),
                   ChannelOf(parts.channels, parts.length, y.numel()), y.numel(), parts.packed);
}

void batch_norm(Tensor& y, Tensor& mean, Tensor& var, const Tensor& x, const Tensor& weight, const Tensor& bias,
                double eps) {
  if (x.size(1) == 0) return;
  dispatch_floating(x.dtype(), [&]<class S>() {
    using T = Compute<S>;
    const Parts parts(x, is_aligned(x) && is_aligned(y));
    const Workspace<S> space(parts, x.device());
    run(FindMoments<S>{elements<Two<T>>(space.results), elements<const S>(x)}, parts);
    launch<join_moments<S>>(blocks_of_channels(parts), threads_per_block, 0, elements<T>(mean), elements<T>(var),
                            elements<Coefficients<T>>(space.coefficients), elements<const Two<T>>(space.results),
                            elements<const S>(weight), elements<const S>(bias), eps, parts);
    apply_to<S>(y, {}, x, space.coefficients, parts);
  });
}

void batch_norm_backward(Tensor& dx, Tensor& dweight, Tensor& dbias, const Tensor& g, const Tensor& x,
                         const Tensor& mean, const Tensor& var, const Tensor& weight, double eps) {
  if (x.size(1) == 0) return;
  dispatch_floating(x.dtype(), [&]<class S>() {
    using T = Compute<S>;
    const Parts parts(x, is_aligned(x) && is_aligned(g) && (!dx.defined() || is_aligned(dx)));
    const Workspace<S> space(parts, x.device());
    run(SumGradients<S>{elements<Two<T>>(space.results), elements<const S>(g), elements<const S>(x),
                        elements<const T>(mean)},
        parts);
    launch<join_gradients<S>>(blocks_of_channels(parts), threads_per_block, 0, elements<S>(dweight), elements<S>(dbias),
                              elements<Coefficients<T>>(space.coefficients), elements<const Two<T>>(space.results),
                              elements<const T>(mean), elements<const T>(var), elements<const S>(weight), eps, parts);
    apply_to<S>(dx, g, x, space.coefficients, parts);
  });
}

[[maybe_unused]] const bool filled = kernels::batch_norm.set(DeviceType::cuda, batch_norm) &&
                                     kernels::batch_norm_backward.set(DeviceType::cuda, batch_norm_backward);

}  // namespace
}  // namespace gradus::cuda
