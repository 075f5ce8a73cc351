// Pooling: a thread makes an output, or gathers what reaches a pixel; nothing is scattered by threads that could meet.
#include <algorithm>

#include <gradus/core/factories.h>
#include <gradus/core/kernels.h>
#include <gradus/cuda/device/block.cuh>
#include <gradus/cuda/device/image.cuh>
#include <gradus/cuda/launch.cuh>

namespace gradus::cuda {
namespace {

struct Span {
  int begin, end;
};

// One dim of windows that slide: output o sees the inputs o stride - padding + {0, 1, ... kernel - 1} dilation.
struct Sliding {
  int in, out, kernel, stride, padding, dilation;

  Sliding(const Tensor& x, const Tensor& y, const Window2d& window, int d)
      : in(static_cast<int>(x.size(2 + d))),
        out(static_cast<int>(y.size(2 + d))),
        kernel(static_cast<int>(window.kernel[d])),
        stride(static_cast<int>(window.stride[d])),
        padding(static_cast<int>(window.padding[d])),
        dilation(static_cast<int>(window.dilation[d])) {
    padded_size(x, window, d);
  }
  __device__ int step() const { return dilation; }
  __device__ Span inputs(int o) const {
    const int start = o * stride - padding;
    const int first = start < 0 ? start + (-start + dilation - 1) / dilation * dilation : start;
    return {first, std::min(start + dilation * (kernel - 1) + 1, in)};
  }
  // For dilation 1, as is what follows: how many inputs output o sees, those of the padding too if `padded`.
  __device__ int count(int o, bool padded) const {
    const int start = o * stride - padding;
    return padded ? std::min(start + kernel, in + padding) - start : inputs(o).end - inputs(o).begin;
  }
  // The outputs that see input i.
  __device__ Span outputs(int i) const {
    const int last = i + padding;
    return {last < kernel ? 0 : (last - kernel) / stride + 1, std::min(last / stride + 1, out)};
  }
};

// One dim of windows that share the inputs out: output o sees floor(o in / out) to ceil((o + 1) in / out).
struct Adaptive {
  int in, out;

  Adaptive(const Tensor& x, const Tensor& y, int d)
      : in(static_cast<int>(x.size(2 + d))), out(static_cast<int>(y.size(2 + d))) {}
  __device__ static Span share(int part, int64_t parts, int64_t whole) {
    return {static_cast<int>(part * whole / parts), static_cast<int>(((part + 1) * whole + parts - 1) / parts)};
  }
  __device__ int step() const { return 1; }
  __device__ Span inputs(int o) const { return share(o, out, in); }
  __device__ int count(int o, bool) const { return inputs(o).end - inputs(o).begin; }
  __device__ Span outputs(int i) const { return share(i, in, out); }
};

int64_t planes_of(const Tensor& x) { return x.size(0) * x.size(1); }

// ---- maximum
template <class S, class Windows>
__global__ void max_by_windows(S* y, int64_t* index, const S* x, Planes outputs, Windows rows, Windows columns,
                               uint32_t n) {
  for (int64_t i = thread_number(); i < n; i += thread_count()) {
    const Planes::Place o = outputs.at(static_cast<uint32_t>(i));
    const S* const plane = x + static_cast<int64_t>(o.plane) * rows.in * columns.in;
    const Span row = rows.inputs(o.row), column = columns.inputs(o.column);
    int at = row.begin * columns.in + column.begin;
    Compute<S> best = load(plane[at]);
    for (int h = row.begin; h < row.end; h += rows.step())
      for (int w = column.begin; w < column.end; w += columns.step())
        if (const Compute<S> v = load(plane[h * columns.in + w]); v > best || v != v) {
          best = v;
          at = h * columns.in + w;
        }
    y[i] = static_cast<S>(best);
    if (index) index[i] = at;
  }
}

template <class Windows>
void maximum(Tensor& y, Tensor& index, const Tensor& x, const Windows& rows, const Windows& columns) {
  const Planes outputs(y);
  int64_t* const places = index.defined() ? written<int64_t>(index) : nullptr;
  dispatch_floating(x.dtype(), [&]<class S>() {
    outputs.each_part(planes_of(x), [&](int64_t first, uint32_t n) {
      const int64_t shift = first * plane_size(y);
      launch<max_by_windows<S, Windows>>(blocks_for(n), threads_per_block, 0, written<S>(y) + shift,
                                         places ? places + shift : nullptr, read<S>(x) + first * plane_size(x), outputs,
                                         rows, columns, n);
    });
  });
}

void max_pool2d(Tensor& y, Tensor& index, const Tensor& x, const Window2d& window) {
  maximum(y, index, x, Sliding(x, y, window, 0), Sliding(x, y, window, 1));
}
void adaptive_max_pool2d(Tensor& y, Tensor& index, const Tensor& x) {
  maximum(y, index, x, Adaptive(x, y, 0), Adaptive(x, y, 1));
}

// The windows are not known here, and several outputs may have had the same pixel as their maximum. A warp owns a band
// of pixels of a plane and goes through all outputs of the plane in order, 32 at a time; of lanes that meet in a pixel
// the first adds for all. Bands, of which there are more the fewer the planes, are read again and again but never
// shared, so the sums are those of one thread.
template <class S>
__global__ void add_at_maximum(Compute<S>* dx, const S* g, const int64_t* index, int64_t pixels, int64_t outputs,
                               int64_t planes, int64_t bands) {
  const Team warp(false);
  for (int64_t w = warp.first(); w < planes * bands; w += warp.count()) {
    const int64_t plane = w / bands, band = w % bands;
    const int64_t begin = band * pixels / bands, end = (band + 1) * pixels / bands;
    Compute<S>* const to = dx + plane * pixels;
    for (int64_t i = begin + warp.rank; i < end; i += warp.size) to[i] = 0;
    __syncwarp();
    for (int64_t first = 0; first < outputs; first += warp.size) {
      const int64_t o = plane * outputs + first + warp.rank;
      const int64_t pixel = first + warp.rank < outputs ? index[o] : -1;
      const bool inside = pixel >= begin && pixel < end;
      const Compute<S> value = inside ? load(g[o]) : 0;
      Compute<S> sum = inside ? to[pixel] : 0;
      bool is_first = inside;
      for (unsigned left = __ballot_sync(all_lanes, inside); left != 0; left &= left - 1) {
        const int other = __ffs(static_cast<int>(left)) - 1;
        const int64_t other_pixel = __shfl_sync(all_lanes, pixel, other);
        const Compute<S> other_value = __shfl_sync(all_lanes, value, other);
        if (other_pixel != pixel) continue;
        sum += other_value;
        is_first = is_first && other >= warp.rank;
      }
      if (is_first) to[pixel] = sum;
      __syncwarp();
    }
  }
}

void max_pool2d_backward(Tensor& dx, const Tensor& g, const Tensor& index) {
  if (dx.numel() == 0) return;
  constexpr int64_t wanted_warps = 4096, least_pixels = 64;
  const int64_t planes = planes_of(dx), pixels = plane_size(dx);
  const int64_t bands = std::clamp<int64_t>(wanted_warps / planes, 1, (pixels + least_pixels - 1) / least_pixels);
  dispatch_floating(dx.dtype(), [&]<class S>() {
    constexpr bool in_place = std::is_same_v<S, Compute<S>>;
    Tensor sums = in_place ? dx : empty(dx.shape(), {.dtype = dtype_of<Compute<S>>, .device = dx.device()});
    launch<add_at_maximum<S>>(blocks_for(planes * bands, threads_per_block / warp_lanes), threads_per_block, 0,
                              written<Compute<S>>(sums), read<S>(g), read<int64_t>(index), pixels, plane_size(g),
                              planes, bands);
    if (!in_place) kernels::copy(dx.device(), dx, sums);
  });
}

// ---- mean
template <class T, class Windows>
__device__ T weight_of(const Windows& rows, const Windows& columns, int row, int column, bool padded) {
  return T(1) / static_cast<T>(static_cast<int64_t>(rows.count(row, padded)) * columns.count(column, padded));
}

template <class S, class Windows>
__global__ void mean_by_windows(S* y, const S* x, Planes outputs, Windows rows, Windows columns, bool padded,
                                uint32_t n) {
  using T = Compute<S>;
  for (int64_t i = thread_number(); i < n; i += thread_count()) {
    const Planes::Place o = outputs.at(static_cast<uint32_t>(i));
    const S* const plane = x + static_cast<int64_t>(o.plane) * rows.in * columns.in;
    const Span row = rows.inputs(o.row), column = columns.inputs(o.column);
    T sum = 0;
    for (int h = row.begin; h < row.end; ++h) {
      T of_row = 0;
      for (int w = column.begin; w < column.end; ++w) of_row += load(plane[h * columns.in + w]);
      sum += of_row;
    }
    y[i] = static_cast<S>(sum * weight_of<T>(rows, columns, o.row, o.column, padded));
  }
}

template <class S, class Windows>
__global__ void mean_by_windows_backward(S* dx, const S* g, Planes pixels, Windows rows, Windows columns, bool padded,
                                         uint32_t n) {
  using T = Compute<S>;
  for (int64_t i = thread_number(); i < n; i += thread_count()) {
    const Planes::Place pixel = pixels.at(static_cast<uint32_t>(i));
    const S* const plane = g + static_cast<int64_t>(pixel.plane) * rows.out * columns.out;
    const Span row = rows.outputs(pixel.row), column = columns.outputs(pixel.column);
    T sum = 0;
    for (int h = row.begin; h < row.end; ++h)
      for (int w = column.begin; w < column.end; ++w)
        sum += load(plane[h * columns.out + w]) * weight_of<T>(rows, columns, h, w, padded);
    dx[i] = static_cast<S>(sum);
  }
}

template <class Windows>
void mean(Tensor& y, const Tensor& x, const Windows& rows, const Windows& columns, bool padded) {
  const Planes outputs(y);
  dispatch_floating(x.dtype(), [&]<class S>() {
    outputs.each_part(planes_of(x), [&](int64_t first, uint32_t n) {
      launch<mean_by_windows<S, Windows>>(blocks_for(n), threads_per_block, 0, written<S>(y) + first * plane_size(y),
                                          read<S>(x) + first * plane_size(x), outputs, rows, columns, padded, n);
    });
  });
}
template <class Windows>
void mean_backward(Tensor& dx, const Tensor& g, const Windows& rows, const Windows& columns, bool padded) {
  const Planes pixels(dx);
  dispatch_floating(dx.dtype(), [&]<class S>() {
    pixels.each_part(planes_of(dx), [&](int64_t first, uint32_t n) {
      launch<mean_by_windows_backward<S, Windows>>(
          blocks_for(n), threads_per_block, 0, written<S>(dx) + first * plane_size(dx),
          read<S>(g) + first * plane_size(g), pixels, rows, columns, padded, n);
    });
  });
}

void avg_pool2d(Tensor& y, const Tensor& x, const Window2d& window, bool count_include_pad) {
  mean(y, x, Sliding(x, y, window, 0), Sliding(x, y, window, 1), count_include_pad);
}
void avg_pool2d_backward(Tensor& dx, const Tensor& g, const Window2d& window, bool count_include_pad) {
  mean_backward(dx, g, Sliding(dx, g, window, 0), Sliding(dx, g, window, 1), count_include_pad);
}
void adaptive_avg_pool2d(Tensor& y, const Tensor& x) { mean(y, x, Adaptive(x, y, 0), Adaptive(x, y, 1), false); }
void adaptive_avg_pool2d_backward(Tensor& dx, const Tensor& g) {
  mean_backward(dx, g, Adaptive(dx, g, 0), Adaptive(dx, g, 1), false);
}

[[maybe_unused]] const bool filled =
    kernels::max_pool2d.set(DeviceType::cuda, max_pool2d) &&
    kernels::max_pool2d_backward.set(DeviceType::cuda, max_pool2d_backward) &&
    kernels::adaptive_max_pool2d.set(DeviceType::cuda, adaptive_max_pool2d) &&
    kernels::avg_pool2d.set(DeviceType::cuda, avg_pool2d) &&
    kernels::avg_pool2d_backward.set(DeviceType::cuda, avg_pool2d_backward) &&
    kernels::adaptive_avg_pool2d.set(DeviceType::cuda, adaptive_avg_pool2d) &&
    kernels::adaptive_avg_pool2d_backward.set(DeviceType::cuda, adaptive_avg_pool2d_backward);

}  // namespace
}  // namespace gradus::cuda
