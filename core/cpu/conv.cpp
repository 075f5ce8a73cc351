// The convolution kernels: the batch cut into pieces of fixed size, each piece one run of a plan on one thread. Partial
// sums of the weights' gradient belong to fixed pieces and are added in order, so that results do not depend on the
// number of threads.
#include <algorithm>
#include <array>
#include <cstring>

#include <gradus/core/cpu/detail/conv.h>
#include <gradus/core/cpu/detail/scratch.h>
#include <gradus/core/cpu/detail/widened.h>
#include <gradus/core/detail/lru.h>
#include <gradus/core/parallel.h>

namespace gradus::cpu {
namespace {

// Images in a piece: as many as stay in the cache with their output, at least eight pieces if there are eight images.
// Divides the batch, so that one plan serves every piece.
int64_t images_per_piece(ConvPass pass, const ConvShape& shape) {
  constexpr int64_t cache_bytes = 768 << 10, pixels_worth_a_sum = 1024;
  const int64_t bytes = (shape.image_numel() + shape.output_numel()) * 4;
  int64_t wanted = cache_bytes / std::max<int64_t>(1, bytes);
  // Each run adds all weights to a partial sum: it should have pixels enough to be worth it.
  if (pass == ConvPass::backward_weight)
    wanted = std::max(wanted, pixels_worth_a_sum / std::max<int64_t>(1, shape.out_height * shape.out_width));
  wanted = std::clamp<int64_t>(wanted, 1, std::max<int64_t>(1, shape.images / 8));
  while (shape.images % wanted != 0) --wanted;
  return wanted;
}

using PlanKey = std::array<int64_t, 18>;

// The plan for one piece of the batch; `shape.images` becomes the size of a piece.
std::shared_ptr<const ConvPlan> find_plan(ConvPass pass, ConvShape& shape, Dtype dtype) {
  static detail::LruCache<PlanKey, ConvPlan>& cache = *new detail::LruCache<PlanKey, ConvPlan>(256);
  shape.images = images_per_piece(pass, shape);
  const Window2d& w = shape.args.window;
  const PlanKey key = {static_cast<int64_t>(pass),
                       static_cast<int64_t>(dtype),
                       shape.images,
                       shape.channels,
                       shape.height,
                       shape.width,
                       shape.outputs,
                       shape.out_height,
                       shape.out_width,
                       shape.args.groups,
                       w.kernel[0],
                       w.kernel[1],
                       w.stride[0],
                       w.stride[1],
                       w.padding[0],
                       w.padding[1],
                       w.dilation[0],
                       w.dilation[1]};
  return cache.get(key, [&] {
    std::shared_ptr<const ConvPlan> plan = onednn::conv_plan(pass, shape, dtype);
    if (!plan && (dtype == float32 || dtype == float64)) plan = im2col_plan(pass, shape, dtype);
    return plan;
  });
}

ConvShape shape_of(const Tensor& x, const Tensor& w, const Tensor& y, const ConvArgs& args) {
  ConvShape shape{x.size(0), x.size(1), x.size(2), x.size(3), w.size(0), y.size(2), y.size(3), args};
  shape.args.window.kernel[0] = w.size(2);
  shape.args.window.kernel[1] = w.size(3);
  return shape;
}

// x and y move on by pieces; the weights stay.
class Pieces {
 public:
  Pieces(const ConvShape& piece, const Tensor& x, const Tensor& y)
      : x_(static_cast<char*>(const_cast<void*>(x.raw_data()))),
        y_(static_cast<char*>(const_cast<void*>(y.raw_data()))),
        step_x_(piece.images * piece.image_numel() * itemsize(x.dtype())),
        step_y_(piece.images * piece.output_numel() * itemsize(y.dtype())) {}
  ConvOperands operator()(int64_t i, void* w, const void* bias) const {
    return {x_ + i * step_x_, w, bias, y_ + i * step_y_};
  }

 private:
  char *x_, *y_;
  int64_t step_x_, step_y_;
};

// The forward pass and the gradient of the input: every image by itself.
void run_by_image(const ConvPlan& plan, const ConvShape& piece, const Tensor& x, const Tensor& w, const Tensor& bias,
                  const Tensor& y) {
  const Scratch packed(plan.packs() ? plan.packed_bytes() : 0);
  void* weights = const_cast<void*>(w.raw_data());
  if (plan.packs()) {
    plan.pack(weights, packed.data());
    weights = packed.data();
  }
  const Pieces pieces(piece, x, y);
  parallel_for(0, x.size(0) / piece.images, 1, [&](int64_t begin, int64_t end) {
    const Scratch scratch(plan.scratch_bytes());
    for (int64_t i = begin; i < end; ++i)
      plan.run(pieces(i, weights, bias.defined() ? bias.raw_data() : nullptr), false, scratch.data());
  });
}

// sums[0] += sums[1] + ...: `count` vectors of n elements, each `step` bytes after the one before.
template <class T>
void add_up(char* sums, int64_t count, int64_t step, int64_t n) {
  constexpr int64_t grain = 16384;
  T* const total = reinterpret_cast<T*>(sums);
  parallel_for(0, n, grain, [&](int64_t begin, int64_t end) {
    for (int64_t k = 1; k < count; ++k) {
      const T* const part = reinterpret_cast<const T*>(sums + k * step);
      for (int64_t i = begin; i < end; ++i) total[i] += part[i];
    }
  });
}

void run_weights(const ConvPlan& plan, const ConvShape& piece, const Tensor& x, Tensor& dw, const Tensor& g) {
  constexpr int64_t most_sums = 16, most_bytes = 64 << 20;
  const int64_t runs = x.size(0) / piece.images, step = aligned(plan.packed_bytes());
  const int64_t sums = std::min(runs, std::clamp<int64_t>(most_bytes / step, 1, most_sums));
  const Scratch partial(sums * step);
  const Pieces pieces(piece, x, g);
  parallel_for(0, sums, 1, [&](int64_t begin, int64_t end) {
    const Scratch scratch(plan.scratch_bytes());
    for (int64_t k = begin; k < end; ++k)
      for (int64_t i = k * runs / sums; i < (k + 1) * runs / sums; ++i)
        plan.run(pieces(i, partial.data() + k * step, nullptr), i > k * runs / sums, scratch.data());
  });
  if (dw.dtype() == float64)
    add_up<double>(partial.data(), sums, step, plan.packed_bytes() / 8);
  else
    add_up<float>(partial.data(), sums, step, plan.packed_bytes() / 4);
  plan.unpack(partial.data(), dw.mutable_raw_data());
}

void conv2d(Tensor& y, const Tensor& x, const Tensor& w, const Tensor& b, const ConvArgs& args) {
  if (y.numel() == 0) return;
  ConvShape shape = shape_of(x, w, y, args);
  if (const auto plan = find_plan(ConvPass::forward, shape, x.dtype())) {
    y.mutable_raw_data();
    return run_by_image(*plan, shape, x, w, b, y);
  }
  Tensor wide = empty(y.shape());
  conv2d(wide, widened(x), widened(w), widened(b), args);
  kernels::copy(Device::cpu(), y, wide);
}

void conv2d_backward_input(Tensor& dx, const Tensor& g, const Tensor& w, const ConvArgs& args) {
  if (dx.numel() == 0) return;
  ConvShape shape = shape_of(dx, w, g, args);
  if (const auto plan = find_plan(ConvPass::backward_input, shape, g.dtype())) {
    dx.mutable_raw_data();
    return run_by_image(*plan, shape, dx, w, {}, g);
  }
  Tensor wide = empty(dx.shape());
  conv2d_backward_input(wide, widened(g), widened(w), args);
  kernels::copy(Device::cpu(), dx, wide);
}

void conv2d_backward_weight(Tensor& dw, const Tensor& g, const Tensor& x, const ConvArgs& args) {
  if (dw.numel() == 0) return;
  if (x.numel() == 0) return kernels::fill(Device::cpu(), dw, 0);
  ConvShape shape = shape_of(x, dw, g, args);
  if (const auto plan = find_plan(ConvPass::backward_weight, shape, g.dtype()))
    return run_weights(*plan, shape, x, dw, g);
  Tensor wide = empty(dw.shape());
  conv2d_backward_weight(wide, widened(g), widened(x), args);
  kernels::copy(Device::cpu(), dw, wide);
}

[[maybe_unused]] const bool filled = kernels::conv2d.set(DeviceType::cpu, conv2d) &&
                                     kernels::conv2d_backward_input.set(DeviceType::cpu, conv2d_backward_input) &&
                                     kernels::conv2d_backward_weight.set(DeviceType::cpu, conv2d_backward_weight);

}  // namespace
}  // namespace gradus::cpu
