// Makes tensors: the one place that allocates.
#include <gradus/core/factories.h>

#include <cmath>
#include <cstring>

#include <gradus/core/detail/check.h>
#include <gradus/core/kernels.h>

namespace gradus {
namespace {

// Number of elements, when shape and byte count are sane.
int64_t checked_numel(const Shape& shape, Dtype dtype) {
  int64_t n = 1;
  for (const int64_t s : shape) {
    GRADUS_CHECK(s >= 0, ShapeError, "empty: negative size in {}", shape);
    GRADUS_CHECK(!__builtin_mul_overflow(n, s, &n), ShapeError, "empty: {} has more elements than int64 can count",
                 shape);
  }
  int64_t bytes;
  GRADUS_CHECK(!__builtin_mul_overflow(n, itemsize(dtype), &bytes), ShapeError,
               "empty: {} of {} has more bytes than int64 can count", shape, dtype);
  return n;
}

Tensor make(const Shape& shape, Dtype dtype, Device device) {
  const int64_t n = checked_numel(shape, dtype);
  return Tensor(make_ref<TensorImpl>(Storage::allocate(n * itemsize(dtype), device), 0, shape, n, dtype));
}

Tensor finish(Tensor x, const TensorOptions& options) {
  if (options.requires_grad) x.requires_grad_();
  return x;
}

TensorOptions like(const Tensor& x, const TensorOptions& options) {
  return {options.dtype.value_or(x.dtype()), options.device.value_or(x.device()), options.requires_grad};
}

template <class T>
Tensor from_values(const T* values, size_t n, const TensorOptions& options) {
  const Tensor source = from_blob(const_cast<T*>(values), {static_cast<int64_t>(n)}, dtype_of<T>);
  Tensor x = make(source.shape(), options.dtype.value_or(dtype_of<T>), Device::cpu());
  kernels::copy(Device::cpu(), x, source);
  if (options.device && *options.device != Device::cpu()) x = x.to(*options.device);
  return finish(std::move(x), options);
}

}  // namespace

Tensor empty(const Shape& shape, const TensorOptions& options) {
  Tensor x = make(shape, options.dtype.value_or(float32), options.device.value_or(Device::cpu()));
  return options.requires_grad ? finish(std::move(x), options) : x;
}

Tensor full(const Shape& shape, Scalar value, const TensorOptions& options) {
  const Dtype dtype = options.dtype.value_or(float32);
  GRADUS_CHECK(!value.is_floating() || is_floating(dtype), DtypeError,
               "full: a floating value does not fit {}; give .dtype = float32", dtype);
  detail::check_fits("full", dtype, value);
  Tensor x = make(shape, dtype, options.device.value_or(Device::cpu()));
  kernels::fill(x.device(), x, value);
  return finish(std::move(x), options);
}
Tensor zeros(const Shape& shape, const TensorOptions& options) { return full(shape, 0, options); }
Tensor ones(const Shape& shape, const TensorOptions& options) { return full(shape, 1, options); }

Tensor empty_like(const Tensor& x, const TensorOptions& options) { return empty(x.shape(), like(x, options)); }
Tensor zeros_like(const Tensor& x, const TensorOptions& options) { return full(x.shape(), 0, like(x, options)); }
Tensor ones_like(const Tensor& x, const TensorOptions& options) { return full(x.shape(), 1, like(x, options)); }
Tensor full_like(const Tensor& x, Scalar value, const TensorOptions& options) {
  return full(x.shape(), value, like(x, options));
}

Tensor arange(Scalar start, Scalar end, Scalar step, const TensorOptions& options) {
  const double a = start.to<double>(), b = end.to<double>(), s = step.to<double>();
  GRADUS_CHECK(std::isfinite(a) && std::isfinite(b) && std::isfinite(s) && s != 0, ValueError,
               "arange: start {}, end {}, step {}; want finite numbers and a step that is not 0", a, b, s);
  const bool integers = !start.is_floating() && !end.is_floating() && !step.is_floating();
  const double count = std::max(0.0, std::ceil((b - a) / s));
  GRADUS_CHECK(count < 0x1p53, ShapeError, "arange: {} elements are too many", count);
  Tensor x = make({static_cast<int64_t>(count)}, options.dtype.value_or(integers ? int64 : float32),
                  options.device.value_or(Device::cpu()));
  kernels::arange(x.device(), x, start, step);
  return finish(std::move(x), options);
}
Tensor arange(Scalar end, const TensorOptions& options) { return arange(0, end, 1, options); }

Tensor linspace(double start, double end, int64_t steps, const TensorOptions& options) {
  GRADUS_CHECK(steps >= 0, ValueError, "linspace: steps is {}; want 0 or more", steps);
  const Dtype dtype = options.dtype.value_or(float32);
  GRADUS_CHECK(is_floating(dtype), DtypeError, "linspace: want a floating dtype, got {}", dtype);
  Tensor x = make({steps}, dtype, options.device.value_or(Device::cpu()));
  kernels::arange(x.device(), x, start, steps > 1 ? (end - start) / static_cast<double>(steps - 1) : 0.0);
  return finish(std::move(x), options);
}

Tensor eye(int64_t n, std::optional<int64_t> m, const TensorOptions& options) {
  const int64_t columns = m.value_or(n);
  Tensor x = zeros({n, columns}, {options.dtype, options.device});
  const int64_t diagonal = std::min(n, columns);
  Tensor view = as_strided(x, {diagonal}, {columns + 1}, 0);
  kernels::fill(x.device(), view, 1);
  return finish(std::move(x), options);
}

Tensor tensor(std::initializer_list<double> values, const TensorOptions& options) {
  TensorOptions o = options;
  o.dtype = options.dtype.value_or(float32);
  return from_values(values.begin(), values.size(), o);
}
Tensor tensor(std::span<const float> values, const TensorOptions& options) {
  return from_values(values.data(), values.size(), options);
}
Tensor tensor(std::span<const double> values, const TensorOptions& options) {
  return from_values(values.data(), values.size(), options);
}
Tensor tensor(std::span<const int64_t> values, const TensorOptions& options) {
  return from_values(values.data(), values.size(), options);
}

Tensor scalar_tensor(Scalar value, const TensorOptions& options) {
  TensorOptions o = options;
  o.dtype = options.dtype.value_or(value.is_floating() ? float32 : value.is_boolean() ? boolean : int64);
  return full({}, value, o);
}

Tensor from_blob(void* data, const Shape& shape, Dtype dtype, std::function<void()> release) {
  const int64_t n = checked_numel(shape, dtype);
  GRADUS_CHECK(data != nullptr || n == 0, ValueError, "from_blob: null data for {}", shape);
  GRADUS_CHECK(reinterpret_cast<uintptr_t>(data) % static_cast<uintptr_t>(itemsize(dtype)) == 0, ValueError,
               "from_blob: data is not aligned for {}; copy it to aligned memory first", dtype);
  return Tensor(make_ref<TensorImpl>(Storage::borrow(data, n * itemsize(dtype), Device::cpu(), std::move(release)), 0,
                                     shape, n, dtype));
}

}  // namespace gradus
