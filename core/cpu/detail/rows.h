// What the drivers of row kernels share. Rows are all dims but the last; loops exist for float32 and float64, and rows
// of 16-bit elements pass through float32 buffers a few at a time.
#pragma once

#include <algorithm>
#include <array>
#include <memory>
#include <type_traits>

#include <gradus/core/cpu/isa/functions.h>
#include <gradus/core/parallel.h>
#include <gradus/core/tensor.h>

namespace gradus::cpu {

/// The type in which elements of type S are computed.
template <class S>
using Compute = std::conditional_t<std::is_same_v<S, double>, double, float>;

/// Calls body.operator()<S>() with the element type of a floating dtype.
template <class Body>
void dispatch_floating(Dtype dtype, Body body) {
  switch (dtype) {
    case Dtype::float32: return body.template operator()<float>();
    case Dtype::float64: return body.template operator()<double>();
    case Dtype::float16: return body.template operator()<f16>();
    case Dtype::bfloat16: return body.template operator()<bf16>();
    default: gradus::detail::throw_wrong_dtype(float32, dtype);
  }
}

/// That of two tables of loops which computes in T.
template <class T, class Float, class Double>
const auto& loops_of(const Float& float_loops, const Double& double_loops) {
  if constexpr (std::is_same_v<T, double>)
    return double_loops;
  else
    return float_loops;
}

/// Elements that are worth a thread.
inline constexpr int64_t grain = 16384;

/// A tensor as `count` rows of n elements.
struct Rows {
  int64_t n, count;
  explicit Rows(const Tensor& x) : Rows(x, x.rank() ? x.shape().back() : 1) {}
  Rows(const Tensor& x, int64_t width) : n(width), count(n ? x.numel() / n : 0) {}
  /// As many rows as have `elements` elements, at least one.
  int64_t with(int64_t elements) const { return std::max<int64_t>(1, elements / std::max<int64_t>(1, n)); }
};

/// Calls body(out, in, first, count) for pieces of rows [begin, end), in order: `out` and each of the array `in` point
/// to `count` rows of Compute<S> that begin with row `first`. `out` is null when y is undefined.
template <class S, size_t inputs, class Body>
void map_rows_here(Rows rows, int64_t begin, int64_t end, Tensor& y, const Tensor* const (&x)[inputs], Body body) {
  using T = Compute<S>;
  const int64_t n = rows.n;
  S* const to = y.defined() ? y.mutable_data<S>() : nullptr;
  std::array<const T*, inputs> in;
  if constexpr (std::is_same_v<S, T>) {
    for (size_t i = 0; i < inputs; ++i) in[i] = x[i]->template data<S>() + begin * n;
    body(to ? to + begin * n : nullptr, in, begin, end - begin);
  } else {
    const auto widen = isa().convert_loop(dtype_of<S>, float32), narrow = isa().convert_loop(float32, dtype_of<S>);
    const int64_t block = rows.with(4096);
    const std::unique_ptr<float[]> buffer(new float[(inputs + 1) * static_cast<size_t>(block * n)]);
    for (int64_t first = begin; first < end; first += block) {
      const int64_t count = std::min(block, end - first);
      for (size_t i = 0; i < inputs; ++i) {
        float* const wide = buffer.get() + static_cast<int64_t>(i + 1) * block * n;
        widen(wide, x[i]->template data<S>() + first * n, count * n);
        in[i] = wide;
      }
      body(to ? buffer.get() : nullptr, in, first, count);
      if (to) narrow(to + first * n, buffer.get(), count * n);
    }
  }
}

/// The same for all rows, on any thread: for bodies that treat each row alone.
template <class S, size_t inputs, class Body>
void map_rows(Rows rows, Tensor& y, const Tensor* const (&x)[inputs], Body body) {
  parallel_for(0, rows.count, rows.with(grain),
               [&](int64_t begin, int64_t end) { map_rows_here<S>(rows, begin, end, y, x, body); });
}

/// A small tensor as Compute<S>, null when it is undefined.
template <class S>
class Widened {
 public:
  explicit Widened(const Tensor& x) {
    if (!x.defined()) return;
    data_ = static_cast<const Compute<S>*>(x.raw_data());
    if constexpr (!std::is_same_v<S, Compute<S>>) {
      copy_.reset(new float[static_cast<size_t>(x.numel())]);
      isa().convert_loop(dtype_of<S>, float32)(copy_.get(), x.data<S>(), x.numel());
      data_ = copy_.get();
    }
  }
  const Compute<S>* get() const { return data_; }
  Compute<S> at(int64_t i, Compute<S> absent) const { return data_ ? data_[i] : absent; }

 private:
  const Compute<S>* data_ = nullptr;
  std::unique_ptr<float[]> copy_;
};

}  // namespace gradus::cpu
