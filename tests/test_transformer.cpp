// Attention and encoder layers against their definitions in plain ops.
#include <gradus/gradus.h>

#include <cmath>

#include "catch.h"

using namespace gradus;

TEST_CASE("multi-head attention is what its definition says") {
  const int64_t b = 2, t = 3, e = 8, heads = 2, d = e / heads;
  nn::MultiheadAttention attention(e, heads);
  attention.to(float64);
  nn::init::normal_(attention.in_proj_bias);
  const Tensor x = randn({b, t, e}, {.dtype = float64}), memory = randn({b, 5, e}, {.dtype = float64});
  const auto by_hand = [&](const Tensor& query, const Tensor& kv, bool causal) {
    const auto project = [&](const Tensor& in, int64_t i) {  // (B, heads, L, D)
      return (matmul(in, attention.in_proj_weight.narrow(0, i * e, e).t()) + attention.in_proj_bias.narrow(0, i * e, e))
          .reshape({b, in.size(1), heads, d})
          .transpose(1, 2);
    };
    Tensor scores = matmul(project(query, 0), project(kv, 1).transpose(2, 3)) / std::sqrt(static_cast<double>(d));
    if (causal) scores = masked_fill(scores, logical_not(tril(ones({t, t}, {.dtype = boolean}))), -1e30);
    const Tensor y = matmul(softmax(scores, -1), project(kv, 2)).transpose(1, 2).reshape({b, query.size(1), e});
    return (matmul(y, attention.out_proj.weight.t()) + attention.out_proj.bias).detach();
  };
  CHECK(allclose(attention(x).detach(), by_hand(x, x, false), 1e-10, 1e-12));
  CHECK(allclose(attention(x, nn::AttentionMask{.causal = true}).detach(), by_hand(x, x, true), 1e-10, 1e-12));
  CHECK(allclose(attention(x, memory, memory).detach(), by_hand(x, memory, false), 1e-10, 1e-12));
  sum(attention(x)).backward();
  CHECK(attention.in_proj_weight.grad().shape() == Shape{24, 8});
}

TEST_CASE("the encoder layer, normalising before and after") {
  for (const bool first : {false, true}) {
    nn::TransformerEncoderLayer layer(8, 2,
                                      {.dim_feedforward = 16, .activation = nn::Activation::gelu, .norm_first = first});
    layer.to(float64).eval();
    const Tensor x = randn({2, 3, 8}, {.dtype = float64});
    const auto feed = [&](const Tensor& h) { return layer.linear2(gelu(layer.linear1(h))); };
    Tensor want;
    if (first) {
      const Tensor h = x + layer.self_attn(layer.norm1(x));
      want = h + feed(layer.norm2(h));
    } else {
      const Tensor h = layer.norm1(x + layer.self_attn(x));
      want = layer.norm2(h + feed(h));
    }
    CHECK(allclose(layer(x).detach(), want.detach(), 1e-12, 1e-12));
    layer.train();
    CHECK(!allclose(layer(x).detach(), want.detach(), 1e-3, 1e-3));  // dropout is on
  }
}

TEST_CASE("summary counts the products of attention") {
  nn::MultiheadAttention attention(8, 2);
  // q, k, v and out: 4 E^2 for each of 3 positions; scores and their product: 2 T E for each.
  CHECK(nn::summary(attention, {1, 3, 8}).macs == 3 * (4 * 64 + 2 * 3 * 8));
}
