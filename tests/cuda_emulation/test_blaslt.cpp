// The stand-in of cuBLASLt against plain loops: shapes, orders, types and epilogues; what it refuses; and that a
// product is an operation of its stream.
#include <cmath>
#include <vector>

#include "blaslt_objects.h"
#include "catch.h"
#include "seed.h"

using namespace blaslt_test;
using gradus::emulation::Seed;

namespace {

// D (m x n) = A (m x k) B (k x n), column-major and without gaps, in float: what most tests start from.
struct Plain {
  static constexpr uint64_t m = 16, n = 5, k = 7;
  Handle handle;
  Values a = random_values(m * k, 1), b = random_values(k * n, 2), c = random_values(m * n, 3);
  Array a_array{CUDA_R_32F, a}, b_array{CUDA_R_32F, b}, d_array{CUDA_R_32F, c};
  Layout a_layout{CUDA_R_32F, m, k, m}, b_layout{CUDA_R_32F, k, n, k}, d_layout{CUDA_R_32F, m, n, m};
  Description description{CUBLAS_COMPUTE_32F, CUDA_R_32F};
  float alpha = 1, beta = 0;
  cudaStream_t stream = nullptr;

  cublasStatus_t run(const cublasLtMatmulAlgo_t* algo = nullptr, void* workspace = nullptr, size_t bytes = 0) {
    return run_on(a_array.p, d_array.p, algo, workspace, bytes);
  }
  cublasStatus_t run_on(const void* a_p, void* d_p, const cublasLtMatmulAlgo_t* algo = nullptr,
                        void* workspace = nullptr, size_t bytes = 0) {
    return cublasLtMatmul(handle.h, description.h, &alpha, a_p, a_layout.h, b_array.p, b_layout.h, &beta, d_p,
                          d_layout.h, d_p, d_layout.h, algo, workspace, bytes, stream);
  }
  // What comes before the epilogue, column-major.
  Values product() const {
    Values x(m * n);
    for (uint64_t i = 0; i < m; ++i)
      for (uint64_t j = 0; j < n; ++j) {
        for (uint64_t p = 0; p < k; ++p) x[i + j * m] += a[i + p * m] * b[p + j * k];
        x[i + j * m] = alpha * x[i + j * m] + beta * c[i + j * m];
      }
    return x;
  }
};

double gelu(double x) { return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x))); }
double gelu_slope(double x) { return (gelu(x + 1e-5) - gelu(x - 1e-5)) / 2e-5; }

void check_close(const Values& got, const Values& wanted) {
  REQUIRE(got.size() == wanted.size());
  for (size_t i = 0; i < got.size(); ++i) CHECK(got[i] == Approx(wanted[i]).margin(1e-5).epsilon(1e-5));
}

constexpr cublasStatus_t ok = CUBLAS_STATUS_SUCCESS, invalid = CUBLAS_STATUS_INVALID_VALUE,
                         unsupported = CUBLAS_STATUS_NOT_SUPPORTED;

}  // namespace

TEST_CASE("products of every type, order, transposition and batch agree with a plain loop") {
  struct Types {
    cublasComputeType_t compute;
    cudaDataType_t scale, in, out;
  };
  const auto types = GENERATE(Types{CUBLAS_COMPUTE_32F, CUDA_R_32F, CUDA_R_32F, CUDA_R_32F},
                              Types{CUBLAS_COMPUTE_32F_PEDANTIC, CUDA_R_32F, CUDA_R_32F, CUDA_R_32F},
                              Types{CUBLAS_COMPUTE_32F_FAST_TF32, CUDA_R_32F, CUDA_R_32F, CUDA_R_32F},
                              Types{CUBLAS_COMPUTE_32F, CUDA_R_32F, CUDA_R_16BF, CUDA_R_16BF},
                              Types{CUBLAS_COMPUTE_32F, CUDA_R_32F, CUDA_R_16BF, CUDA_R_32F},
                              Types{CUBLAS_COMPUTE_32F, CUDA_R_32F, CUDA_R_16F, CUDA_R_16F},
                              Types{CUBLAS_COMPUTE_32F, CUDA_R_32F, CUDA_R_16F, CUDA_R_32F},
                              Types{CUBLAS_COMPUTE_64F, CUDA_R_64F, CUDA_R_64F, CUDA_R_64F});
  const Handle handle;
  constexpr uint64_t m = 6, n = 11, k = 9;
  constexpr int32_t batch = 3;
  for (int ways = 0; ways < 32; ++ways) {
    const bool ta = ways & 1, tb = ways & 2, a_rows = ways & 4, b_rows = ways & 8, d_rows = ways & 16;
    // Each matrix has a gap of 2 behind its lines, and one of 5 behind itself.
    struct Side {
      Side(cudaDataType_t type, uint64_t r, uint64_t c, bool by_rows, uint64_t seed)
          : rows_first(by_rows),
            ld(static_cast<int64_t>((by_rows ? c : r) + 2)),
            stride(ld * static_cast<int64_t>(by_rows ? r : c) + 5),
            values(random_values(static_cast<size_t>(stride * batch), seed)),
            array(type, values),
            layout(type, r, c, ld) {
        layout.set(CUBLASLT_MATRIX_LAYOUT_ORDER, int32_t(by_rows ? CUBLASLT_ORDER_ROW : CUBLASLT_ORDER_COL));
        layout.batch(batch, stride);
      }
      size_t at(int z, uint64_t i, uint64_t j) const {
        return static_cast<size_t>(z * stride + static_cast<int64_t>(rows_first ? j : i) +
                                   static_cast<int64_t>(rows_first ? i : j) * ld);
      }
      bool rows_first;
      int64_t ld, stride;
      Values values;
      Array array;
      Layout layout;
    };
    const Side a(types.in, ta ? k : m, ta ? m : k, a_rows, 1), b(types.in, tb ? n : k, tb ? k : n, b_rows, 2);
    const Side c(types.out, m, n, d_rows, 3), d(types.out, m, n, d_rows, 4);
    Description description(types.compute, types.scale);
    description.set(CUBLASLT_MATMUL_DESC_TRANSA, int32_t(ta ? CUBLAS_OP_T : CUBLAS_OP_N));
    description.set(CUBLASLT_MATMUL_DESC_TRANSB, int32_t(tb ? CUBLAS_OP_T : CUBLAS_OP_N));
    const double alpha64 = 1.5, beta64 = -0.5;
    const float alpha32 = 1.5f, beta32 = -0.5f;
    const bool wide = types.scale == CUDA_R_64F;
    REQUIRE(cublasLtMatmul(handle.h, description.h, wide ? static_cast<const void*>(&alpha64) : &alpha32, a.array.p,
                           a.layout.h, b.array.p, b.layout.h, wide ? static_cast<const void*>(&beta64) : &beta32,
                           c.array.p, c.layout.h, d.array.p, d.layout.h, nullptr, nullptr, 0, nullptr) == ok);
    Values wanted = d.values;  // the gaps stay
    for (int z = 0; z < batch; ++z)
      for (uint64_t i = 0; i < m; ++i)
        for (uint64_t j = 0; j < n; ++j) {
          double sum = 0;
          for (uint64_t p = 0; p < k; ++p)
            sum += a.values[ta ? a.at(z, p, i) : a.at(z, i, p)] * b.values[tb ? b.at(z, j, p) : b.at(z, p, j)];
          wanted[d.at(z, i, j)] = rounded(1.5 * sum - 0.5 * c.values[c.at(z, i, j)], types.out);
        }
    CHECK(d.array.values() == wanted);
  }
}

TEST_CASE("without beta C is not read, and TF32 keeps ten bits") {
  Plain x;
  const Array fresh(CUDA_R_32F, Plain::m * Plain::n);  // NaN
  CHECK(x.run_on(x.a_array.p, fresh.p) == ok);
  CHECK(fresh.values() == x.product());

  const double fine = 1 + 3 * std::ldexp(1.0, -12);  // nearer to 1 + 4 * 2^-12 than to 1
  const Array a(CUDA_R_32F, Values(x.a.size(), fine)), b(CUDA_R_32F, Values(x.b.size(), 1));
  for (const auto compute : {CUBLAS_COMPUTE_32F, CUBLAS_COMPUTE_32F_FAST_TF32}) {
    x.description.set(CUBLASLT_MATMUL_DESC_COMPUTE_TYPE, int32_t(compute));
    CHECK(cublasLtMatmul(x.handle.h, x.description.h, &x.alpha, a.p, x.a_layout.h, b.p, x.b_layout.h, &x.beta, fresh.p,
                         x.d_layout.h, fresh.p, x.d_layout.h, nullptr, nullptr, 0, nullptr) == ok);
    CHECK(fresh.values()[0] == (compute == CUBLAS_COMPUTE_32F ? 7 * fine : 7 * (1 + std::ldexp(1.0, -10))));
  }
}

TEST_CASE("forward epilogues: bias, ReLU and GELU, and what they keep for the backward pass") {
  Plain x;
  x.alpha = 0.5f, x.beta = 1;
  const bool with_bias = GENERATE(false, true), aux = GENERATE(false, true);
  const bool is_gelu = GENERATE(false, true);
  const Values bias = random_values(Plain::m, 5);
  const Array bias_array(CUDA_R_32F, bias);
  const int64_t aux_ld = is_gelu ? 24 : 128;
  const Array aux_array(CUDA_R_32F, Values(static_cast<size_t>(aux_ld) * Plain::n, 0));
  const int code = (is_gelu ? 32 : 2) | (with_bias ? 4 : 0) | (aux ? 128 : 0);
  x.description.epilogue(static_cast<cublasLtEpilogue_t>(code))
      .set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias_array.p)
      .set(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, aux_array.p)
      .set(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, aux_ld);
  REQUIRE(x.run() == ok);
  Values wanted = x.product(), kept(aux_array.size, 0);
  std::vector<unsigned char> mask(aux_array.size * 4);
  for (size_t j = 0; j < Plain::n; ++j)
    for (size_t i = 0; i < Plain::m; ++i) {
      double& value = wanted[i + j * Plain::m];
      if (with_bias) value += bias[i];
      kept[i + j * 24] = value;
      if (const size_t bit = i + j * 128; value > 0) mask[bit / 8] |= static_cast<unsigned char>(1 << bit % 8);
      value = is_gelu ? gelu(value) : std::max(value, 0.0);
    }
  check_close(x.d_array.values(), wanted);
  if (!aux) return;
  if (is_gelu) {
    CHECK(aux_array.values() == kept);
    return;
  }
  std::vector<unsigned char> bits(mask.size());
  REQUIRE(cudaMemcpy(bits.data(), aux_array.p, bits.size(), cudaMemcpyDeviceToHost) == cudaSuccess);
  CHECK(bits == mask);
}

TEST_CASE("backward epilogues: the slope of ReLU and GELU, and the gradient of the bias") {
  Plain x;
  const bool is_gelu = GENERATE(false, true), with_bias = GENERATE(false, true);
  const Array bias_gradient(CUDA_R_32F, Plain::m);
  const int64_t aux_ld = is_gelu ? 16 : 128;
  const Values input = random_values(Plain::m * Plain::n, 6);
  Values kept(static_cast<size_t>(aux_ld) * Plain::n, 0);
  if (is_gelu) std::copy(input.begin(), input.end(), kept.begin());
  const Array aux(CUDA_R_32F, kept);
  if (!is_gelu) {
    std::vector<unsigned char> mask(aux.size * 4);
    for (size_t j = 0; j < Plain::n; ++j)
      for (size_t i = 0; i < Plain::m; ++i)
        if (const size_t bit = i + j * 128; input[i + j * Plain::m] > 0)
          mask[bit / 8] |= static_cast<unsigned char>(1 << bit % 8);
    REQUIRE(cudaMemcpy(aux.p, mask.data(), mask.size(), cudaMemcpyHostToDevice) == cudaSuccess);
  }
  const int code = (is_gelu ? 64 : 8) | 128 | (with_bias ? 16 : 0);
  x.description.epilogue(static_cast<cublasLtEpilogue_t>(code))
      .set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias_gradient.p)
      .set(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, aux.p)
      .set(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, aux_ld);
  REQUIRE(x.run() == ok);
  Values wanted = x.product(), sums(Plain::m, 0);
  for (size_t i = 0; i < wanted.size(); ++i) {
    wanted[i] *= is_gelu ? gelu_slope(input[i]) : input[i] > 0;
    sums[i % Plain::m] += wanted[i];
  }
  check_close(x.d_array.values(), wanted);
  if (with_bias) check_close(bias_gradient.values(), sums);
}

TEST_CASE("the sums of A and of B over k") {
  Plain x;
  const Array a_sum(CUDA_R_32F, Plain::m), b_sum(CUDA_R_32F, Plain::n);
  x.description.epilogue(CUBLASLT_EPILOGUE_BGRADA).set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, a_sum.p);
  CHECK(x.run() == ok);
  x.description.epilogue(CUBLASLT_EPILOGUE_BGRADB).set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, b_sum.p);
  CHECK(x.run() == ok);
  Values a_wanted(Plain::m), b_wanted(Plain::n);
  for (size_t i = 0; i < x.a.size(); ++i) a_wanted[i % Plain::m] += x.a[i];
  for (size_t i = 0; i < x.b.size(); ++i) b_wanted[i / Plain::k] += x.b[i];
  CHECK(a_sum.values() == a_wanted);
  CHECK(b_sum.values() == b_wanted);
  CHECK(x.d_array.values() == x.product());
}

TEST_CASE("a product runs when its turn comes, and a missing event shows") {
  int wrong = 0;
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const Seed order(seed);
    for (const bool waits : {true, false}) {
      Plain x;
      REQUIRE(cudaDeviceSynchronize() == cudaSuccess);
      cudaStream_t other = nullptr;
      cudaEvent_t event = nullptr;
      REQUIRE(cudaStreamCreateWithFlags(&x.stream, cudaStreamNonBlocking) == cudaSuccess);
      REQUIRE(cudaStreamCreateWithFlags(&other, cudaStreamNonBlocking) == cudaSuccess);
      REQUIRE(cudaEventCreateWithFlags(&event, cudaEventDisableTiming) == cudaSuccess);
      REQUIRE(cudaMemsetAsync(x.a_array.p, 0, x.a.size() * 4, other) == cudaSuccess);
      REQUIRE(cudaEventRecord(event, other) == cudaSuccess);
      if (waits) REQUIRE(cudaStreamWaitEvent(x.stream, event, 0) == cudaSuccess);
      CHECK(x.run() == ok);
      x.alpha = 100;  // it has been read
      REQUIRE(cudaDeviceSynchronize() == cudaSuccess);
      const Values got = x.d_array.values();
      if (waits) CHECK(got == Values(got.size(), 0));
      wrong += got != Values(got.size(), 0);
      cudaEventDestroy(event);
      cudaStreamDestroy(other);
      cudaStreamDestroy(x.stream);
    }
  }
  CHECK(wrong > 0);
}

TEST_CASE("a heuristic's algorithm is held to what was promised") {
  Plain x;
  cublasLtMatmulPreference_t preference = nullptr;
  REQUIRE(cublasLtMatmulPreferenceCreate(&preference) == ok);
  const auto ask = [&](int wanted, cublasLtMatmulHeuristicResult_t* results, int* count) {
    return cublasLtMatmulAlgoGetHeuristic(x.handle.h, x.description.h, x.a_layout.h, x.b_layout.h, x.d_layout.h,
                                          x.d_layout.h, preference, wanted, results, count);
  };
  const auto prefer = [&](cublasLtMatmulPreferenceAttributes_t attribute, auto value) {
    CHECK(cublasLtMatmulPreferenceSetAttribute(preference, attribute, &value, sizeof value) == ok);
  };
  cublasLtMatmulHeuristicResult_t results[4];
  int count = -1;
  CHECK(ask(4, results, &count) == ok);
  CHECK(count == 1);  // no workspace is allowed
  CHECK(results[0].workspaceSize == 0);
  CHECK(ask(0, results, &count) == invalid);
  prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, uint64_t(1) << 20);
  CHECK(ask(4, results, &count) == ok);
  REQUIRE(count == 2);
  const size_t bytes = results[0].workspaceSize;
  const Array workspace(CUDA_R_32F, Values(bytes / 4, 1));
  CHECK(x.run(&results[0].algo, workspace.p, bytes) == ok);
  CHECK(x.d_array.values() == x.product());
  CHECK(std::isnan(workspace.values()[0]));  // it has been used
  CHECK(x.run(&results[0].algo, workspace.p, bytes - 1) == invalid);
  CHECK(x.run(&results[0].algo, nullptr, bytes) == invalid);
  CHECK(x.run(&results[0].algo, workspace.p, bytes + 1) == invalid);
  CHECK(x.run(&results[1].algo) == ok);

  const Array larger(CUDA_R_32F, Values(x.a.size() + 4, 1));
  const void* shifted = static_cast<const char*>(larger.p) + 16;
  CHECK(x.run_on(shifted, x.d_array.p, &results[1].algo) == invalid);  // 256 bytes were promised
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, uint32_t(16));
  CHECK(ask(4, results, &count) == ok);
  CHECK(x.run_on(shifted, x.d_array.p, &results[1].algo) == ok);
  x.description.epilogue(CUBLASLT_EPILOGUE_RELU);
  CHECK(x.run(&results[1].algo) == invalid);  // chosen for another product
  x.a_layout.set(CUBLASLT_MATRIX_LAYOUT_TYPE, uint32_t(CUDA_R_16F));
  CHECK(ask(4, results, &count) == unsupported);
  CHECK(cublasLtMatmulPreferenceDestroy(preference) == ok);
}

TEST_CASE("types, shapes and epilogues that NVIDIA does not document are refused") {
  Plain x;
  const auto refused = [&x](cublasStatus_t status) {
    CHECK(x.run() == status);
    CHECK(cudaDeviceSynchronize() == cudaSuccess);
    CHECK(x.d_array.values() == x.c);
  };
  SECTION("compute type") {
    x.description.set(CUBLASLT_MATMUL_DESC_COMPUTE_TYPE, int32_t(CUBLAS_COMPUTE_16F));
    refused(unsupported);
  }
  SECTION("scale type") {
    x.description.set(CUBLASLT_MATMUL_DESC_SCALE_TYPE, int32_t(CUDA_R_64F));
    refused(unsupported);
  }
  SECTION("float inputs, 16-bit output") {
    x.d_layout.set(CUBLASLT_MATRIX_LAYOUT_TYPE, uint32_t(CUDA_R_16BF));
    refused(unsupported);
  }
  SECTION("alpha on the device") {
    x.description.set(CUBLASLT_MATMUL_DESC_POINTER_MODE, int32_t(CUBLASLT_POINTER_MODE_DEVICE));
    refused(unsupported);
  }
  SECTION("shapes") {
    x.description.set(CUBLASLT_MATMUL_DESC_TRANSA, int32_t(CUBLAS_OP_T));
    refused(invalid);
  }
  SECTION("leading dimension") {
    x.a_layout.set(CUBLASLT_MATRIX_LAYOUT_LD, int64_t(Plain::m - 1));
    refused(invalid);
  }
  SECTION("nothing") {
    x.a_layout.set(CUBLASLT_MATRIX_LAYOUT_COLS, uint64_t(0));
    x.b_layout.set(CUBLASLT_MATRIX_LAYOUT_ROWS, uint64_t(0));
    refused(invalid);
  }
  SECTION("batch counts") {
    x.a_layout.batch(2, 0);
    refused(invalid);
  }
  SECTION("an order of tiles") {
    x.a_layout.set(CUBLASLT_MATRIX_LAYOUT_ORDER, int32_t(CUBLASLT_ORDER_COL32));
    refused(unsupported);
  }
  SECTION("an epilogue on rows") {
    x.d_layout.set(CUBLASLT_MATRIX_LAYOUT_ORDER, int32_t(CUBLASLT_ORDER_ROW));
    x.description.epilogue(CUBLASLT_EPILOGUE_RELU);
    refused(unsupported);
  }
  SECTION("an epilogue that does not exist") {
    x.description.epilogue(static_cast<cublasLtEpilogue_t>(2 | 32));
    refused(invalid);
  }
  SECTION("another type of bias") {
    x.description.epilogue(CUBLASLT_EPILOGUE_BIAS).set(CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, int32_t(CUDA_R_16F));
    refused(unsupported);
  }
  SECTION("an auxiliary leading dimension that is no multiple of 8") {
    x.description.epilogue(CUBLASLT_EPILOGUE_GELU_AUX).set(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, int64_t(17));
    refused(invalid);
  }
  SECTION("a bit mask's leading dimension that is no multiple of 128") {
    x.description.epilogue(CUBLASLT_EPILOGUE_RELU_AUX).set(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, int64_t(16));
    refused(invalid);
  }
  SECTION("a handle of another device") {
    REQUIRE(cudaSetDevice(1) == cudaSuccess);
    CHECK(x.run() == invalid);
    REQUIRE(cudaSetDevice(0) == cudaSuccess);
  }
}

TEST_CASE("memory that is not the device's, or too small, is refused") {
  Plain x;
  std::vector<float> host(Plain::m * Plain::k);
  CHECK(x.run_on(host.data(), x.d_array.p) == invalid);
  CHECK(x.run_on(nullptr, x.d_array.p) == invalid);
  CHECK(x.run_on(static_cast<float*>(x.a_array.p) + 1, x.d_array.p) == invalid);
  CHECK(x.run_on(x.a_array.p, x.a_array.p) == invalid);  // D over A
  REQUIRE(cudaSetDevice(1) == cudaSuccess);
  const Array elsewhere(CUDA_R_32F, x.a.size());
  cudaStream_t stream = nullptr;
  REQUIRE(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking) == cudaSuccess);
  REQUIRE(cudaSetDevice(0) == cudaSuccess);
  CHECK(x.run_on(elsewhere.p, x.d_array.p) == invalid);
  x.stream = stream;
  CHECK(x.run() == invalid);
  x.stream = nullptr;
  CHECK(cudaStreamDestroy(stream) == cudaSuccess);

  const Array short_bias(CUDA_R_32F, Plain::m - 1);
  x.description.epilogue(CUBLASLT_EPILOGUE_BIAS);
  CHECK(x.run() == invalid);  // no bias at all
  x.description.set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, short_bias.p);
  CHECK(x.run() == invalid);
  const Array short_aux(CUDA_R_32F, 16 * Plain::n - 1);
  x.description.epilogue(CUBLASLT_EPILOGUE_DGELU)
      .set(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, short_aux.p)
      .set(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, int64_t(16));
  CHECK(x.run() == invalid);
  CHECK(x.d_array.values() == x.c);
}

TEST_CASE("heads of a batch may lie in each other's gaps, but not overlap") {
  // Two heads of 4 x 3 in rows of 8 floats: head h is columns 4 h to 4 h + 3.
  constexpr uint64_t rows = 4, length = 3;
  Handle handle;
  const Array a(CUDA_R_32F, random_values(rows * 2 * 2, 1)), b(CUDA_R_32F, random_values(2 * length * 2, 2));
  const Array d(CUDA_R_32F, Values(8 * length, 0));
  Layout a_layout(CUDA_R_32F, rows, 2, rows), b_layout(CUDA_R_32F, 2, length, 2), d_layout(CUDA_R_32F, rows, length, 8);
  a_layout.batch(2, rows * 2), b_layout.batch(2, 2 * length), d_layout.batch(2, 4);
  const Description description(CUBLAS_COMPUTE_32F, CUDA_R_32F);
  const float alpha = 1, beta = 0;
  const auto run = [&] {
    return cublasLtMatmul(handle.h, description.h, &alpha, a.p, a_layout.h, b.p, b_layout.h, &beta, d.p, d_layout.h,
                          d.p, d_layout.h, nullptr, nullptr, 0, nullptr);
  };
  CHECK(run() == ok);
  const Values x = a.values(), y = b.values(), got = d.values();
  for (uint64_t h = 0; h < 2; ++h)
    for (uint64_t i = 0; i < rows; ++i)
      for (uint64_t j = 0; j < length; ++j)
        CHECK(got[4 * h + i + 8 * j] == x[8 * h + i] * y[6 * h + 2 * j] + x[8 * h + 4 + i] * y[6 * h + 2 * j + 1]);
  d_layout.batch(2, 3);
  CHECK(run() == invalid);
}

TEST_CASE("attributes have the sizes of the header") {
  Plain x;
  const int64_t wide = 1;
  const int32_t narrow = 1;
  CHECK(cublasLtMatmulDescSetAttribute(x.description.h, CUBLASLT_MATMUL_DESC_TRANSA, &wide, sizeof wide) == invalid);
  CHECK(cublasLtMatmulDescSetAttribute(x.description.h, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &narrow, 4) == invalid);
  CHECK(cublasLtMatrixLayoutSetAttribute(x.a_layout.h, CUBLASLT_MATRIX_LAYOUT_LD, &narrow, sizeof narrow) == invalid);
  CHECK(cublasLtMatrixLayoutSetAttribute(x.a_layout.h, CUBLASLT_MATRIX_LAYOUT_LD, nullptr, 8) == invalid);
  CHECK(cublasLtMatmulDescSetAttribute(nullptr, CUBLASLT_MATMUL_DESC_TRANSA, &narrow, 4) == invalid);
  CHECK(x.run() == ok);
  CHECK(cublasLtGetVersion() == CUBLAS_VERSION);
  CHECK(std::string(cublasLtGetStatusName(unsupported)) == "CUBLAS_STATUS_NOT_SUPPORTED");
}
