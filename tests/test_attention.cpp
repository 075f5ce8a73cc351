// Attention without the T x S tensor against plain loops in double: sizes around tiles and blocks, causal and not,
// strided heads, 16-bit types, extreme scores, equal bits for any number of threads, memory.
#include <gradus/core/kernels.h>

#include "fused_reference.h"

using namespace gradus;

namespace {

struct Reference {
  std::vector<double> o, dq, dk, dv;
};

Reference reference_attention(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& g, bool causal,
                              double scale) {
  const std::vector<double> qs = values(q), ks = values(k), vs = values(v), gs = values(g);
  const auto size = [&](const Tensor& x, int64_t d) { return static_cast<size_t>(x.size(d)); };
  const size_t heads = size(q, 0) * size(q, 1), t_len = size(q, 2), s_len = size(k, 2), width = size(q, 3);
  Reference r{std::vector<double>(qs.size()), std::vector<double>(qs.size()), std::vector<double>(ks.size()),
              std::vector<double>(ks.size())};
  for (size_t h = 0; h < heads; ++h)
    for (size_t t = 0; t < t_len; ++t) {
      const size_t seen = causal ? std::min(s_len, t + 1) : s_len, at = (h * t_len + t) * width;
      std::vector<double> p(seen), dp(seen);
      double top = -INFINITY, sum = 0, dot = 0;
      for (size_t s = 0; s < seen; ++s) {
        for (size_t d = 0; d < width; ++d) p[s] += scale * qs[at + d] * ks[(h * s_len + s) * width + d];
        top = std::max(top, p[s]);
      }
      for (double& x : p) sum += x = std::exp(x - top);
      for (size_t s = 0; s < seen; ++s) {
        p[s] /= sum;
        for (size_t d = 0; d < width; ++d) {
          const size_t key = (h * s_len + s) * width + d;
          r.o[at + d] += p[s] * vs[key];
          r.dv[key] += p[s] * gs[at + d];
          dp[s] += gs[at + d] * vs[key];
        }
        dot += p[s] * dp[s];
      }
      for (size_t s = 0; s < seen; ++s)
        for (size_t d = 0; d < width; ++d) {
          const size_t key = (h * s_len + s) * width + d;
          r.dq[at + d] += scale * p[s] * (dp[s] - dot) * ks[key];
          r.dk[key] += scale * p[s] * (dp[s] - dot) * qs[at + d];
        }
    }
  return r;
}

// [B, H, L, D] seen in [B, L, H, D], as the heads of a projection are.
Tensor heads(const Tensor& x) { return x.transpose(1, 2).contiguous().transpose(1, 2); }

void check_attention(const Shape& queries, int64_t keys, Dtype dtype, bool causal, double tolerance) {
  INFO(name(dtype) << ", q " << to_string(queries) << ", " << keys << " keys, causal " << causal);
  const Shape others = {queries[0], queries[1], keys, queries[3]};
  const Tensor q = heads(sample(queries, dtype, 1)).requires_grad_(), k = sample(others, dtype, 2).requires_grad_(),
               v = heads(sample(others, dtype, 3)).requires_grad_(), g = sample(queries, dtype, 4);
  const Reference want = reference_attention(q, k, v, g, causal, 0.4);
  const Tensor o = scaled_dot_product_attention(q, k, v, {.causal = causal, .scale = 0.4});
  CHECK(o.shape() == queries);
  CHECK(o.transpose(1, 2).is_contiguous());
  check_close(o, want.o, tolerance);
  o.backward(g);
  check_close(q.grad(), want.dq, tolerance);
  check_close(k.grad(), want.dk, tolerance);
  check_close(v.grad(), want.dv, tolerance);
}

}  // namespace

TEST_CASE("attention and its gradients around the sizes of tiles and blocks") {
  for (bool causal : {false, true})
    for (Dtype dtype : {float64, float32}) {
      const double tolerance = dtype == float64 ? 1e-13 : 1e-5;
      check_attention({1, 1, 1, 1}, 1, dtype, causal, tolerance);
      check_attention({2, 3, 5, 8}, 7, dtype, causal, tolerance);
      check_attention({1, 2, 64, 17}, 64, dtype, causal, tolerance);
      check_attention({1, 1, 65, 32}, 63, dtype, causal, tolerance);
      check_attention({1, 2, 130, 16}, 130, dtype, causal, tolerance);
      check_attention({1, 1, 70, 8}, 300, dtype, causal, tolerance);
      check_attention({1, 1, 600, 4}, 520, dtype, causal, tolerance);
    }
}

TEST_CASE("attention of 16-bit heads is computed in float32") {
  for (Dtype dtype : {float16, bfloat16}) check_attention({2, 2, 33, 16}, 40, dtype, true, 16 * epsilon(dtype));
}

TEST_CASE("attention of extreme scores") {
  // One key wins by far: its value comes out, and nothing overflows.
  const Tensor q = full({1, 1, 3, 4}, 100.f).requires_grad_(), k = zeros({1, 1, 300, 4}),
               v = sample({1, 1, 300, 4}, float32);
  k.select(2, 280).fill_(100.f);
  const Tensor o = scaled_dot_product_attention(q, k, v);
  for (int64_t t = 0; t < 3; ++t) check_close(o.select(2, t), values(v.select(2, 280)), 0);
  sum(o).backward();
  check_close(q.grad(), std::vector<double>(12, 0.0), 1e-4);  // k is 100
  // Equal scores: the mean of the values seen.
  const Tensor level = scaled_dot_product_attention(zeros({1, 1, 300, 4}), k, v, {.causal = true});
  check_close(level.select(2, 299), values(mean(v, 2)), 1e-6);
  check_close(level.select(2, 0), values(v.select(2, 0)), 0);
}

TEST_CASE("masks and dropout go by the composite twin") {
  const Tensor q = sample({2, 2, 6, 4}, float64, 1), k = sample({2, 2, 6, 4}, float64, 2),
               v = sample({2, 2, 6, 4}, float64, 3);
  const Tensor past = tril(ones({6, 6}, {.dtype = float64})) > 0,
               hidden = where(past, zeros({6, 6}, {.dtype = float64}), -INFINITY);
  const std::vector<double> want = values(scaled_dot_product_attention(q, k, v, {.causal = true}));
  check_close(scaled_dot_product_attention(q, k, v, {.mask = past}), want, 1e-14);
  check_close(scaled_dot_product_attention(q, k, v, {.mask = hidden}), want, 1e-14);
  check_close(scaled_dot_product_attention(q, k, v, {.causal = true, .mask = ones({2, 1, 1, 6}, {.dtype = boolean})}),
              want, 1e-14);
  manual_seed(3);
  const Tensor all_ones = ones({1, 1, 50, 1}),
               dropped = scaled_dot_product_attention(zeros({1, 1, 4000, 1}), zeros({1, 1, 50, 1}), all_ones,
                                                      {.dropout = 0.3});
  CHECK(mean(dropped).item<float>() == Approx(1).margin(0.01));
  CHECK(var(dropped).item<float>() == Approx(0.3 / 0.7 / 50).epsilon(0.1));
}

TEST_CASE("self_attention is attention of the three parts, in one piece") {
  for (Dtype dtype : {float64, bfloat16}) {
    const Tensor qkv = sample({2, 70, 3 * 3 * 8}, dtype).requires_grad_(), g = sample({2, 70, 24}, dtype, 2);
    const auto part = [&](int64_t i) { return qkv.narrow(2, 24 * i, 24).reshape({2, 70, 3, 8}).transpose(1, 2); };
    for (bool causal : {false, true}) {
      const Tensor o = scaled_dot_product_attention(part(0), part(1), part(2), {.causal = causal});
      o.transpose(1, 2).reshape({2, 70, 24}).backward(g);
      const std::vector<double> gradient = values(qkv.grad());
      qkv.set_grad({});
      const Tensor y = self_attention(qkv, 3, {.causal = causal});
      check_close(y, values(o.transpose(1, 2).reshape({2, 70, 24})), 0);
      y.backward(g);
      check_close(qkv.grad(), gradient, 0);
      qkv.set_grad({});
      const Tensor everything = ones({70, 70}, {.dtype = boolean});
      check_close(self_attention(qkv, 3, {.causal = causal, .mask = everything}), values(y), 16 * epsilon(dtype));
    }
  }
}

TEST_CASE("attention gives the same bits for any number of threads") {
  for (Dtype dtype : {float32, float16})
    check_threads([&] {
      const Tensor qkv = sample({3, 150, 3 * 4 * 16}, dtype).requires_grad_();
      const Tensor y = self_attention(qkv, 4, {.causal = true});
      y.backward(sample(y.shape(), dtype, 2));
      return std::vector<Tensor>{y, qkv.grad()};
    });
}

TEST_CASE("the scores are never a tensor") {
  const int64_t length = 4096, scores = length * length * 4;
  const Tensor qkv = sample({1, length, 3 * 8}, float32).requires_grad_();
  reset_peak_memory();
  const int64_t before = memory_stats().live;
  sum(self_attention(qkv, 1)).backward();
  CHECK(memory_stats().peak - before < scores / 16);
}
