// oneDNN: whether it is used, one OpenMP thread for each call, and SGEMM. Linking it costs 1.5 ms of process start, so
// it is not loaded lazily.
#include <gradus/core/cpu/onednn.h>

#ifdef GRADUS_HAVE_ONEDNN
#include <oneapi/dnnl/dnnl.h>
#endif

#include <cstdlib>
#include <string_view>

#include <gradus/core/detail/check.h>

#ifdef GRADUS_HAVE_ONEDNN
// The OpenMP that oneDNN itself runs on, whichever it is; absent when it was built for another threading library.
extern "C" [[gnu::weak]] void omp_set_num_threads(int);
extern "C" [[gnu::weak]] int omp_get_max_threads();
#endif

namespace gradus::cpu::onednn {

#ifdef GRADUS_HAVE_ONEDNN
namespace {

// oneDNN's own threads would compete with our pool and make results depend on their number: one of them, for the
// length of a call. The caller's setting is put back, as it may use OpenMP itself.
class OneThread {
 public:
  OneThread() {
    if (!omp_set_num_threads || !omp_get_max_threads) return;
    before_ = omp_get_max_threads();
    if (before_ != 1) omp_set_num_threads(1);
  }
  OneThread(const OneThread&) = delete;
  OneThread& operator=(const OneThread&) = delete;
  ~OneThread() {
    if (before_ != 1) omp_set_num_threads(before_);
  }

 private:
  int before_ = 1;
};

void check(dnnl_status_t status, const char* call) {
  GRADUS_CHECK(status == dnnl_success, Error, "{}: oneDNN failed with status {}; GRADUS_ONEDNN=0 does without it", call,
               static_cast<int>(status));
}

}  // namespace

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
  check(dnnl_sgemm(transpose_a ? 'T' : 'N', transpose_b ? 'T' : 'N', m, n, k, 1.0f, a, lda, b, ldb, beta, c, ldc),
        "gemm");
}

#else

bool enabled() { return false; }
void gemm(bool, bool, int64_t, int64_t, int64_t, const float*, int64_t, const float*, int64_t, float, float*, int64_t) {
  throw Error("gemm: Gradus was built without oneDNN");
}

#endif

}  // namespace gradus::cpu::onednn
