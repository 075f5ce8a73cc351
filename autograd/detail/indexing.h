// What the ops that take indices share: the check of the indices, and additions into fresh zeros.
#pragma once

#include <gradus/autograd/ops.h>
#include <gradus/core/detail/check.h>
#include <gradus/core/kernels.h>

namespace gradus::detail {

/// The indices as dense int64, each known to lie in [low, size); IndexError names op, value, position and range.
/// `what` tells what they count: "the size of dim 1 of x [4, 5]".
Tensor checked_indices(const char* op, const char* argument, const Tensor& index, int64_t low, int64_t size,
                       Device device, const std::string& what);

/// Zeros of source's shape but n at dim, with source added at index [k]: the derivative of index_select.
Tensor index_add_to_zeros(const Tensor& source, int64_t dim, const Tensor& index, int64_t n);
/// Zeros of a shape with source added at index, which has source's shape: the derivative of gather, max, sort.
Tensor scatter_add_to_zeros(const Shape& shape, int64_t dim, const Tensor& index, const Tensor& source);

}  // namespace gradus::detail
