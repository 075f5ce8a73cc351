// Convolution as matrix products: what each output sees becomes a column, for a few images at a time, or for parts of
// one whose columns are too many.
#include <algorithm>

#include <gradus/core/factories.h>
#include <gradus/core/kernels.h>
#include <gradus/cuda/backend/gemm.h>
#include <gradus/cuda/device/grid.cuh>
#include <gradus/cuda/device/image.cuh>
#include <gradus/cuda/launch.cuh>

namespace gradus::cuda {
namespace {

constexpr int64_t columns_bytes = 32 << 20;

// ---- sizes
// As the host sees them. `patch` is what one output of a group sees: channels / groups x kernel.
struct Problem {
  int64_t images, channels, outputs, groups, patch, pixels, out_pixels;

  Problem(const Tensor& x, const Tensor& y, const ConvArgs& args)
      : images(x.size(0)),
        channels(x.size(1)),
        outputs(y.size(1)),
        groups(args.groups),
        patch(channels / groups * args.window.kernel[0] * args.window.kernel[1]),
        pixels(plane_size(x)),
        out_pixels(plane_size(y)) {}
  int64_t taps() const { return patch * groups / channels; }
  int64_t group_outputs() const { return outputs / groups; }
  int64_t group_channels() const { return channels / groups; }
  // A matrix for each group and each of n images; the weights are the same for all images.
  Tensor weights(const Tensor& w, int64_t n) const {
    return as_strided(w, {n, groups, group_outputs(), patch}, {0, group_outputs() * patch, patch, 1}, w.impl().offset);
  }
  // Those of y, or of its gradient: output pixels [first, first + count) of n images from `image` on.
  Tensor results(const Tensor& y, int64_t image, int64_t n, int64_t first, int64_t count) const {
    return as_strided(y, {n, groups, group_outputs(), count},
                      {outputs * out_pixels, group_outputs() * out_pixels, out_pixels, 1},
                      y.impl().offset + image * outputs * out_pixels + first);
  }
};

// As a kernel sees them, in (height, width) pairs; `taps` = kernel height x width.
struct Geometry {
  uint32_t channels;
  int in[2], kernel[2], padding[2], dilation[2], out[2];
  Divider stride[2], out_width, kernel_width, taps;

  Geometry(const Tensor& x, const Tensor& y, const Window2d& window) : channels(static_cast<uint32_t>(x.size(1))) {
    checked_count(x.size(1) * window.kernel[0] * window.kernel[1], "channels times kernel");
    for (int d = 0; d < 2; ++d) {
      padded_size(x, window, d);
      in[d] = static_cast<int>(x.size(2 + d));
      out[d] = static_cast<int>(y.size(2 + d));
      kernel[d] = static_cast<int>(window.kernel[d]);
      padding[d] = static_cast<int>(window.padding[d]);
      dilation[d] = static_cast<int>(window.dilation[d]);
      stride[d] = Divider(static_cast<uint32_t>(window.stride[d]));
    }
    out_width = Divider(static_cast<uint32_t>(out[1]));
    kernel_width = Divider(static_cast<uint32_t>(kernel[1]));
    taps = Divider(static_cast<uint32_t>(kernel[0]) * static_cast<uint32_t>(kernel[1]));
  }
};

// ---- kernels
// Where the columns of some images are written: `rows` = channels x kernel of them, output pixels [first, first +
// count) in each.
struct Columns {
  Divider rows, count;
  int first;
  int64_t image_step, row_step;
};

template <class S>
__global__ void image_to_columns(S* columns, const S* x, Geometry s, Columns to, uint32_t n) {
  for (int64_t position = thread_number(); position < n; position += thread_count()) {
    const uint32_t line = to.count.quotient(static_cast<uint32_t>(position));
    const uint32_t pixel = static_cast<uint32_t>(position) - line * to.count.divisor;
    const uint32_t image = to.rows.quotient(line), row = line - image * to.rows.divisor;
    const uint32_t channel = s.taps.quotient(row), tap = row - channel * s.taps.divisor;
    const uint32_t i = s.kernel_width.quotient(tap), j = tap - i * s.kernel_width.divisor;
    const uint32_t place = static_cast<uint32_t>(to.first) + pixel;
    const uint32_t out_row = s.out_width.quotient(place), out_column = place - out_row * s.out_width.divisor;
    const int h =
        static_cast<int>(out_row * s.stride[0].divisor + i * static_cast<uint32_t>(s.dilation[0])) - s.padding[0];
    const int w =
        static_cast<int>(out_column * s.stride[1].divisor + j * static_cast<uint32_t>(s.dilation[1])) - s.padding[1];
    const bool inside = h >= 0 && h < s.in[0] && w >= 0 && w < s.in[1];
    const int64_t plane = static_cast<int64_t>(image) * s.channels + channel;
    columns[image * to.image_step + row * to.row_step + pixel] =
        inside ? x[(plane * s.in[0] + h) * s.in[1] + w] : S(0.0f);
  }
}

// The output along one dim that input `i` reaches by tap `tap`, or -1.
__device__ inline int output_of(const Geometry& s, int d, int i, int tap) {
  const int reached = i + s.padding[d] - tap * s.dilation[d];
  if (reached < 0) return -1;
  const uint32_t o = s.stride[d].quotient(static_cast<uint32_t>(reached));
  const bool is_hit = o * s.stride[d].divisor == static_cast<uint32_t>(reached);
  return is_hit && static_cast<int>(o) < s.out[d] ? static_cast<int>(o) : -1;
}

// Each pixel gathers from the columns that it went into, of which there is one set for each of its planes.
template <class S>
__global__ void columns_to_image(S* x, const Compute<S>* columns, Planes pixels, Geometry s, uint32_t n) {
  const int64_t out_pixels = static_cast<int64_t>(s.out[0]) * s.out[1];
  for (int64_t position = thread_number(); position < n; position += thread_count()) {
    const Planes::Place at = pixels.at(static_cast<uint32_t>(position));
    const Compute<S>* const from = columns + static_cast<int64_t>(at.plane) * s.taps.divisor * out_pixels;
    Compute<S> sum = 0;
    for (int i = 0; i < s.kernel[0]; ++i) {
      const int row = output_of(s, 0, at.row, i);
      if (row < 0) continue;
      for (int j = 0; j < s.kernel[1]; ++j)
        if (const int column = output_of(s, 1, at.column, j); column >= 0)
          sum += from[(i * s.kernel[1] + j) * out_pixels + row * s.out[1] + column];
    }
    x[position] = static_cast<S>(sum);
  }
}

// ---- how much at a time
// Output pixels [first, first + count) of `n` images from `image` on.
struct Part {
  int64_t image, n, first, count;
};

// Calls body(part) for parts whose columns, of `row_bytes` for each pixel, are few enough.
template <class Body>
void each_part(const Problem& p, int64_t row_bytes, const Body& body) {
  const int64_t fitting = std::max<int64_t>(columns_bytes / row_bytes, 1);
  const int64_t whole_images = std::max<int64_t>(fitting / p.out_pixels, 1);
  const int64_t aligned = fitting < 32 ? fitting : fitting / 32 * 32;
  const int64_t count = fitting < p.out_pixels ? aligned : p.out_pixels;
  for (int64_t image = 0; image < p.images; image += whole_images)
    for (int64_t first = 0; first < p.out_pixels; first += count)
      body(Part{image, std::min(whole_images, p.images - image), first, std::min(count, p.out_pixels - first)});
}

template <class S>
void fill_columns(Tensor& columns, const Tensor& x, const Problem& p, const Geometry& geometry, const Part& part,
                  int64_t image_step, int64_t row_step) {
  const int64_t rows = p.patch * p.groups, n = part.n * rows * part.count;
  const Columns to{Divider(static_cast<uint32_t>(rows)), Divider(static_cast<uint32_t>(part.count)),
                   static_cast<int>(part.first), image_step, row_step};
  launch<image_to_columns<S>>(blocks_for(n), threads_per_block, 0, written<S>(columns),
                              read<S>(x) + part.image * p.channels * p.pixels, geometry, to, static_cast<uint32_t>(n));
}

// ---- slots
void conv2d(Tensor& y, const Tensor& x, const Tensor& w, const Tensor& b, const ConvArgs& args) {
  if (y.numel() == 0) return;
  const Problem p(x, y, args);
  const Geometry geometry(x, y, args.window);
  if (b.defined()) kernels::copy(y.device(), y, as_strided(b, y.shape(), {0, 1, 0, 0}, b.impl().offset));
  dispatch_floating(x.dtype(), [&]<class S>() {
    const int64_t rows = p.patch * p.groups;
    each_part(p, rows * static_cast<int64_t>(sizeof(S)), [&](const Part& part) {
      Tensor columns = empty({part.n, p.groups, p.patch, part.count}, {.dtype = x.dtype(), .device = x.device()});
      fill_columns<S>(columns, x, p, geometry, part, rows * part.count, part.count);
      Tensor results = p.results(y, part.image, part.n, part.first, part.count);
      gemm_2d_batch(results, p.weights(w, part.n), columns, b.defined());
    });
  });
}

// dw [O, patch] = sum over images and pixels of g [O, pixels] columns^T [pixels, patch]: a few images together are one
// product, for which their gradients are put side by side.
void conv2d_backward_weight(Tensor& dw, const Tensor& g, const Tensor& x, const ConvArgs& args) {
  if (g.numel() == 0) return kernels::fill(dw.device(), dw, 0);
  const Problem p(x, g, args);
  const Geometry geometry(x, g, args.window);
  const auto side_by_side = [&](const Part& part) {
    const Tensor results = p.results(g, part.image, part.n, part.first, part.count);
    if (part.n == 1)
      return as_strided(results, {p.groups, p.group_outputs(), part.count}, {results.stride(1), results.stride(2), 1},
                        results.impl().offset);
    Tensor rows = empty({p.groups, p.group_outputs(), part.n, part.count}, {.dtype = g.dtype(), .device = g.device()});
    kernels::copy(g.device(), rows,
                  as_strided(results, rows.shape(), {results.stride(1), results.stride(2), results.stride(0), 1},
                             results.impl().offset));
    return as_strided(rows, {p.groups, p.group_outputs(), part.n * part.count},
                      {p.group_outputs() * part.n * part.count, part.n * part.count, 1}, 0);
  };
  dispatch_floating(x.dtype(), [&]<class S>() {
    constexpr bool in_place = std::is_same_v<S, Compute<S>>;
    Tensor sums = in_place ? dw : empty(dw.shape(), {.dtype = dtype_of<Compute<S>>, .device = dw.device()});
    Tensor matrices = as_strided(sums, {p.groups, p.group_outputs(), p.patch},
                                 {p.group_outputs() * p.patch, p.patch, 1}, sums.impl().offset);
    bool accumulate = false;
    each_part(p, p.patch * p.groups * static_cast<int64_t>(sizeof(S)), [&](const Part& part) {
      const int64_t length = part.n * part.count;
      Tensor columns = empty({p.patch * p.groups, length}, {.dtype = x.dtype(), .device = x.device()});
      fill_columns<S>(columns, x, p, geometry, part, part.count, length);
      gemm(matrices, side_by_side(part),
           as_strided(columns, {p.groups, length, p.patch}, {p.patch * length, 1, length}, 0), {}, accumulate);
      accumulate = true;
    });
    if (!in_place) kernels::copy(dw.device(), dw, sums);
  });
}

// Columns = w^T g, of which each pixel gathers its own. When those of an image are too many, its channels come a few at
// a time.
void conv2d_backward_input(Tensor& dx, const Tensor& g, const Tensor& w, const ConvArgs& args) {
  if (dx.numel() == 0) return;
  const Problem p(dx, g, args);
  const Geometry geometry(dx, g, args.window);
  const Planes pixels(dx);
  dispatch_floating(dx.dtype(), [&]<class S>() {
    using T = Compute<S>;
    // For n images from `image` on: groups from `group` on, and of each the channels from `channel` on.
    const auto part = [&](int64_t image, int64_t n, int64_t group, int64_t groups, int64_t channel, int64_t channels) {
      const int64_t rows = channels * p.taps();
      const Tensor weights = p.weights(w, n), results = p.results(g, image, n, 0, p.out_pixels);
      Tensor columns = empty({n, groups, rows, p.out_pixels}, {.dtype = dtype_of<T>, .device = dx.device()});
      gemm_2d_batch(columns,
                    as_strided(weights, {n, groups, rows, p.group_outputs()}, {0, weights.stride(1), 1, p.patch},
                               weights.impl().offset + group * weights.stride(1) + channel * p.taps()),
                    as_strided(results, {n, groups, p.group_outputs(), p.out_pixels}, results.strides(),
                               results.impl().offset + group * results.stride(1)),
                    false);
      S* const to = written<S>(dx) + (image * p.channels + group * p.group_channels() + channel) * p.pixels;
      pixels.each_part(n * groups * channels, [&](int64_t first, uint32_t count) {
        launch<columns_to_image<S>>(blocks_for(count), threads_per_block, 0, to + first * p.pixels,
                                    read<T>(columns) + first * p.taps() * p.out_pixels, pixels, geometry, count);
      });
    };
    const int64_t channel_bytes = p.taps() * p.out_pixels * static_cast<int64_t>(sizeof(T));
    const int64_t fitting = std::max<int64_t>(columns_bytes / channel_bytes, 1), n = fitting / p.channels;
    if (n > 0) {
      for (int64_t image = 0; image < p.images; image += n)
        part(image, std::min(n, p.images - image), 0, p.groups, 0, p.group_channels());
      return;
    }
    for (int64_t image = 0; image < p.images; ++image)
      for (int64_t group = 0; group < p.groups; ++group)
        for (int64_t channel = 0; channel < p.group_channels(); channel += fitting)
          part(image, 1, group, 1, channel, std::min(fitting, p.group_channels() - channel));
  });
}

[[maybe_unused]] const bool filled = kernels::conv2d.set(DeviceType::cuda, conv2d) &&
                                     kernels::conv2d_backward_input.set(DeviceType::cuda, conv2d_backward_input) &&
                                     kernels::conv2d_backward_weight.set(DeviceType::cuda, conv2d_backward_weight);

}  // namespace
}  // namespace gradus::cuda
