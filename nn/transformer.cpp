// Multi-head attention and the encoder layer.
#include <gradus/nn/transformer.h>

#include <gradus/core/detail/check.h>
#include <gradus/nn/init.h>

namespace gradus::nn {
namespace {

int64_t checked_heads(int64_t embed_dim, int64_t heads) {
  GRADUS_CHECK(embed_dim >= 1 && heads >= 1 && embed_dim % heads == 0, ValueError,
               "MultiheadAttention: embed_dim {} must be a multiple of num_heads {}, both 1 or more", embed_dim, heads);
  return heads;
}

}  // namespace

MultiheadAttention::MultiheadAttention(int64_t embed_dim, int64_t heads, const MultiheadAttentionOptions& options)
    : out_proj(embed_dim, embed_dim, {.bias = options.bias}),
      num_heads(checked_heads(embed_dim, heads)),
      dropout(options.dropout) {
  GRADUS_CHECK(dropout >= 0 && dropout <= 1, ValueError, "MultiheadAttention: dropout is {}; want 0 to 1", dropout);
  in_proj_weight = Parameter(empty({3 * embed_dim, embed_dim}));
  init::xavier_uniform_(in_proj_weight);
  if (!options.bias) return;
  in_proj_bias = Parameter(zeros({3 * embed_dim}));
  init::zeros_(out_proj.bias);
}

Tensor MultiheadAttention::forward(const Tensor& x, const AttentionMask& mask) {
  const int64_t e = in_proj_weight.size(1);
  GRADUS_CHECK(x.rank() == 3 && x.size(2) == e, ShapeError, "MultiheadAttention: input is {}; want [B, T, {}]",
               x.shape(), e);
  const Tensor qkv = linear(x, in_proj_weight, in_proj_bias);  // (B, T, 3 E)
  return out_proj(self_attention(qkv, num_heads, attention_params(mask)));
}

Tensor MultiheadAttention::forward(const Tensor& query, const Tensor& key, const Tensor& value,
                                   const AttentionMask& mask) {
  const int64_t e = in_proj_weight.size(1);
  const Tensor inputs[] = {query, key, value};
  const char* names[] = {"query", "key", "value"};
  Tensor heads[3];  // (B, heads, length, D)
  for (int64_t i = 0; i < 3; ++i) {
    GRADUS_CHECK(inputs[i].rank() == 3 && inputs[i].size(2) == e, ShapeError,
                 "MultiheadAttention: {} is {}; want [B, length, {}]", names[i], inputs[i].shape(), e);
    const Tensor bias = in_proj_bias.defined() ? in_proj_bias.narrow(0, i * e, e) : Tensor();
    const Tensor y = linear(inputs[i], in_proj_weight.narrow(0, i * e, e), bias);  // (B, length, E)
    heads[i] = y.reshape({y.size(0), y.size(1), num_heads, e / num_heads}).transpose(1, 2);
  }
  const Tensor y = scaled_dot_product_attention(heads[0], heads[1], heads[2], attention_params(mask));
  return out_proj(y.transpose(1, 2).reshape(query.shape()));
}

AttentionParams MultiheadAttention::attention_params(const AttentionMask& mask) const {
  return {.causal = mask.causal, .mask = mask.mask, .dropout = is_training() ? dropout : 0};
}

// The projections in, and q k^T and its product with v, for self-attention; out_proj counts itself.
int64_t MultiheadAttention::macs(const Shape& input, const Shape&) const {
  if (input.rank() != 3) return 0;
  return input.numel() * (in_proj_weight.size(0) + 2 * input[1]);
}

TransformerEncoderLayer::TransformerEncoderLayer(int64_t d_model, int64_t heads,
                                                 const TransformerEncoderLayerOptions& options)
    : self_attn(d_model, heads, {.dropout = options.dropout, .bias = options.bias}),
      linear1(d_model, options.dim_feedforward, {.bias = options.bias}),
      dropout(options.dropout),
      linear2(options.dim_feedforward, d_model, {.bias = options.bias}),
      norm1(d_model, {.eps = options.layer_norm_eps, .bias = options.bias}),
      norm2(d_model, {.eps = options.layer_norm_eps, .bias = options.bias}),
      dropout1(options.dropout),
      dropout2(options.dropout),
      activation(options.activation),
      norm_first(options.norm_first) {}

Tensor TransformerEncoderLayer::forward(const Tensor& x, const AttentionMask& mask) {
  if (norm_first) {
    const Tensor h = x + dropout1(self_attn(norm1(x), mask));
    return h + dropout2(feed_forward(norm2(h)));
  }
  const Tensor h = norm1(x + dropout1(self_attn(x, mask)));
  return norm2(h + dropout2(feed_forward(h)));
}

Tensor TransformerEncoderLayer::feed_forward(const Tensor& x) {
  const Tensor h = linear1(x);
  return linear2(dropout(activation == Activation::relu ? relu(h) : gelu(h)));
}

}  // namespace gradus::nn
