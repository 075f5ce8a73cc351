// The tensor: an 8-byte handle to shape, strides, dtype and a shared storage. A copy of the handle is the same tensor.
// Methods describe or move; computing functions are free (autograd/ops.h). The methods under «recorded by autograd» are
// declared here and defined in autograd/, the one exception to the order of the folders.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include <gradus/core/device.h>
#include <gradus/core/dtype.h>
#include <gradus/core/error.h>
#include <gradus/core/ref.h>
#include <gradus/core/scalar.h>
#include <gradus/core/shape.h>
#include <gradus/core/storage.h>

namespace gradus {

class Tensor;

/// What every copy of a handle shares. Sizes and strides are in elements.
class GRADUS_API TensorImpl final : public RefCounted {
 public:
  TensorImpl(Ref<Storage> storage, int64_t offset, const Shape& shape, const Shape& strides, Dtype dtype);
  /// A contiguous tensor.
  TensorImpl(Ref<Storage> storage, int64_t offset, const Shape& shape, int64_t numel, Dtype dtype);
  ~TensorImpl() override;

  Ref<Storage> storage;
  Ref<RefCounted> node;  ///< autograd's: who computed this tensor, or where a leaf gathers its gradient
  int64_t offset = 0;
  int64_t numel;
  Shape shape, strides;
  Dtype dtype;
  Device device;
  bool contiguous;
  bool requires_grad = false;
  bool is_leaf = true;

  static void* operator new(size_t bytes) { return small_allocate(bytes); }
  static void operator delete(void* p, size_t bytes) { small_free(p, bytes); }
};

namespace detail {
[[noreturn]] GRADUS_API void throw_undefined(const char* what);
[[noreturn]] GRADUS_API void throw_wrong_dtype(Dtype want, Dtype have);
[[noreturn]] GRADUS_API void throw_not_on_host(Device device);
GRADUS_API int64_t wrap_size_dim(int64_t dim, int rank);
}  // namespace detail

class GRADUS_API Tensor {
 public:
  /// An undefined tensor: every use of it throws.
  Tensor() = default;
  explicit Tensor(Ref<TensorImpl> impl) : impl_(std::move(impl)) {}

  bool defined() const { return static_cast<bool>(impl_); }
  explicit operator bool() const = delete;
  TensorImpl& impl() const {
    if (!impl_) [[unlikely]]
      detail::throw_undefined("tensor");
    return *impl_;
  }
  const Ref<TensorImpl>& handle() const { return impl_; }
  /// Whether both handles are the same tensor.
  bool is(const Tensor& other) const { return impl_ == other.impl_; }

  // ---- what it is
  const Shape& shape() const { return impl().shape; }
  const Shape& strides() const { return impl().strides; }
  int64_t size(int64_t dim) const { return impl().shape[detail::wrap_size_dim(dim, impl().shape.rank())]; }
  int64_t stride(int64_t dim) const { return impl().strides[detail::wrap_size_dim(dim, impl().shape.rank())]; }
  int rank() const { return impl().shape.rank(); }
  int64_t numel() const { return impl().numel; }
  Dtype dtype() const { return impl().dtype; }
  Device device() const { return impl().device; }
  bool is_contiguous() const { return impl().contiguous; }
  int64_t nbytes() const { return impl().numel * itemsize(impl().dtype); }
  uint32_t version() const { return impl().storage->version(); }

  // ---- elements, on the host; strides apply
  /// Throws DtypeError for another dtype, and DeviceError for a tensor of another device: its raw_data() is an address
  /// there.
  template <class T>
  const T* data() const {
    if (impl().dtype != dtype_of<T>) [[unlikely]]
      detail::throw_wrong_dtype(dtype_of<T>, impl().dtype);
    if (!impl().device.is_cpu()) [[unlikely]]
      detail::throw_not_on_host(impl().device);
    return static_cast<const T*>(impl().storage->data()) + impl().offset;
  }
  /// As data(), and tells autograd that the values change.
  template <class T>
  T* mutable_data() const {
    impl().storage->bump_version();
    return const_cast<T*>(data<T>());
  }
  const void* raw_data() const {
    return static_cast<const char*>(impl().storage->data()) + impl().offset * itemsize(impl().dtype);
  }
  void* mutable_raw_data() const {
    impl().storage->bump_version();
    return const_cast<void*>(raw_data());
  }
  /// The value of a tensor with one element. Waits for the device. Throws ShapeError for any other count.
  template <class T>
  T item() const {
    return item_scalar().to<T>();
  }
  Scalar item_scalar() const;

  // ---- autograd
  bool requires_grad() const { return impl().requires_grad; }
  bool is_leaf() const { return impl().is_leaf; }
  /// Makes a leaf of floating dtype gather a gradient (or stop to). Returns this tensor.
  const Tensor& requires_grad_(bool value = true) const;
  /// The gradient that backward() left; undefined when there is none.
  Tensor grad() const;
  void set_grad(const Tensor& grad) const;
  /// Same storage, no history.
  Tensor detach() const;
  /// Differentiates this tensor (one element, or with `gradient` of its shape) with respect to every leaf behind it.
  /// Frees what was saved unless retain_graph. create_graph records the derivative too.
  void backward() const;
  void backward(const Tensor& gradient, bool retain_graph = false, bool create_graph = false) const;

  // ---- recorded by autograd: views (shared storage) and copies
  Tensor to(Dtype dtype) const;  ///< floats beyond an integer's range become its nearest value, NaN becomes 0
  Tensor to(Device device) const;
  Tensor to(Device device, Dtype dtype) const;
  Tensor contiguous() const;
  Tensor clone() const;
  Tensor view(const Shape& shape) const;     ///< one size may be -1; throws when the strides do not allow it
  Tensor reshape(const Shape& shape) const;  ///< view() where possible, else a copy
  Tensor flatten(int64_t start_dim = 0, int64_t end_dim = -1) const;
  Tensor transpose(int64_t dim0, int64_t dim1) const;
  Tensor t() const;  ///< transpose of a matrix
  Tensor permute(const Shape& dims) const;
  Tensor squeeze() const;
  Tensor squeeze(int64_t dim) const;
  Tensor unsqueeze(int64_t dim) const;
  Tensor expand(const Shape& shape) const;  ///< -1 keeps a size
  Tensor slice(int64_t dim, std::optional<int64_t> start, std::optional<int64_t> end = {}, int64_t step = 1) const;
  Tensor narrow(int64_t dim, int64_t start, int64_t length) const;
  Tensor select(int64_t dim, int64_t index) const;
  Tensor operator[](int64_t index) const { return select(0, index); }
  Tensor operator[](const Tensor& mask_or_indices) const;

  // ---- in place: refused while a graph that needs the old values is being recorded (hint: NoGrad, or x = x + y)
  const Tensor& copy_(const Tensor& source) const;
  const Tensor& fill_(Scalar value) const;
  const Tensor& zero_() const;
  const Tensor& add_(const Tensor& other, Scalar alpha = 1) const;
  const Tensor& add_(Scalar value) const;
  const Tensor& mul_(const Tensor& other) const;
  const Tensor& mul_(Scalar value) const;

 private:
  Ref<TensorImpl> impl_;
};

inline const Tensor& operator+=(const Tensor& x, const Tensor& y) { return x.add_(y); }
inline const Tensor& operator+=(const Tensor& x, Scalar y) { return x.add_(y); }
inline const Tensor& operator-=(const Tensor& x, const Tensor& y) { return x.add_(y, -1); }
inline const Tensor& operator*=(const Tensor& x, const Tensor& y) { return x.mul_(y); }
inline const Tensor& operator*=(const Tensor& x, Scalar y) { return x.mul_(y); }

/// dim in [-rank, rank) made non-negative; rank 0 counts as rank 1. Throws IndexError naming `op`.
GRADUS_API int64_t wrap_dim(const char* op, int64_t dim, int rank);
/// Row-major strides of a shape.
GRADUS_API Shape contiguous_strides(const Shape& shape);
/// The shape that NumPy's broadcasting rule gives; throws ShapeError naming `op`.
GRADUS_API Shape broadcast_shapes(const char* op, const Shape& a, const Shape& b);

// ---- unrecorded building blocks for ops and kernels
/// Another window on the same storage; checks that it lies inside. No history.
GRADUS_API Tensor as_strided(const Tensor& x, const Shape& shape, const Shape& strides, int64_t offset);
/// The tensor itself when contiguous, else a contiguous copy. No history: for the data that a kernel reads.
GRADUS_API Tensor dense(const Tensor& x);
/// A contiguous tensor seen with another shape of the same numel. No history.
GRADUS_API Tensor reshaped(const Tensor& x, const Shape& shape);

}  // namespace gradus
