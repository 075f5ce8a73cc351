// Functions that make tensors: from sizes, from values, from memory. Random ones are in core/random.h.
#pragma once

#include <functional>
#include <initializer_list>
#include <optional>
#include <span>

#include <gradus/core/tensor.h>

namespace gradus {

/// {.dtype = float32, .device = Device::cpu(), .requires_grad = false}; what is left out is the default of the
/// function: float32 on the CPU, or what the *_like argument has.
struct TensorOptions {
  std::optional<Dtype> dtype = {};
  std::optional<Device> device = {};
  bool requires_grad = false;
};

GRADUS_API Tensor empty(const Shape& shape, const TensorOptions& options = {});
GRADUS_API Tensor zeros(const Shape& shape, const TensorOptions& options = {});
GRADUS_API Tensor ones(const Shape& shape, const TensorOptions& options = {});
GRADUS_API Tensor full(const Shape& shape, Scalar value, const TensorOptions& options = {});
GRADUS_API Tensor empty_like(const Tensor& x, const TensorOptions& options = {});
GRADUS_API Tensor zeros_like(const Tensor& x, const TensorOptions& options = {});
GRADUS_API Tensor ones_like(const Tensor& x, const TensorOptions& options = {});
GRADUS_API Tensor full_like(const Tensor& x, Scalar value, const TensorOptions& options = {});

/// start, start + step, ... below end; int64 when all three are integers, else float32.
GRADUS_API Tensor arange(Scalar start, Scalar end, Scalar step = 1, const TensorOptions& options = {});
GRADUS_API Tensor arange(Scalar end, const TensorOptions& options = {});
/// `steps` values from start to end, both included.
GRADUS_API Tensor linspace(double start, double end, int64_t steps, const TensorOptions& options = {});
/// Ones on the diagonal of an n x m matrix (m = n when left out).
GRADUS_API Tensor eye(int64_t n, std::optional<int64_t> m = {}, const TensorOptions& options = {});

/// A vector of the given values; float32 for floating values, int64 for integers unless options say otherwise.
GRADUS_API Tensor tensor(std::initializer_list<double> values, const TensorOptions& options = {});
GRADUS_API Tensor tensor(std::span<const float> values, const TensorOptions& options = {});
GRADUS_API Tensor tensor(std::span<const double> values, const TensorOptions& options = {});
GRADUS_API Tensor tensor(std::span<const int64_t> values, const TensorOptions& options = {});
/// A 0-dim tensor.
GRADUS_API Tensor scalar_tensor(Scalar value, const TensorOptions& options = {});

/// A tensor over the caller's memory, which must outlive it (or be freed by `release`). No copy.
GRADUS_API Tensor from_blob(void* data, const Shape& shape, Dtype dtype, std::function<void()> release = {});

}  // namespace gradus
