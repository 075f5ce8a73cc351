// Pooling kernels: each (image, channel) plane by itself. A window is a range of rows and one of columns, whether it
// slides or adapts to the output's size.
#include <algorithm>
#include <vector>

#include <gradus/core/cpu/detail/rows.h>
#include <gradus/core/cpu/detail/widened.h>

namespace gradus::cpu {
namespace {

// The inputs that output i of one dim sees: begin, begin + step, ... below end.
struct Range {
  int64_t begin, end, padded;  ///< padded: how many it would see if padding were input
};
struct Windows {
  std::vector<Range> ranges;
  int64_t step = 1;
};

Windows sliding(int64_t in, int64_t out, const Window2d& window, int d) {
  Windows windows{{}, window.dilation[d]};
  for (int64_t i = 0; i < out; ++i) {
    const int64_t start = i * window.stride[d] - window.padding[d];
    const int64_t before = start < 0 ? (-start + windows.step - 1) / windows.step * windows.step : 0;
    const int64_t reach = start + window.dilation[d] * (window.kernel[d] - 1) + 1;
    windows.ranges.push_back({start + before, std::min(reach, in), std::min(reach, in + window.padding[d]) - start});
  }
  return windows;
}

Windows adaptive(int64_t in, int64_t out) {
  Windows windows;
  for (int64_t i = 0; i < out; ++i) {
    const int64_t begin = i * in / out, end = ((i + 1) * in + out - 1) / out;
    windows.ranges.push_back({begin, end, end - begin});
  }
  return windows;
}

// Calls body(plane) for all planes of a [N, C, H, W], whose work is about `numel` elements each.
template <class Body>
void for_planes(const Tensor& x, int64_t numel, Body body) {
  constexpr int64_t grain = 16384;
  parallel_for(0, x.size(0) * x.size(1), std::max<int64_t>(1, grain / std::max<int64_t>(1, numel)),
               [&](int64_t begin, int64_t end) {
                 for (int64_t plane = begin; plane < end; ++plane) body(plane);
               });
}

// Calls body.operator()<T>(y, x) in float32 or float64, 16-bit tensors by way of float32.
template <class Body>
void in_compute_type(Tensor& y, const Tensor& x, Body body) {
  if (x.dtype() == float64) return body.template operator()<double>(y, x);
  if (x.dtype() == float32) return body.template operator()<float>(y, x);
  Tensor wide = empty(y.shape(), {.dtype = float32});
  body.template operator()<float>(wide, widened(x));
  kernels::copy(Device::cpu(), y, wide);
}

// ---- maximum
template <class T>
void max_of_plane(T* y, int64_t* index, const T* x, int64_t width, const Windows& rows, const Windows& columns) {
  for (const Range& row : rows.ranges)
    for (const Range& column : columns.ranges) {
      int64_t at = row.begin * width + column.begin;
      T best = x[at];
      for (int64_t h = row.begin; h < row.end; h += rows.step)
        for (int64_t w = column.begin; w < column.end; w += columns.step)
          if (const T v = x[h * width + w]; v > best || v != v) {
            best = v;
            at = h * width + w;
          }
      *y++ = best;
      if (index) *index++ = at;
    }
}

void max_by_windows(Tensor& y, Tensor& index, const Tensor& x, const Windows& rows, const Windows& columns) {
  int64_t* const places = index.defined() ? index.mutable_data<int64_t>() : nullptr;
  in_compute_type(y, x, [&]<class T>(Tensor& to, const Tensor& from) {
    const int64_t in_plane = x.size(2) * x.size(3), out_plane = y.size(2) * y.size(3);
    T* const out = to.mutable_data<T>();
    const T* const in = from.data<T>();
    for_planes(x, in_plane, [&](int64_t plane) {
      max_of_plane(out + plane * out_plane, places ? places + plane * out_plane : nullptr, in + plane * in_plane,
                   x.size(3), rows, columns);
    });
  });
}

void max_2x2(Tensor& y, Tensor& index, const Tensor& x) {
  int64_t* const places = index.defined() ? index.mutable_data<int64_t>() : nullptr;
  const int64_t width = x.size(3), in_plane = x.size(2) * width, out_height = y.size(2), out_width = y.size(3);
  in_compute_type(y, x, [&]<class T>(Tensor& to, const Tensor& from) {
    const auto& row_loop = loops_of<T>(isa().max_pool_2x2_f32, isa().max_pool_2x2_f64);
    T* const out = to.mutable_data<T>();
    const T* const in = from.data<T>();
    for_planes(x, in_plane, [&](int64_t plane) {
      for (int64_t h = 0; h < out_height; ++h) {
        const T* const above = in + plane * in_plane + 2 * h * width;
        const int64_t at = (plane * out_height + h) * out_width;
        row_loop(out + at, places ? places + at : nullptr, above, above + width, 2 * h * width, width, out_width);
      }
    });
  });
}

void max_pool2d(Tensor& y, Tensor& index, const Tensor& x, const Window2d& window) {
  const auto both = [](const int64_t(&pair)[2], int64_t value) { return pair[0] == value && pair[1] == value; };
  if (both(window.kernel, 2) && both(window.stride, 2) && both(window.padding, 0) && both(window.dilation, 1))
    return max_2x2(y, index, x);
  max_by_windows(y, index, x, sliding(x.size(2), y.size(2), window, 0), sliding(x.size(3), y.size(3), window, 1));
}

void adaptive_max_pool2d(Tensor& y, Tensor& index, const Tensor& x) {
  max_by_windows(y, index, x, adaptive(x.size(2), y.size(2)), adaptive(x.size(3), y.size(3)));
}

void max_pool2d_backward(Tensor& dx, const Tensor& g, const Tensor& index) {
  const int64_t* const places = index.data<int64_t>();
  in_compute_type(dx, g, [&]<class T>(Tensor& to, const Tensor& from) {
    const int64_t in_plane = dx.size(2) * dx.size(3), out_plane = g.size(2) * g.size(3);
    T* const out = to.mutable_data<T>();
    const T* const in = from.data<T>();
    for_planes(dx, in_plane, [&](int64_t plane) {
      T* const to_plane = out + plane * in_plane;
      std::fill_n(to_plane, in_plane, T(0));
      for (int64_t i = plane * out_plane; i < (plane + 1) * out_plane; ++i) to_plane[places[i]] += in[i];
    });
  });
}

// ---- mean
// By eight partial sums: one alone would wait for each addition.
template <class T>
T sum_of(const T* x, int64_t n) {
  T part[8] = {};
  int64_t i = 0;
  for (; i + 8 <= n; i += 8)
    for (int j = 0; j < 8; ++j) part[j] += x[i + j];
  T sum = ((part[0] + part[4]) + (part[2] + part[6])) + ((part[1] + part[5]) + (part[3] + part[7]));
  for (; i < n; ++i) sum += x[i];
  return sum;
}

template <class T>
T weight_of(const Range& row, const Range& column, bool padded) {
  const int64_t count = padded ? row.padded * column.padded : (row.end - row.begin) * (column.end - column.begin);
  return T(1) / static_cast<T>(count);
}

void mean_by_windows(Tensor& y, const Tensor& x, const Windows& rows, const Windows& columns, bool padded) {
  in_compute_type(y, x, [&]<class T>(Tensor& to, const Tensor& from) {
    const int64_t width = x.size(3), in_plane = x.size(2) * width, out_plane = y.size(2) * y.size(3);
    T* const out = to.mutable_data<T>();
    const T* const in = from.data<T>();
    for_planes(x, in_plane, [&](int64_t plane) {
      T* result = out + plane * out_plane;
      for (const Range& row : rows.ranges)
        for (const Range& column : columns.ranges) {
          const T* const first = in + plane * in_plane + column.begin;
          T sum = 0;
          for (int64_t h = row.begin; h < row.end; ++h) sum += sum_of(first + h * width, column.end - column.begin);
          *result++ = sum * weight_of<T>(row, column, padded);
        }
    });
  });
}

void mean_by_windows_backward(Tensor& dx, const Tensor& g, const Windows& rows, const Windows& columns, bool padded) {
  in_compute_type(dx, g, [&]<class T>(Tensor& to, const Tensor& from) {
    const int64_t width = dx.size(3), in_plane = dx.size(2) * width, out_plane = g.size(2) * g.size(3);
    T* const out = to.mutable_data<T>();
    const T* const in = from.data<T>();
    for_planes(dx, in_plane, [&](int64_t plane) {
      const T* gradient = in + plane * out_plane;
      T* const to_plane = out + plane * in_plane;
      std::fill_n(to_plane, in_plane, T(0));
      for (const Range& row : rows.ranges)
        for (const Range& column : columns.ranges) {
          const T share = *gradient++ * weight_of<T>(row, column, padded);
          for (int64_t h = row.begin; h < row.end; ++h)
            for (int64_t w = column.begin; w < column.end; ++w) to_plane[h * width + w] += share;
        }
    });
  });
}

void avg_pool2d(Tensor& y, const Tensor& x, const Window2d& window, bool count_include_pad) {
  mean_by_windows(y, x, sliding(x.size(2), y.size(2), window, 0), sliding(x.size(3), y.size(3), window, 1),
                  count_include_pad);
}
void avg_pool2d_backward(Tensor& dx, const Tensor& g, const Window2d& window, bool count_include_pad) {
  mean_by_windows_backward(dx, g, sliding(dx.size(2), g.size(2), window, 0), sliding(dx.size(3), g.size(3), window, 1),
                           count_include_pad);
}
void adaptive_avg_pool2d(Tensor& y, const Tensor& x) {
  mean_by_windows(y, x, adaptive(x.size(2), y.size(2)), adaptive(x.size(3), y.size(3)), false);
}
void adaptive_avg_pool2d_backward(Tensor& dx, const Tensor& g) {
  mean_by_windows_backward(dx, g, adaptive(dx.size(2), g.size(2)), adaptive(dx.size(3), g.size(3)), false);
}

[[maybe_unused]] const bool filled =
    kernels::max_pool2d.set(DeviceType::cpu, max_pool2d) &&
    kernels::max_pool2d_backward.set(DeviceType::cpu, max_pool2d_backward) &&
    kernels::adaptive_max_pool2d.set(DeviceType::cpu, adaptive_max_pool2d) &&
    kernels::avg_pool2d.set(DeviceType::cpu, avg_pool2d) &&
    kernels::avg_pool2d_backward.set(DeviceType::cpu, avg_pool2d_backward) &&
    kernels::adaptive_avg_pool2d.set(DeviceType::cpu, adaptive_avg_pool2d) &&
    kernels::adaptive_avg_pool2d_backward.set(DeviceType::cpu, adaptive_avg_pool2d_backward);

}  // namespace
}  // namespace gradus::cpu
