// Constant and counting values.
#include <algorithm>
#include <cstring>

#include <gradus/core/cpu/detail/strided.h>
#include <gradus/core/detail/dispatch.h>
#include <gradus/core/kernels.h>
#include <gradus/core/parallel.h>

namespace gradus::cpu {
namespace {

constexpr int64_t block = 512, grain = 32768;

void fill(Tensor& y, Scalar value) {
  if (y.numel() == 0) return;
  detail::dispatch(y.dtype(), [&]<class T>() {
    const T v = value.to<T>();
    T* to = static_cast<T*>(const_cast<void*>(y.raw_data()));
    if (y.is_contiguous()) {
      parallel_for(0, y.numel(), grain, [&](int64_t first, int64_t last) { std::fill(to + first, to + last, v); });
      return;
    }
    const Tensor* operands[] = {&y};
    const StridedSpace space = detail::strided_space(operands);
    alignas(64) T values[block];
    std::fill(values, values + std::min(block, space.total), v);
    parallel_for(0, space.total, grain, [&](int64_t first, int64_t last) {
      for (int64_t position = first; position < last; position += block)
        scatter(to, values, sizeof(T), space, 0, position, std::min(block, last - position));
    });
  });
}

// Integers count in int64, floats in float64: y_i = start + i step without accumulated rounding.
void arange(Tensor& y, Scalar start, Scalar step) {
  detail::dispatch(y.dtype(), [&]<class T>() {
    using Count = std::conditional_t<std::is_integral_v<T>, int64_t, double>;
    const Count a = start.to<Count>(), s = step.to<Count>();
    T* to = static_cast<T*>(const_cast<void*>(y.raw_data()));
    parallel_for(0, y.numel(), grain, [&](int64_t first, int64_t last) {
      for (int64_t i = first; i < last; ++i) {
        const Count value = a + static_cast<Count>(i) * s;
        if constexpr (std::is_arithmetic_v<T>)
          to[i] = static_cast<T>(value);
        else
          to[i] = T(static_cast<float>(value));
      }
    });
  });
}

[[maybe_unused]] const bool registered =
    kernels::fill.set(DeviceType::cpu, fill) && kernels::arange.set(DeviceType::cpu, arange);

}  // namespace
}  // namespace gradus::cpu
