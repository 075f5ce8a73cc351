// oneDNN: whether it is used, and SGEMM. Linking it costs 1.5 ms of process start, so it is not loaded lazily.
#include <gradus/core/build_info.h>
#include <gradus/core/cpu/detail/onednn.h>

#include <cstdlib>
#include <string_view>

#include <gradus/core/error.h>

#ifdef GRADUS_HAVE_ONEDNN
#include <gradus/core/cpu/detail/onednn_call.h>
#endif

namespace gradus::cpu::onednn {

#ifdef GRADUS_HAVE_ONEDNN

bool enabled() {
  static const bool yes = [] {
    const char* text = std::getenv("GRADUS_ONEDNN");
    return !text || std::string_view(text) != "0";
  }();
  return yes;
}

void gemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, const float* a, int64_t lda,
          const float* b, int64_t ldb, float beta, float* c, int64_t ldc) {
  const OneThread one;
  const dnnl_status_t status =
      dnnl_sgemm(transpose_a ? 'T' : 'N', transpose_b ? 'T' : 'N', m, n, k, 1.0f, a, lda, b, ldb, beta, c, ldc);
  if (status != dnnl_success) throw_failed("gemm", status);
}

#else

bool enabled() { return false; }
void gemm(bool, bool, int64_t, int64_t, int64_t, const float*, int64_t, const float*, int64_t, float, float*, int64_t) {
  throw Error("gemm: Gradus was built without oneDNN");
}

#endif

}  // namespace gradus::cpu::onednn

namespace gradus {
bool uses_onednn() { return cpu::onednn::enabled(); }
}  // namespace gradus
