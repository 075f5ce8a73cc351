// The gemm slot by cuBLASLt, which reads memory by columns: our c = a b is c^T = b^T a^T there, and our b is its A.
#include <gradus/cuda/backend/gemm.h>

#include <cublasLt.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include <gradus/core/detail/check.h>
#include <gradus/core/detail/lru.h>
#include <gradus/core/detail/matrix.h>
#include <gradus/core/factories.h>
#include <gradus/core/kernels.h>
#include <gradus/cuda/backend/backend.h>
#include <gradus/cuda/backend/library.h>

namespace gradus::cuda {
namespace {

constexpr uint64_t most_workspace = 32 << 20;

// ---- errors
const char* words_for(cublasStatus_t status) {
  switch (status) {
    case CUBLAS_STATUS_NOT_INITIALIZED: return "it could not be initialised; look at the driver with gradus-doctor";
    case CUBLAS_STATUS_ALLOC_FAILED:
      return "it found no memory for itself; leave it some with a smaller batch or by releasing the allocator's cache";
    case CUBLAS_STATUS_INVALID_VALUE: return "it does not take these arguments";
    case CUBLAS_STATUS_ARCH_MISMATCH: return "the GPU lacks what the product needs";
    case CUBLAS_STATUS_EXECUTION_FAILED:
      return "its kernel failed, or an earlier op's did; run with GRADUS_SYNC=1 to learn which";
    case CUBLAS_STATUS_NOT_SUPPORTED: return "it has no kernel for these types, sizes or strides";
    default: return "an error inside of it";
  }
}

[[noreturn]] void fail_by(cublasStatus_t status, const char* call, const std::string& product) {
  const gradus::detail::Running running = gradus::detail::running();
  throw DeviceError(fmt::format("{} on {}: cuBLASLt {}: {} ({}) at {}{}", running.op, running.device,
                                blaslt_library().version, words_for(status), cublasLtGetStatusName(status),
                                std::string_view(call).substr(0, std::string_view(call).find('(')), product));
}
void check_blas(cublasStatus_t status, const char* call) {
  if (status != CUBLAS_STATUS_SUCCESS) [[unlikely]]
    fail_by(status, call, "");
}
#define GRADUS_BLASLT(call) check_blas(call, #call)

// ---- the library's objects
template <class Handle, cublasStatus_t (*destroy)(Handle*)>
struct Destroy {
  void operator()(Handle* handle) const { destroy(handle); }
};
template <class Handle, cublasStatus_t (*destroy)(Handle*)>
using Owned = std::unique_ptr<Handle, Destroy<Handle, destroy>>;
using Operation = Owned<cublasLtMatmulDescOpaque_t, cublasLtMatmulDescDestroy>;
using Layout = Owned<cublasLtMatrixLayoutOpaque_t, cublasLtMatrixLayoutDestroy>;
using Preference = Owned<cublasLtMatmulPreferenceOpaque_t, cublasLtMatmulPreferenceDestroy>;

// The library's handle for the selected device. It stays, as the device does.
cublasLtHandle_t handle_of(int device) {
  static std::mutex mutex;
  static auto& handles = *new std::map<int, cublasLtHandle_t>;
  const std::lock_guard lock(mutex);
  cublasLtHandle_t& handle = handles[device];
  if (!handle) {
    GRADUS_CHECK(blaslt_library(), DeviceError, "{} on cuda:{}: {}", gradus::detail::running().op, device,
                 blaslt_library().error);
    GRADUS_BLASLT(cublasLtCreate(&handle));
  }
  return handle;
}

// ---- a product and how it is computed
cudaDataType_t type_of(Dtype dtype) {
  switch (dtype) {
    case Dtype::float64: return CUDA_R_64F;
    case Dtype::float16: return CUDA_R_16F;
    case Dtype::bfloat16: return CUDA_R_16BF;
    default: return CUDA_R_32F;
  }
}

bool tf32_allowed() {
  static const bool value = [] {
    const char* text = std::getenv("GRADUS_TF32");
    return text && std::string_view(text) == "1";
  }();
  return value;
}
cublasComputeType_t compute_type(Dtype dtype) {
  if (dtype == Dtype::float64) return CUBLAS_COMPUTE_64F;
  return dtype == Dtype::float32 && tf32_allowed() ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F;
}

// The largest power of two that divides an address; 256 is the most that the library makes use of.
uint32_t alignment_of(const void* p) {
  const uint64_t address = reinterpret_cast<uintptr_t>(p) | 256;
  return static_cast<uint32_t>(address & -address);
}

// A batch of matrices: rows, or columns when transposed, are `leading` elements apart, whole matrices `step`.
struct Operand {
  int64_t transposed, leading, step, alignment;
  auto operator<=>(const Operand&) const = default;
  explicit Operand(const Tensor& x) : step(x.size(0) > 1 ? x.stride(0) : 0), alignment(alignment_of(x.raw_data())) {
    const gradus::detail::MatrixLayout layout = *gradus::detail::matrix_layout(x);
    transposed = layout.transposed;
    leading = layout.leading;
  }
};

// All that the choice of an algorithm depends on.
struct Product {
  int64_t device, batch, m, n, k, dtype, c_dtype;
  Operand a, b, c;
  int64_t bias_alignment;  // 0 without a bias
  auto operator<=>(const Product&) const = default;

  std::string text() const {
    return fmt::format(": [{}, {}, {}] x [{}, {}, {}], {}", batch, m, k, batch, k, n, static_cast<Dtype>(dtype));
  }
};

Operation operation_of(const Product& p, const void* bias) {
  const auto dtype = static_cast<Dtype>(p.dtype);
  cublasLtMatmulDesc_t made = nullptr;
  GRADUS_BLASLT(
      cublasLtMatmulDescCreate(&made, compute_type(dtype), dtype == Dtype::float64 ? CUDA_R_64F : CUDA_R_32F));
  Operation operation(made);
  const auto set = [made](cublasLtMatmulDescAttributes_t attribute, const auto& value) {
    GRADUS_BLASLT(cublasLtMatmulDescSetAttribute(made, attribute, &value, sizeof value));
  };
  set(CUBLASLT_MATMUL_DESC_TRANSA, int32_t{p.b.transposed ? CUBLAS_OP_T : CUBLAS_OP_N});
  set(CUBLASLT_MATMUL_DESC_TRANSB, int32_t{p.a.transposed ? CUBLAS_OP_T : CUBLAS_OP_N});
  if (bias) {
    set(CUBLASLT_MATMUL_DESC_EPILOGUE, uint32_t{CUBLASLT_EPILOGUE_BIAS});
    set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias);
  }
  return operation;
}

// A row-major matrix, or a column-major one when it is transposed, in the library's terms.
Layout layout_of(const Operand& x, int64_t dtype, int64_t batch, int64_t rows, int64_t columns) {
  if (!x.transposed) std::swap(rows, columns);
  cublasLtMatrixLayout_t made = nullptr;
  GRADUS_BLASLT(cublasLtMatrixLayoutCreate(&made, type_of(static_cast<Dtype>(dtype)), static_cast<uint64_t>(rows),
                                           static_cast<uint64_t>(columns), x.leading));
  Layout layout(made);
  const auto count = static_cast<int32_t>(batch);
  GRADUS_BLASLT(cublasLtMatrixLayoutSetAttribute(made, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &count, sizeof count));
  GRADUS_BLASLT(
      cublasLtMatrixLayoutSetAttribute(made, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &x.step, sizeof x.step));
  return layout;
}

Preference preference_of(const Product& p) {
  cublasLtMatmulPreference_t made = nullptr;
  GRADUS_BLASLT(cublasLtMatmulPreferenceCreate(&made));
  Preference preference(made);
  const auto set = [made](cublasLtMatmulPreferenceAttributes_t attribute, const auto& value) {
    GRADUS_BLASLT(cublasLtMatmulPreferenceSetAttribute(made, attribute, &value, sizeof value));
  };
  set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, most_workspace);
  // A long k may be cut; its parts are added in one order, unrounded.
  set(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, uint32_t{CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE});
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, static_cast<uint32_t>(p.b.alignment));
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, static_cast<uint32_t>(p.a.alignment));
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, static_cast<uint32_t>(p.c.alignment));
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, static_cast<uint32_t>(p.c.alignment));
  return preference;
}

// What stays the same between calls.
struct Plan {
  Layout a, b, c;
  bool found = false;  // whether the library has a way to compute it
  cublasLtMatmulAlgo_t algorithm{};
  size_t workspace_bytes = 0;

  Plan(const Product& p, cublasLtMatmulDesc_t operation)
      : a(layout_of(p.a, p.dtype, p.batch, p.m, p.k)),
        b(layout_of(p.b, p.dtype, p.batch, p.k, p.n)),
        c(layout_of(p.c, p.c_dtype, p.batch, p.m, p.n)) {
    cublasLtMatmulHeuristicResult_t best{};
    int count = 0;
    const Preference preference = preference_of(p);
    const cublasStatus_t status =
        cublasLtMatmulAlgoGetHeuristic(handle_of(static_cast<int>(p.device)), operation, b.get(), a.get(), c.get(),
                                       c.get(), preference.get(), 1, &best, &count);
    if (status != CUBLAS_STATUS_SUCCESS && status != CUBLAS_STATUS_NOT_SUPPORTED)
      fail_by(status, "cublasLtMatmulAlgoGetHeuristic", p.text());
    found = status == CUBLAS_STATUS_SUCCESS && count > 0;
    algorithm = best.algo;
    workspace_bytes = best.workspaceSize;
  }
};

// False when the library cannot add the bias in passing: then it is for the caller to put it into c before.
bool run(const Product& p, void* c, const void* a, const void* b, const void* bias, bool accumulate) {
  static auto& plans = *new gradus::detail::LruCache<Product, Plan>(1024);
  const int device = static_cast<int>(p.device);
  const cublasLtHandle_t handle = handle_of(device);
  const Operation operation = operation_of(p, bias);
  const std::shared_ptr<const Plan> plan =
      plans.get(p, [&] { return std::make_shared<const Plan>(p, operation.get()); });
  if (!plan->found && bias) return false;
  if (!plan->found) fail_by(CUBLAS_STATUS_NOT_SUPPORTED, "cublasLtMatmulAlgoGetHeuristic", p.text());
  Tensor workspace;  // freed at once: what the allocator gives out next in this stream runs later
  if (plan->workspace_bytes > 0)
    workspace = empty({static_cast<int64_t>(plan->workspace_bytes)}, {.dtype = uint8, .device = Device::cuda(device)});
  const bool is_double = static_cast<Dtype>(p.dtype) == Dtype::float64;
  const float one = 1, beta = accumulate ? 1 : 0;
  const double double_one = one, double_beta = beta;
  const cublasStatus_t status = cublasLtMatmul(
      handle, operation.get(), is_double ? static_cast<const void*>(&double_one) : &one, b, plan->b.get(), a,
      plan->a.get(), is_double ? static_cast<const void*>(&double_beta) : &beta, c, plan->c.get(), c, plan->c.get(),
      &plan->algorithm, workspace.defined() ? const_cast<void*>(workspace.raw_data()) : nullptr, plan->workspace_bytes,
      stream_of(device));
  CudaBackend::get().launched("cublasLtMatmul", cudaGetLastError());
  if (status != CUBLAS_STATUS_SUCCESS) fail_by(status, "cublasLtMatmul", p.text());
  return true;
}

// The bias as each row of c.
Tensor as_rows(const Tensor& bias, const Tensor& c) {
  return as_strided(bias, c.shape(), {0, 0, 1}, bias.impl().offset);
}

[[maybe_unused]] const bool filled = kernels::gemm.set(DeviceType::cuda, gemm);

}  // namespace

void gemm(Tensor& c, const Tensor& a, const Tensor& b, const Tensor& bias, bool accumulate) {
  if (c.numel() == 0) return;
  const int64_t k = a.size(2);
  // The library adds no bias to float64, and multiplies nothing that is empty.
  const bool begins_with_bias = bias.defined() && (c.dtype() == float64 || k == 0);
  if (begins_with_bias)
    kernels::copy(c.device(), c, as_rows(bias, c));
  else if (k == 0 && !accumulate)
    kernels::fill(c.device(), c, 0);
  if (k == 0) return;

  const void* const fused_bias = bias.defined() && !begins_with_bias ? bias.raw_data() : nullptr;
  constexpr int64_t most_matrices = 65535;  // of one call: the third size of a grid
  for (int64_t first = 0; first < c.size(0); first += most_matrices) {
    const int64_t batch = std::min(most_matrices, c.size(0) - first);
    const auto part = [&](const Tensor& x) {
      if (x.size(0) == batch) return x;
      return as_strided(x, {batch, x.size(1), x.size(2)}, x.strides(), x.impl().offset + first * x.stride(0));
    };
    const Tensor part_a = part(a), part_b = part(b);
    Tensor part_c = part(c);
    Product product{c.device().index,
                    batch,
                    c.size(1),
                    c.size(2),
                    k,
                    static_cast<int64_t>(a.dtype()),
                    static_cast<int64_t>(c.dtype()),
                    Operand(part_a),
                    Operand(part_b),
                    Operand(part_c),
                    fused_bias ? alignment_of(fused_bias) : 0};
    void* const to = const_cast<void*>(part_c.raw_data());
    if (run(product, to, part_a.raw_data(), part_b.raw_data(), fused_bias, accumulate || begins_with_bias)) continue;
    kernels::copy(c.device(), part_c, as_rows(bias, part_c));
    product.bias_alignment = 0;
    run(product, to, part_a.raw_data(), part_b.raw_data(), nullptr, true);
  }
}

void gemm_2d_batch(Tensor& c, const Tensor& a, const Tensor& b, bool accumulate) {
  const auto is_one_batch = [](const Tensor& x) { return x.stride(0) == x.size(1) * x.stride(1); };
  const bool merge = is_one_batch(c) && is_one_batch(a) && is_one_batch(b);
  const int inner = c.size(0) > c.size(1) ? 0 : 1, outer = 1 - inner;
  for (int64_t i = 0; i < (merge ? 1 : c.size(outer)); ++i) {
    const auto part = [&](const Tensor& x) {
      return as_strided(x, {merge ? x.size(0) * x.size(1) : x.size(inner), x.size(2), x.size(3)},
                        {x.stride(merge ? 1 : inner), x.stride(2), x.stride(3)}, x.impl().offset + i * x.stride(outer));
    };
    Tensor part_c = part(c);
    gemm(part_c, part(a), part(b), {}, accumulate);
  }
}

}  // namespace gradus::cuda
