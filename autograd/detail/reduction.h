// The geometry of a reduction over any dims, and its way through the [outer, n, inner] kernels. Not the derivatives.
#pragma once

#include <array>

#include <gradus/autograd/ops.h>

namespace gradus::detail {

/// Which dims are reduced, and the shapes that come out.
struct ReducedDims {
  std::array<bool, max_rank> reduced = {};
  Shape dims;         ///< the same as a list
  Shape kept;         ///< x's shape with 1 for every reduced dim
  Shape out;          ///< `kept`, or the shape without the reduced dims
  int64_t count = 1;  ///< elements that become one
};

/// Checks the dims (IndexError when out of range, ValueError when one comes twice) for x.
ReducedDims plan_reduction(const char* op, const Tensor& x, const Dims& dims, bool keep);

/// What elements of a dtype are summed up in.
constexpr Dtype accumulator(Dtype dtype) { return itemsize(dtype) == 2 ? float32 : dtype; }

using ReduceKernel = void (*)(Device device, Tensor& y, const Tensor& x);
/// x reduced to plan.out in the given dtype. Sixteen bits are accumulated in float32 from the first dim to the last.
Tensor reduced(ReduceKernel kernel, const Tensor& x, const ReducedDims& plan, Dtype dtype);

/// The largest (or smallest) elements, unrecorded; ShapeError naming `op` when there is none.
Tensor extreme(const char* op, bool largest, const Tensor& x, const ReducedDims& plan);

/// A result's gradient, or the result itself, seen at x's shape.
inline Tensor spread(const Tensor& g, const Shape& kept, const Shape& shape) { return g.reshape(kept).expand(shape); }

}  // namespace gradus::detail
