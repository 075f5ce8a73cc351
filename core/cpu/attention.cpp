// CPU kernels: attention and its derivative without the T x S tensor (FlashAttention-2, Dao, arXiv 2307.08691). A tile
// of queries meets the keys a block at a time; the scores of one meeting stay in cache. Keys that no query of a tile
// may see are skipped. Everything of one tile, and in backward of one head, happens in one order on one thread.
#include <cmath>

#include <gradus/core/cpu/detail/gemm.h>
#include <gradus/core/cpu/detail/rows.h>
#include <gradus/core/cpu/detail/scratch.h>
#include <gradus/core/cpu/detail/widened.h>

namespace gradus::cpu {
namespace {

constexpr int64_t tile_queries = 64, block_keys = 256;

template <class T>
const AttentionLoops<T>& loops() {
  return loops_of<T>(isa().attention_loops_f32(), isa().attention_loops_f64());
}

// One head of [B, H, L, D]: L rows of D elements, `stride` apart.
template <class T>
struct Head {
  T* data;
  int64_t stride;
  T* row(int64_t i) const { return data + i * stride; }
  Operand<std::remove_const_t<T>> from(int64_t i) const { return {row(i), false, stride}; }
  Operand<std::remove_const_t<T>> transposed_from(int64_t i) const { return {row(i), true, stride}; }
};
template <class T>
Head<const T> head_of(const Tensor& x, int64_t index) {
  const int64_t heads = x.size(1);
  return {x.data<T>() + index / heads * x.stride(0) + index % heads * x.stride(1), x.stride(2)};
}
template <class T>
Head<T> mutable_head_of(Tensor& x, int64_t index) {
  const Head<const T> head = head_of<T>(x, index);
  return {const_cast<T*>(head.data), head.stride};
}

// A tile of queries [first, first + rows), and the keys before `end` that it sees.
struct Tile {
  int64_t first, rows, end;
  Tile(int64_t index, int64_t queries, int64_t keys, bool causal)
      : first(index * tile_queries),
        rows(std::min(tile_queries, queries - first)),
        end(causal ? std::min(keys, first + rows) : keys) {}
};

// What the kernels need to know of the shapes; position t sees the positions <= t when causal.
struct Problem {
  int64_t heads, queries, keys, width, tiles;
  double scale;
  bool causal;
  Problem(const Tensor& q, const Tensor& k, const AttentionArgs& args)
      : heads(q.size(0) * q.size(1)),
        queries(q.size(2)),
        keys(k.size(2)),
        width(q.size(3)),
        tiles((queries + tile_queries - 1) / tile_queries),
        scale(args.scale),
        causal(args.causal) {}

  Tile tile(int64_t index) const { return Tile(index, queries, keys, causal); }
  // Calls body(key, n, visible, step) for the blocks of keys of a tile; see AttentionLoops for the last two.
  template <class Body>
  void each_block(const Tile& t, Body body) const {
    for (int64_t key = 0; key < t.end; key += block_keys) {
      const int64_t n = std::min(block_keys, t.end - key);
      body(key, n, causal ? t.first + 1 - key : n, int64_t{causal});
    }
  }
};

// o = softmax(scale q k^T) v for one tile; lse is the logarithm of the softmax's denominator.
template <class T>
void forward_tile(const Problem& p, const Tile& t, Head<T> o, T* lse, Head<const T> q, Head<const T> k, Head<const T> v,
                  T* scores) {
  T top[tile_queries], sum[tile_queries], factor[tile_queries];
  std::fill_n(top, t.rows, -std::numeric_limits<T>::infinity());
  std::fill_n(sum, t.rows, T(0));
  p.each_block(t, [&](int64_t key, int64_t n, int64_t visible, int64_t step) {
    gemm<T>(t.rows, n, p.width, q.from(t.first), k.transposed_from(key), false, scores, n);
    loops<T>().softmax_block(scores, t.rows, n, T(p.scale), visible, step, top, sum, factor);
    if (key > 0) loops<T>().scale_rows(o.row(t.first), o.stride, t.rows, p.width, factor);
    gemm<T>(t.rows, p.width, n, {scores, false, n}, v.from(key), key > 0, o.row(t.first), o.stride);
  });
  for (int64_t r = 0; r < t.rows; ++r) {
    factor[r] = T(1) / sum[r];
    lse[t.first + r] = top[r] + std::log(sum[r]);
  }
  loops<T>().scale_rows(o.row(t.first), o.stride, t.rows, p.width, factor);
}

template <class T>
void forward(Tensor& o, Tensor& lse, const Tensor& q, const Tensor& k, const Tensor& v, const Problem& p) {
  T* const denominators = lse.mutable_data<T>();
  parallel_for(0, p.heads * p.tiles, 1, [&](int64_t begin, int64_t end) {
    const Scratch scores(tile_queries * block_keys * static_cast<int64_t>(sizeof(T)));
    for (int64_t i = begin; i < end; ++i) {
      const int64_t head = i / p.tiles;
      forward_tile<T>(p, p.tile(i % p.tiles), mutable_head_of<T>(o, head), denominators + head * p.queries,
                      head_of<T>(q, head), head_of<T>(k, head), head_of<T>(v, head), scores.as<T>());
    }
  });
}

// One head of each operand of backward. With P the probabilities and dot = sum_d g o by query:
// dv = P^T g, dS = scale P (g v^T - dot), dq = dS k, dk = dS^T q.
template <class T>
struct BackwardHead {
  Head<T> dq, dk, dv;
  Head<const T> g, q, k, v, o;
  const T* lse;
};

template <class T>
void backward_tile(const Problem& p, const Tile& t, const BackwardHead<T>& h, T* probabilities, T* gradients) {
  T dot[tile_queries];
  loops<T>().dot_rows(dot, h.g.row(t.first), h.g.stride, h.o.row(t.first), h.o.stride, t.rows, p.width);
  p.each_block(t, [&](int64_t key, int64_t n, int64_t visible, int64_t step) {
    gemm<T>(t.rows, n, p.width, h.q.from(t.first), h.k.transposed_from(key), false, probabilities, n);
    loops<T>().probabilities(probabilities, t.rows, n, T(p.scale), visible, step, h.lse + t.first);
    gemm<T>(n, p.width, t.rows, {probabilities, true, n}, h.g.from(t.first), true, h.dv.row(key), h.dv.stride);
    gemm<T>(t.rows, n, p.width, h.g.from(t.first), h.v.transposed_from(key), false, gradients, n);
    loops<T>().score_gradient(gradients, probabilities, t.rows, n, T(p.scale), dot);
    gemm<T>(n, p.width, t.rows, {gradients, true, n}, h.q.from(t.first), true, h.dk.row(key), h.dk.stride);
    gemm<T>(t.rows, p.width, n, {gradients, false, n}, h.k.from(key), key > 0, h.dq.row(t.first), h.dq.stride);
  });
}

template <class T>
void backward(Tensor& dq, Tensor& dk, Tensor& dv, const Tensor& g, const Tensor& q, const Tensor& k, const Tensor& v,
              const Tensor& o, const Tensor& lse, const Problem& p) {
  constexpr int64_t block = tile_queries * block_keys;
  parallel_for(0, p.heads, 1, [&](int64_t begin, int64_t end) {
    const Scratch scratch(2 * block * static_cast<int64_t>(sizeof(T)));
    for (int64_t i = begin; i < end; ++i) {
      const BackwardHead<T> head = {
          mutable_head_of<T>(dq, i), mutable_head_of<T>(dk, i), mutable_head_of<T>(dv, i),
          head_of<T>(g, i),          head_of<T>(q, i),          head_of<T>(k, i),
          head_of<T>(v, i),          head_of<T>(o, i),          lse.data<T>() + i * p.queries};
      for (int64_t key = 0; key < p.keys; ++key) {
        std::fill_n(head.dk.row(key), p.width, T(0));
        std::fill_n(head.dv.row(key), p.width, T(0));
      }
      for (int64_t tile = 0; tile < p.tiles; ++tile)
        backward_tile<T>(p, p.tile(tile), head, scratch.as<T>(), scratch.as<T>() + block);
    }
  });
}

// ---- 16-bit heads are computed in float32
void attention(Tensor& o, Tensor& lse, const Tensor& q, const Tensor& k, const Tensor& v, const AttentionArgs& args) {
  const Problem p(q, k, args);
  if (q.dtype() == float64) return forward<double>(o, lse, q, k, v, p);
  if (q.dtype() == float32) return forward<float>(o, lse, q, k, v, p);
  Tensor wide = empty(o.shape());
  forward<float>(wide, lse, widened(q), widened(k), widened(v), p);
  kernels::copy(Device::cpu(), o, wide);
}

void attention_backward(Tensor& dq, Tensor& dk, Tensor& dv, const Tensor& g, const Tensor& q, const Tensor& k,
                        const Tensor& v, const Tensor& o, const Tensor& lse, const AttentionArgs& args) {
  const Problem p(q, k, args);
  if (q.dtype() == float64) return backward<double>(dq, dk, dv, g, q, k, v, o, lse, p);
  if (q.dtype() == float32) return backward<float>(dq, dk, dv, g, q, k, v, o, lse, p);
  Tensor wide_q = empty(q.shape()), wide_k = empty(k.shape()), wide_v = empty(v.shape());
  backward<float>(wide_q, wide_k, wide_v, widened(g), widened(q), widened(k), widened(v), widened(o), lse, p);
  kernels::copy(Device::cpu(), dq, wide_q);
  kernels::copy(Device::cpu(), dk, wide_k);
  kernels::copy(Device::cpu(), dv, wide_v);
}

[[maybe_unused]] const bool registered = kernels::attention.set(DeviceType::cpu, attention) &&
                                         kernels::attention_backward.set(DeviceType::cpu, attention_backward);

}  // namespace
}  // namespace gradus::cpu
