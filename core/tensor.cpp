// Shapes, strides, windows on a storage; what needs neither kernels nor autograd.
#include <gradus/core/tensor.h>

#include <algorithm>

#include <gradus/core/detail/check.h>
#include <gradus/core/factories.h>
#include <gradus/core/kernels.h>

namespace gradus {
namespace {

bool strides_are_contiguous(const Shape& shape, const Shape& strides) {
  int64_t expected = 1;
  for (int d = shape.rank(); d-- > 0;) {
    if (shape[d] == 1) continue;
    if (strides[d] != expected) return false;
    expected *= shape[d];
  }
  return true;
}

}  // namespace

TensorImpl::TensorImpl(Ref<Storage> storage_, int64_t offset_, const Shape& shape_, const Shape& strides_, Dtype dtype_)
    : storage(std::move(storage_)),
      offset(offset_),
      numel(shape_.numel()),
      shape(shape_),
      strides(strides_),
      dtype(dtype_),
      device(storage->device()),
      contiguous(numel == 0 || strides_are_contiguous(shape_, strides_)) {}

TensorImpl::TensorImpl(Ref<Storage> storage_, int64_t offset_, const Shape& shape_, int64_t numel_, Dtype dtype_)
    : storage(std::move(storage_)),
      offset(offset_),
      numel(numel_),
      shape(shape_),
      strides(contiguous_strides(shape_)),
      dtype(dtype_),
      device(storage->device()),
      contiguous(true) {}

TensorImpl::~TensorImpl() = default;

namespace detail {

void throw_undefined(const char* what) {
  throw Error(fmt::format(
      "undefined {}: it was default-constructed or moved from, or is a gradient that was never computed", what));
}
void throw_wrong_dtype(Dtype want, Dtype have) {
  throw DtypeError(fmt::format("data: the tensor is {}, not {}; convert it with x.to({})", have, want, want));
}
void throw_not_on_host(Device device) {
  throw DeviceError(fmt::format("data: the tensor is on {}; the host reads it after x.to(Device::cpu())", device));
}
void throw_rank_too_large(size_t rank) {
  throw ShapeError(fmt::format("shape: rank {} is above the largest supported, {}", rank, max_rank));
}
int64_t wrap_size_dim(int64_t dim, int rank) {
  if (dim >= 0 && dim < rank) [[likely]]
    return dim;
  GRADUS_CHECK(dim >= -rank && dim < rank, IndexError, "size: dim {} is out of range for rank {}", dim, rank);
  return dim + rank;
}

}  // namespace detail

int64_t wrap_dim(const char* op, int64_t dim, int rank) {
  const int64_t n = std::max(rank, 1);
  GRADUS_CHECK(dim >= -n && dim < n, IndexError, "{}: dim {} is out of range for rank {}; want {} to {}", op, dim, rank,
               -n, n - 1);
  return dim < 0 ? dim + n : dim;
}

Shape contiguous_strides(const Shape& shape) {
  Shape strides = shape;
  int64_t next = 1;
  for (int d = shape.rank(); d-- > 0;) {
    strides[d] = next;
    next *= std::max<int64_t>(shape[d], 1);
  }
  return strides;
}

Shape broadcast_shapes(const char* op, const Shape& a, const Shape& b) {
  const Shape& longer = a.rank() >= b.rank() ? a : b;
  const Shape& shorter = a.rank() >= b.rank() ? b : a;
  Shape result = longer;
  const int shift = longer.rank() - shorter.rank();
  for (int d = shift; d < longer.rank(); ++d) {
    const int64_t s = shorter[d - shift];
    if (s == result[d] || s == 1) continue;
    GRADUS_CHECK(result[d] == 1, ShapeError,
                 "{}: {} and {} do not broadcast: sizes {} and {} at dim {} differ and neither is 1", op, a, b,
                 a.rank() >= b.rank() ? result[d] : s, a.rank() >= b.rank() ? s : result[d], d - longer.rank());
    result[d] = s;
  }
  return result;
}

Tensor as_strided(const Tensor& x, const Shape& shape, const Shape& strides, int64_t offset) {
  GRADUS_CHECK(shape.rank() == strides.rank(), ShapeError, "as_strided: shape {} and strides {} have different ranks",
               shape, strides);
  int64_t low = offset, high = offset;
  for (int d = 0; d < shape.rank(); ++d) {
    GRADUS_CHECK(shape[d] >= 0, ShapeError, "as_strided: negative size in {}", shape);
    if (shape[d] > 0) (strides[d] < 0 ? low : high) += (shape[d] - 1) * strides[d];
  }
  const int64_t available = x.impl().storage->bytes() / itemsize(x.dtype());
  GRADUS_CHECK(shape.numel() == 0 || (low >= 0 && high < available), ShapeError,
               "as_strided: shape {} with strides {} from {} leaves the storage of {} elements", shape, strides, offset,
               available);
  return Tensor(make_ref<TensorImpl>(x.impl().storage, offset, shape, strides, x.dtype()));
}

Tensor dense(const Tensor& x) {
  if (x.is_contiguous()) return x;
  Tensor y = empty(x.shape(), {.dtype = x.dtype(), .device = x.device()});
  kernels::copy(x.device(), y, x);
  return y;
}

Tensor reshaped(const Tensor& x, const Shape& shape) {
  return Tensor(make_ref<TensorImpl>(x.impl().storage, x.impl().offset, shape, shape.numel(), x.dtype()));
}

Scalar Tensor::item_scalar() const {
  GRADUS_CHECK(numel() == 1, ShapeError, "item: want one element, got {}", shape());
  const Tensor host = device().is_cpu() ? *this : detach().to(Device::cpu());
  const void* p = host.raw_data();
  switch (dtype()) {
    case float32: return *static_cast<const float*>(p);
    case float64: return *static_cast<const double*>(p);
    case float16: return static_cast<float>(*static_cast<const f16*>(p));
    case bfloat16: return static_cast<float>(*static_cast<const bf16*>(p));
    case int32: return *static_cast<const int32_t*>(p);
    case int64: return *static_cast<const int64_t*>(p);
    case uint8: return *static_cast<const uint8_t*>(p);
    case boolean: return *static_cast<const bool*>(p);
  }
  return {};
}

std::string to_string(const Shape& shape) { return fmt::format("[{}]", fmt::join(shape.begin(), shape.end(), ", ")); }

std::string to_string(Device device) { return device.is_cpu() ? "cpu" : fmt::format("cuda:{}", device.index); }

}  // namespace gradus
