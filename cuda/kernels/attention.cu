// Attention as its composite twin computes it: products, with a softmax between them. The scores exist for a few heads
// at a time, or for some queries of one head when those of all are too many.
#include <algorithm>
#include <cmath>
#include <limits>

#include <gradus/core/factories.h>
#include <gradus/core/kernels.h>
#include <gradus/cuda/backend/gemm.h>
#include <gradus/cuda/device/block.cuh>
#include <gradus/cuda/launch.cuh>

namespace gradus::cuda {
namespace {

constexpr int64_t scores_bytes = 32 << 20;

// ---- kernels: a warp for each row of scores, which are those of one query
struct Scores {
  int64_t rows, keys;            // the buffer is [rows, keys]
  int64_t queries, first_query;  // rows of one head, and the position of its first; causal queries see no later key
  double scale;
  bool causal;

  __device__ int64_t visible(int64_t row) const {
    return causal ? std::min(keys, first_query + row % queries + 1) : keys;
  }
};

// Probabilities of S, in another place than the scores or the same, and the logarithms of their denominators.
template <class S>
__global__ void softmax_of_scores(S* probabilities, Compute<S>* lse, const Compute<S>* scores, Scores shape) {
  using T = Compute<S>;
  const Team warp(false);
  const T scale = static_cast<T>(shape.scale);
  for (int64_t row = warp.first(); row < shape.rows; row += warp.count()) {
    const T* const x = scores + row * shape.keys;
    S* const p = probabilities + row * shape.keys;
    const int64_t visible = shape.visible(row);
    T top = -std::numeric_limits<T>::infinity(), sum = 0;
    for (int64_t j = warp.rank; j < visible; j += warp.size) top = std::max(top, scale * x[j]);
    top = warp.combine(top, [](T a, T b) { return a > b ? a : b; });
    for (int64_t j = warp.rank; j < visible; j += warp.size) sum += std::exp(scale * x[j] - top);
    sum = warp.combine(sum, Add{});
    for (int64_t j = warp.rank; j < visible; j += warp.size) p[j] = static_cast<S>(std::exp(scale * x[j] - top) / sum);
    for (int64_t j = visible + warp.rank; j < shape.keys; j += warp.size) p[j] = S(0.0f);
    if (warp.rank == 0) lse[row] = top + std::log(sum);
  }
}

// Probabilities P again, and the gradient of the scores: scale P (dP - sum P dP), where dP is the gradient of P. Either
// may take the place of what it is computed from.
template <class S>
__global__ void score_gradients(S* probabilities, S* gradients, const Compute<S>* scores, const Compute<S>* dp,
                                const Compute<S>* lse, Scores shape) {
  using T = Compute<S>;
  const Team warp(false);
  const T scale = static_cast<T>(shape.scale);
  for (int64_t row = warp.first(); row < shape.rows; row += warp.count()) {
    const int64_t start = row * shape.keys, visible = shape.visible(row);
    const T log_sum = lse[row];
    T dot = 0;
    for (int64_t j = warp.rank; j < visible; j += warp.size)
      dot += std::exp(scale * scores[start + j] - log_sum) * dp[start + j];
    dot = warp.combine(dot, Add{});
    for (int64_t j = warp.rank; j < shape.keys; j += warp.size) {
      const T p = j < visible ? std::exp(scale * scores[start + j] - log_sum) : 0;
      const T gradient = j < visible ? scale * p * (dp[start + j] - dot) : 0;
      probabilities[start + j] = static_cast<S>(p);
      gradients[start + j] = static_cast<S>(gradient);
    }
  }
}

// ---- how much at a time
struct Problem {
  int64_t batches, heads, queries, keys;
  AttentionArgs args;
  Problem(const Tensor& q, const Tensor& k, const AttentionArgs& a)
      : batches(q.size(0)), heads(q.size(1)), queries(q.size(2)), keys(k.size(2)), args(a) {}
};

// Whole heads: those of some batches, or some of one batch.
struct Heads {
  int64_t batch, batches, head, heads;

  // Rows [first, first + count) of each head of x [B, H, L, D].
  Tensor rows(const Tensor& x, int64_t first, int64_t count) const {
    return as_strided(x, {batches, heads, count, x.size(3)}, x.strides(),
                      x.impl().offset + batch * x.stride(0) + head * x.stride(1) + first * x.stride(2));
  }
  Tensor all_rows(const Tensor& x) const { return rows(x, 0, x.size(2)); }
};
Tensor turned(const Tensor& x) {
  return as_strided(x, {x.size(0), x.size(1), x.size(3), x.size(2)},
                    {x.stride(0), x.stride(1), x.stride(3), x.stride(2)}, x.impl().offset);
}

// Calls body(heads, queries): so many heads, and so many queries of each at a time, that their scores fit.
template <class Body>
void each_heads(const Problem& p, int64_t itemsize, const Body& body) {
  const int64_t rows = std::max<int64_t>(scores_bytes / (p.keys * itemsize), 1), heads = rows / p.queries;
  const int64_t at_once = std::clamp<int64_t>(heads, 1, p.heads);
  const int64_t batches = std::clamp<int64_t>(heads / p.heads, 1, p.batches);
  for (int64_t batch = 0; batch < p.batches; batch += batches)
    for (int64_t head = 0; head < p.heads; head += at_once)
      body(Heads{batch, std::min(batches, p.batches - batch), head, std::min(at_once, p.heads - head)},
           std::min(rows, p.queries));
}

// The scores of queries [first, first + rows) of some heads, and the keys that any of them sees.
struct Tile {
  int64_t first, rows, keys;
  Scores scores;
  Shape shape;

  Tile(const Problem& p, const Heads& h, int64_t first_query, int64_t at_once)
      : first(first_query),
        rows(std::min(at_once, p.queries - first)),
        keys(p.args.causal ? std::min(p.keys, first + rows) : p.keys),
        scores{h.batches * h.heads * rows, keys, rows, first, p.args.scale, p.args.causal},
        shape{h.batches, h.heads, rows, keys} {}

  // Heads follow one another in lse [B, H, T], whole or one at a time.
  template <class T>
  T* lse_in(T* lse, const Problem& p, const Heads& h) const {
    return lse + (h.batch * p.heads + h.head) * p.queries + first;
  }
  unsigned blocks() const { return blocks_for(scores.rows, threads_per_block / warp_lanes); }
};

// A tensor of S for what was computed as `wide`: itself where that is S already.
template <class S>
Tensor narrowed(const Tensor& wide) {
  return dtype_of<S> == wide.dtype() ? wide : empty(wide.shape(), {.dtype = dtype_of<S>, .device = wide.device()});
}

// ---- slots
template <class S>
void forward(Tensor& o, Tensor& lse, const Tensor& q, const Tensor& k, const Tensor& v, const Problem& p) {
  using T = Compute<S>;
  each_heads(p, sizeof(T), [&](const Heads& h, int64_t at_once) {
    for (int64_t first = 0; first < p.queries; first += at_once) {
      const Tile tile(p, h, first, at_once);
      Tensor scores = empty(tile.shape, {.dtype = dtype_of<T>, .device = q.device()});
      gemm_2d_batch(scores, h.rows(q, first, tile.rows), turned(h.rows(k, 0, tile.keys)), false);
      Tensor probabilities = narrowed<S>(scores);
      launch<softmax_of_scores<S>>(tile.blocks(), threads_per_block, 0, written<S>(probabilities),
                                   tile.lse_in(written<T>(lse), p, h), read<T>(scores), tile.scores);
      Tensor rows = h.rows(o, first, tile.rows);
      gemm_2d_batch(rows, probabilities, h.rows(v, 0, tile.keys), false);
    }
  });
}

// dv = P^T g, dk = dS^T q, dq = dS k. The first two are sums over queries.
template <class S>
void backward(Tensor& dq, Tensor& dk, Tensor& dv, const Tensor& g, const Tensor& q, const Tensor& k, const Tensor& v,
              const Tensor& lse, const Problem& p) {
  using T = Compute<S>;
  const TensorOptions wide{.dtype = dtype_of<T>, .device = q.device()};
  const auto sums_for = [&](const Tensor& gradient) {
    Tensor sums = dtype_of<S> == dtype_of<T> ? gradient : empty(gradient.shape(), wide);
    kernels::fill(q.device(), sums, 0);
    return sums;
  };
  const auto finish = [&](Tensor gradient, const Tensor& sums) {
    if (dtype_of<S> != dtype_of<T>) kernels::copy(q.device(), gradient, sums);
  };
  each_heads(p, sizeof(T), [&](const Heads& h, int64_t at_once) {
    Tensor dk_sums = sums_for(h.all_rows(dk)), dv_sums = sums_for(h.all_rows(dv));
    for (int64_t first = 0; first < p.queries; first += at_once) {
      const Tile tile(p, h, first, at_once);
      const Tensor queries = h.rows(q, first, tile.rows), keys = h.rows(k, 0, tile.keys);
      const Tensor of_output = h.rows(g, first, tile.rows);
      Tensor scores = empty(tile.shape, wide), dp = empty(tile.shape, wide);
      gemm_2d_batch(scores, queries, turned(keys), false);
      gemm_2d_batch(dp, of_output, turned(h.rows(v, 0, tile.keys)), false);
      Tensor probabilities = narrowed<S>(scores), gradients = narrowed<S>(dp);
      launch<score_gradients<S>>(tile.blocks(), threads_per_block, 0, written<S>(probabilities), written<S>(gradients),
                                 read<T>(scores), read<T>(dp), tile.lse_in(read<T>(lse), p, h), tile.scores);
      const auto first_keys = [&](const Tensor& x) {
        return as_strided(x, {x.size(0), x.size(1), tile.keys, x.size(3)}, x.strides(), x.impl().offset);
      };
      Tensor to_dq = h.rows(dq, first, tile.rows), to_dk = first_keys(dk_sums), to_dv = first_keys(dv_sums);
      gemm_2d_batch(to_dv, turned(probabilities), of_output, true);
      gemm_2d_batch(to_dk, turned(gradients), queries, true);
      gemm_2d_batch(to_dq, gradients, keys, false);
    }
    finish(h.all_rows(dk), dk_sums);
    finish(h.all_rows(dv), dv_sums);
  });
}

void attention(Tensor& o, Tensor& lse, const Tensor& q, const Tensor& k, const Tensor& v, const AttentionArgs& args) {
  dispatch_floating(q.dtype(), [&]<class S>() { forward<S>(o, lse, q, k, v, Problem(q, k, args)); });
}
void attention_backward(Tensor& dq, Tensor& dk, Tensor& dv, const Tensor& g, const Tensor& q, const Tensor& k,
                        const Tensor& v, const Tensor&, const Tensor& lse, const AttentionArgs& args) {
  dispatch_floating(q.dtype(), [&]<class S>() { backward<S>(dq, dk, dv, g, q, k, v, lse, Problem(q, k, args)); });
}

[[maybe_unused]] const bool filled = kernels::attention.set(DeviceType::cuda, attention) &&
                                     kernels::attention_backward.set(DeviceType::cuda, attention_backward);

}  // namespace
}  // namespace gradus::cuda
