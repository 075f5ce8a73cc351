// Convolution as matrix products: patches of the image become columns, a few output rows at a time so that they stay in
// the cache. The plan for float64, for machines without oneDNN, and for what oneDNN does badly.
#include <algorithm>
#include <cstring>

#include <gradus/core/cpu/detail/conv.h>
#include <gradus/core/cpu/detail/gemm.h>

namespace gradus::cpu {
namespace {

constexpr int64_t columns_bytes = 512 << 10;

template <class T>
class Im2colPlan final : public ConvPlan {
 public:
  Im2colPlan(ConvPass pass, const ConvShape& shape)
      : pass_(pass),
        s_(shape),
        groups_(shape.args.groups),
        patch_(shape.channels / groups_ * shape.kernel_numel()),
        rows_(std::clamp<int64_t>(
            columns_bytes / std::max<int64_t>(1, patch_ * s_.out_width * static_cast<int64_t>(sizeof(T))), 1,
            s_.out_height)) {}

  int64_t packed_bytes() const override { return s_.weight_numel() * static_cast<int64_t>(sizeof(T)); }
  bool packs() const override { return false; }
  void pack(const void* plain, void* packed) const override { copy(plain, packed); }
  void unpack(const void* packed, void* plain) const override { copy(packed, plain); }
  int64_t scratch_bytes() const override { return patch_ * rows_ * s_.out_width * static_cast<int64_t>(sizeof(T)); }

  void run(const ConvOperands& operands, bool accumulate, void* scratch) const override {
    T* const w = static_cast<T*>(operands.w);
    T* const columns = static_cast<T*>(scratch);
    const T* const bias = static_cast<const T*>(operands.bias);
    const int64_t out_plane = s_.out_height * s_.out_width, group_outputs = s_.outputs / groups_;
    if (pass_ == ConvPass::backward_weight && !accumulate) std::fill_n(w, s_.weight_numel(), T(0));
    for (int64_t image = 0; image < s_.images; ++image)
      for (int64_t group = 0; group < groups_; ++group) {
        T* const x = static_cast<T*>(operands.x) + image * s_.image_numel() + group * (s_.image_numel() / groups_);
        T* const y = static_cast<T*>(operands.y) + image * s_.output_numel() + group * (s_.output_numel() / groups_);
        T* const wg = w + group * group_outputs * patch_;
        if (pass_ == ConvPass::backward_input) std::fill_n(x, s_.image_numel() / groups_, T(0));
        if (pass_ == ConvPass::forward && bias)
          for (int64_t o = 0; o < group_outputs; ++o)
            std::fill_n(y + o * out_plane, out_plane, bias[group * group_outputs + o]);
        for (int64_t row = 0; row < s_.out_height; row += rows_)
          run_rows(x, wg, y, bias != nullptr, columns, row, std::min(rows_, s_.out_height - row));
      }
  }

 private:
  void copy(const void* from, void* to) const { std::memcpy(to, from, static_cast<size_t>(packed_bytes())); }

  // One group of one image, output rows [row, row + count): columns are [patch, count * out_width].
  void run_rows(T* x, T* w, T* y, bool add, T* columns, int64_t row, int64_t count) const {
    const int64_t outputs = s_.outputs / groups_, out_plane = s_.out_height * s_.out_width, n = count * s_.out_width;
    T* const part = y + row * s_.out_width;  // [outputs, n], rows out_plane apart
    if (pass_ == ConvPass::backward_input) {
      gemm<T>(patch_, n, outputs, {w, true, patch_}, {part, false, out_plane}, false, columns, n);
      return for_each_run(row, count, x, columns, [](T* pixel, int64_t step, T* column, int64_t length) {
        for (int64_t i = 0; i < length; ++i) pixel[i * step] += column[i];
      });
    }
    std::fill_n(columns, patch_ * n, T(0));
    for_each_run(row, count, x, columns, [](T* pixel, int64_t step, T* column, int64_t length) {
      if (step == 1)
        std::copy_n(pixel, length, column);
      else
        for (int64_t i = 0; i < length; ++i) column[i] = pixel[i * step];
    });
    if (pass_ == ConvPass::forward)
      gemm<T>(outputs, n, patch_, {w, false, patch_}, {columns, false, n}, add, part, out_plane);
    else
      gemm<T>(outputs, patch_, n, {part, false, out_plane}, {columns, true, n}, true, w, patch_);
  }

  // Calls body(pixel, step, column, length) for each run of pixels of x that lie side by side in a row of columns: what
  // falls into the padding is left out.
  template <class Body>
  void for_each_run(int64_t row, int64_t count, T* x, T* columns, Body body) const {
    const Window2d& window = s_.args.window;
    const auto ceil_div = [](int64_t a, int64_t b) { return a <= 0 ? 0 : (a + b - 1) / b; };
    T* line = columns;
    for (int64_t c = 0; c < s_.channels / groups_; ++c)
      for (int64_t i = 0; i < window.kernel[0]; ++i)
        for (int64_t j = 0; j < window.kernel[1]; ++j) {
          const int64_t step = window.stride[1], shift = j * window.dilation[1] - window.padding[1];
          const int64_t first = std::min(ceil_div(-shift, step), s_.out_width),
                        last = std::clamp(ceil_div(s_.width - shift, step), first, s_.out_width);
          for (int64_t r = row; r < row + count; ++r, line += s_.out_width) {
            const int64_t h = r * window.stride[0] + i * window.dilation[0] - window.padding[0];
            if (h < 0 || h >= s_.height || first == last) continue;
            body(x + (c * s_.height + h) * s_.width + first * step + shift, step, line + first, last - first);
          }
        }
  }

  const ConvPass pass_;
  const ConvShape s_;
  const int64_t groups_, patch_, rows_;
};

}  // namespace

std::shared_ptr<const ConvPlan> im2col_plan(ConvPass pass, const ConvShape& shape, Dtype dtype) {
  if (dtype == float64) return std::make_shared<Im2colPlan<double>>(pass, shape);
  return std::make_shared<Im2colPlan<float>>(pass, shape);
}

}  // namespace gradus::cpu
