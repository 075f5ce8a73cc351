// Scaled dot-product attention (Vaswani et al., arXiv 1706.03762): a fused kernel that never makes the T x S tensor,
// and its composite twin, which also serves masks and dropout.
#include <cmath>

#include <gradus/autograd/detail/twin.h>
#include <gradus/autograd/ops.h>
#include <gradus/core/detail/check.h>
#include <gradus/core/kernels.h>

namespace gradus {
namespace {

void check_options(const char* op, const AttentionParams& params) {
  GRADUS_CHECK(params.dropout >= 0 && params.dropout <= 1, ValueError, "{}: dropout is {}; want 0 to 1", op,
               params.dropout);
  GRADUS_CHECK(!params.scale || std::isfinite(*params.scale), ValueError, "{}: scale is {}", op, *params.scale);
}

void check_operands(const char* op, const Tensor& q, const Tensor& k, const Tensor& v) {
  detail::check_floating(op, "q", q);
  detail::check_defined(op, "k", k);
  detail::check_defined(op, "v", v);
  detail::check_same(op, q, k);
  detail::check_same(op, q, v);
  GRADUS_CHECK(q.rank() == 4 && k.rank() == 4 && v.rank() == 4, ShapeError,
               "{}: q {}, k {}, v {}; want [B, H, T, D], one head is x.unsqueeze(1)", op, q.shape(), k.shape(),
               v.shape());
  bool fits = q.size(3) == k.size(3) && k.size(2) == v.size(2);
  for (int d = 0; d < 2; ++d) fits = fits && q.size(d) == k.size(d) && k.size(d) == v.size(d);
  GRADUS_CHECK(fits, ShapeError, "{}: q {}, k {}, v {}; want q [B, H, T, D], k and v [B, H, S, D]", op, q.shape(),
               k.shape(), v.shape());
}

void check_mask(const char* op, const Tensor& mask, const Tensor& q, const Tensor& k) {
  const Shape scores = {q.size(0), q.size(1), q.size(2), k.size(2)};
  GRADUS_CHECK(broadcast_shapes(op, mask.shape(), scores) == scores, ShapeError,
               "{}: mask {} does not broadcast to the scores {}", op, mask.shape(), scores);
  GRADUS_CHECK(mask.dtype() == boolean || mask.dtype() == q.dtype(), DtypeError,
               "{}: mask is {}; want boolean (true = look), or {} to be added to the scores", op, mask.dtype(),
               q.dtype());
  GRADUS_CHECK(mask.device() == q.device(), DeviceError, "{}: mask on {}, q on {}; move it with mask.to(device)", op,
               mask.device(), q.device());
}

// softmax(q k^T scale) v in public ops.
Tensor composite(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionArgs& args, const Tensor& mask = {},
                 double dropout_p = 0) {
  const double hidden = -std::numeric_limits<double>::infinity();
  Tensor scores = matmul(q * args.scale, k.transpose(-2, -1));  // (B, H, T, S)
  if (args.causal) {
    const TensorOptions on_device{.device = q.device()};
    const Tensor future = arange(k.size(2), on_device) > arange(q.size(2), on_device).unsqueeze(1);  // (T, S)
    scores = masked_fill(scores, future, hidden);
  }
  if (mask.defined()) scores = mask.dtype() == boolean ? masked_fill(scores, logical_not(mask), hidden) : scores + mask;
  const Tensor p = softmax(scores);
  return matmul(dropout_p > 0 ? dropout(p, dropout_p) : p, v);
}

AttentionArgs args_of(const AttentionParams& params, int64_t width) {
  return {.scale = params.scale.value_or(1 / std::sqrt(static_cast<double>(width))), .causal = params.causal};
}

// The denominators of the softmax, by head and query, as logarithms.
Tensor room_for_lse(const Tensor& x, int64_t batch, int64_t heads, int64_t queries) {
  return empty({batch, heads, queries}, {.dtype = x.dtype() == float64 ? float64 : float32, .device = x.device()});
}

// What the kernel reads: each row of D elements dense.
Tensor dense_rows(const Tensor& x) { return x.stride(-1) == 1 ? x : dense(x); }

// [B, H, L, D] that lies as [B, L, H, D], so that joining the heads again is a view.
Tensor room_for_heads(const Tensor& x) {
  const NoGrad guard;
  return empty({x.size(0), x.size(2), x.size(1), x.size(3)}, {.dtype = x.dtype(), .device = x.device()})
      .transpose(1, 2);
}

Tensor fused_attention(const char* op, const Tensor& q, const Tensor& k, const Tensor& v, const AttentionArgs& args) {
  Tensor o = room_for_heads(q), lse = room_for_lse(q, q.size(0), q.size(1), q.size(2));
  kernels::attention(q.device(), o, lse, dense_rows(q), dense_rows(k), dense_rows(v), args);
  return record(op, o, {&q, &k, &v}, save(q, k, v, o, lse), [args](const Tensor& g, const Saved& s) -> Grads {
    if (grad_enabled())
      return detail::twin_gradients<3>(
          g, s, [args](std::span<const Tensor> in) { return composite(in[0], in[1], in[2], args); });
    Tensor dq = room_for_heads(s[0]), dk = room_for_heads(s[1]), dv = room_for_heads(s[2]);
    kernels::attention_backward(g.device(), dq, dk, dv, dense_rows(g), dense_rows(s[0]), dense_rows(s[1]),
                                dense_rows(s[2]), s[3], s[4], args);
    return {dq, dk, dv};
  });
}

}  // namespace

Tensor scaled_dot_product_attention(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionParams& params) {
  const char* op = "scaled_dot_product_attention";
  check_operands(op, q, k, v);
  check_options(op, params);
  if (params.mask.defined()) check_mask(op, params.mask, q, k);
  const AttentionArgs args = args_of(params, q.size(3));
  const bool fusible = q.size(3) == v.size(3) && q.numel() > 0 && k.numel() > 0;
  if (params.mask.defined() || params.dropout > 0 || !fusible)
    return composite(q, k, v, args, params.mask, params.dropout);
  return fused_attention(op, q, k, v, args);
}

// ---- attention of a sequence to itself: the projections arrive together, and so do their gradients
namespace {

// Part `index` of x [B, T, parts H D], as heads [B, H, T, D]; unrecorded.
Tensor heads_of(const Tensor& x, int64_t index, int64_t heads, int64_t width) {
  return as_strided(x, {x.size(0), heads, x.size(1), width}, {x.stride(0), width, x.stride(1), 1},
                    x.impl().offset + index * heads * width);
}

// [B, H, T, D] -> [B, T, H D].
Tensor joined(const Tensor& y) { return y.transpose(1, 2).reshape({y.size(0), y.size(2), y.size(1) * y.size(3)}); }

// The same in recorded views.
Tensor by_parts(const Tensor& qkv, int64_t heads, const AttentionParams& params) {
  const int64_t e = qkv.size(2) / 3;
  Tensor part[3];
  for (int64_t i = 0; i < 3; ++i)
    part[i] = qkv.narrow(2, i * e, e).reshape({qkv.size(0), qkv.size(1), heads, e / heads}).transpose(1, 2);
  if (params.mask.defined()) check_mask("self_attention", params.mask, part[0], part[1]);
  return joined(composite(part[0], part[1], part[2], args_of(params, e / heads), params.mask, params.dropout));
}

}  // namespace

Tensor self_attention(const Tensor& qkv, int64_t heads, const AttentionParams& params) {
  detail::check_floating("self_attention", "qkv", qkv);
  check_options("self_attention", params);
  GRADUS_CHECK(qkv.rank() == 3 && heads > 0 && qkv.size(2) % 3 == 0 && qkv.size(2) / 3 % heads == 0, ShapeError,
               "self_attention: qkv {} for {} heads; want [B, T, 3 H D]", qkv.shape(), heads);
  if (params.mask.defined() || params.dropout > 0 || qkv.numel() == 0) return by_parts(qkv, heads, params);
  const int64_t width = qkv.size(2) / (3 * heads);
  const AttentionArgs args = args_of(params, width);
  const Tensor source = dense_rows(qkv);
  Tensor y = empty({qkv.size(0), qkv.size(1), heads * width}, {.dtype = qkv.dtype(), .device = qkv.device()});
  Tensor lse = room_for_lse(qkv, qkv.size(0), heads, qkv.size(1)), o = heads_of(y, 0, heads, width);
  const auto part = [=](const Tensor& x, int64_t index) { return heads_of(x, index, heads, width); };
  kernels::attention(qkv.device(), o, lse, part(source, 0), part(source, 1), part(source, 2), args);
  return record("self_attention", y, {&qkv}, save(qkv, y, lse),
                [args, heads, part](const Tensor& g, const Saved& s) -> Grads {
                  if (grad_enabled())
                    return detail::twin_gradients<1>(g, s, [args, heads](std::span<const Tensor> in) {
                      return by_parts(in[0], heads, {.causal = args.causal, .scale = args.scale});
                    });
                  const Tensor x = dense_rows(s[0]);
                  const Tensor dx = empty(x.shape(), {.dtype = x.dtype(), .device = x.device()});
                  Tensor dq = part(dx, 0), dk = part(dx, 1), dv = part(dx, 2);
                  kernels::attention_backward(g.device(), dq, dk, dv, part(dense_rows(g), 0), part(x, 0), part(x, 1),
                                              part(x, 2), part(s[1], 0), s[2], args);
                  return {dx};
                });
}

}  // namespace gradus
