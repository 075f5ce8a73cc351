// oneDNN behind plain pointers: nothing outside core/cpu/onednn*.cpp includes its headers. Every function here works on
// the calling thread alone; spreading work over threads is the caller's part. Without oneDNN, enabled() is false and
// nothing else may be called.
#pragma once

#include <cstdint>

namespace gradus::cpu::onednn {

/// Whether oneDNN was found at build time; GRADUS_ONEDNN=0 in the environment turns it off.
bool enabled();

/// c [m, n] = op(a) [m, k] op(b) [k, n] + beta c, row-major, op transposing when asked to.
void gemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, const float* a, int64_t lda,
          const float* b, int64_t ldb, float beta, float* c, int64_t ldc);

}  // namespace gradus::cpu::onednn
