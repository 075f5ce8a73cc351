// Matrix products on the calling thread, for the kernels that are made of them.
#pragma once

#include <cstdint>

namespace gradus::cpu {

/// op(data): a row-major matrix with `leading` elements from row to row, or its transpose.
template <class T>
struct Operand {
  const T* data;
  bool transposed;
  int64_t leading;
};

/// c [m, n] = a [m, k] b [k, n], plus c where `accumulate`, or else plus bias [n] where there is one; c is row-major.
/// For float and double.
template <class T>
void gemm(int64_t m, int64_t n, int64_t k, Operand<T> a, Operand<T> b, bool accumulate, T* c, int64_t ldc,
          const T* bias = nullptr);

}  // namespace gradus::cpu
