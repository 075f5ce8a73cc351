// Multi-head attention and the encoder layer of transformers (Vaswani et al., arXiv 1706.03762), with PyTorch's names.
// Sequences are batch first: (B, T, E).
#pragma once

#include <gradus/nn/layers.h>

namespace gradus::nn {

/// Who may look at whom.
struct AttentionMask {
  bool causal = false;  ///< position t sees positions <= t
  Tensor mask = {};     ///< boolean (true = look) or additive, broadcastable to [B, heads, T, S]
};

struct MultiheadAttentionOptions {
  double dropout = 0;  ///< on the attention weights
  bool bias = true;
};
struct GRADUS_API MultiheadAttention : Module {
  Parameter in_proj_weight, in_proj_bias;  // [3 E, E], [3 E]: query, key, value
  Linear out_proj;                         // E -> E
  int64_t num_heads;
  double dropout;
  MultiheadAttention(int64_t embed_dim, int64_t heads, const MultiheadAttentionOptions& options = {});
  /// Self-attention: (B, T, E) -> (B, T, E).
  Tensor forward(const Tensor& x, const AttentionMask& mask = {});
  /// query (B, T, E) looks at key and value (B, S, E).
  Tensor forward(const Tensor& query, const Tensor& key, const Tensor& value, const AttentionMask& mask = {});
  int64_t macs(const Shape& input, const Shape& output) const override;
  GRADUS_MODULE(in_proj_weight, in_proj_bias, out_proj, num_heads, dropout)

 private:
  AttentionParams attention_params(const AttentionMask& mask) const;
};

enum class Activation { relu, gelu };
struct TransformerEncoderLayerOptions {
  int64_t dim_feedforward = 2048;
  double dropout = 0.1;
  Activation activation = Activation::relu;
  double layer_norm_eps = 1e-5;
  bool norm_first = false;  ///< normalise before attention and feed-forward instead of after them
  bool bias = true;
};
/// Attention and a feed-forward net, each with a residual connection: (B, T, d_model) -> (B, T, d_model).
struct GRADUS_API TransformerEncoderLayer : Module {
  MultiheadAttention self_attn;
  Linear linear1;
  Dropout dropout;
  Linear linear2;
  LayerNorm norm1, norm2;
  Dropout dropout1, dropout2;
  Activation activation;
  bool norm_first;
  TransformerEncoderLayer(int64_t d_model, int64_t heads, const TransformerEncoderLayerOptions& options = {});
  Tensor forward(const Tensor& x, const AttentionMask& mask = {});
  GRADUS_MODULE(self_attn, linear1, dropout, linear2, norm1, norm2, dropout1, dropout2, activation, norm_first)

 private:
  Tensor feed_forward(const Tensor& x);
};

}  // namespace gradus::nn
