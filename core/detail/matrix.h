// The last two dims of a tensor as a BLAS sees them. Ops ask it whether a copy is needed, kernels how to read.
#pragma once

#include <algorithm>
#include <optional>

#include <gradus/core/tensor.h>

namespace gradus::detail {

/// Rows lie one after another `leading` elements apart; when `transposed`, columns do.
struct MatrixLayout {
  bool transposed;
  int64_t leading;
};

/// Empty when neither dim has unit stride, or when rows overlap (an expanded dim): x must then be copied.
inline std::optional<MatrixLayout> matrix_layout(const Tensor& x) {
  const int64_t rows = x.size(-2), columns = x.size(-1), row_stride = x.stride(-2), column_stride = x.stride(-1);
  // The stride of a dim of size 1 is never used: it fits either way.
  const auto fits = [](int64_t outer, int64_t outer_stride, int64_t inner, int64_t inner_stride) {
    return (inner <= 1 || inner_stride == 1) && (outer <= 1 || outer_stride >= std::max<int64_t>(inner, 1));
  };
  if (fits(rows, row_stride, columns, column_stride))
    return MatrixLayout{false, rows <= 1 ? std::max<int64_t>(columns, 1) : row_stride};
  if (fits(columns, column_stride, rows, row_stride))
    return MatrixLayout{true, columns <= 1 ? std::max<int64_t>(rows, 1) : column_stride};
  return {};
}

}  // namespace gradus::detail
