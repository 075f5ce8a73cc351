// Rows of n elements, each treated by one team: short ones by a warp, long ones by a block. What is read more than once
// is kept in shared memory where it fits; each thread keeps what it has read itself, so that this needs no barrier.
#pragma once

#include <initializer_list>

#include <gradus/core/tensor.h>
#include <gradus/cuda/device/block.cuh>

namespace gradus::cuda {

/// What a kernel knows of its rows.
struct RowPlan {
  int64_t rows, n;
  bool whole_block;   ///< a block for each row, else a warp
  bool packed;        ///< rows of every operand begin at 16 bytes
  bool kept;          ///< there is shared memory for the team
  int64_t row_bytes;  ///< from one kept row to the next
  int64_t team_bytes;
};
/// And how it is launched.
struct RowLaunch {
  RowPlan plan;
  unsigned blocks, threads;
  size_t shared_bytes;
};

inline bool is_aligned(const Tensor& x) { return reinterpret_cast<uintptr_t>(x.raw_data()) % 16 == 0; }
inline int64_t round_up_16(int64_t bytes) { return (bytes + 15) / 16 * 16; }

/// For rows of n elements of type S. A team keeps `inputs` of them, and `extra` bytes; undefined operands count as
/// aligned.
template <class S>
RowLaunch plan_rows(int64_t rows, int64_t n, std::initializer_list<const Tensor*> operands, int inputs,
                    int64_t extra = 0) {
  constexpr int64_t most_of_warp = 1024, kept_by_warp = 8 << 10, kept_by_block = 96 << 10, long_row = 4096;
  constexpr unsigned warps = 4;
  RowLaunch launch{};
  RowPlan& plan = launch.plan;
  const int64_t bytes = n * static_cast<int64_t>(sizeof(S));
  plan.rows = rows;
  plan.n = n;
  plan.packed = bytes % 16 == 0;
  for (const Tensor* x : operands) plan.packed = plan.packed && (!x->defined() || is_aligned(*x));
  plan.row_bytes = round_up_16(bytes);
  plan.team_bytes = inputs * plan.row_bytes + round_up_16(extra);
  plan.whole_block = n > most_of_warp || plan.team_bytes > kept_by_warp;
  plan.kept = plan.team_bytes <= kept_by_block;
  const unsigned teams = plan.whole_block ? 1 : warps;
  launch.threads = plan.whole_block ? (n > long_row ? 512 : 256) : warps * warp_lanes;
  launch.blocks = blocks_for(rows, teams);
  launch.shared_bytes = plan.kept ? static_cast<size_t>(plan.team_bytes) * teams : 0;
  return launch;
}

/// Calls body(i) for the first of every `width` elements that are this thread's.
template <int width, class Body>
__device__ void for_row(const Team& team, int64_t n, Body body) {
  for (int64_t i = int64_t{width} * team.rank; i < n; i += int64_t{width} * team.size) body(i);
}

/// `width` elements as they are computed. They lie at a multiple of their size.
template <class T, int width>
struct Values {
  T item[width];
};
template <int width, class S>
__device__ Values<Compute<S>, width> widened(const Pack<S, width>& pack) {
  Values<Compute<S>, width> values;
#pragma unroll
  for (int j = 0; j < width; ++j) values.item[j] = load(pack.item[j]);
  return values;
}
template <int width, class S>
__device__ Values<Compute<S>, width> load_values(const S* p) {
  return widened<width>(*reinterpret_cast<const Pack<S, width>*>(p));
}
template <int width, class S>
__device__ void store_values(S* p, const Values<Compute<S>, width>& values) {
  Pack<S, width> pack;
#pragma unroll
  for (int j = 0; j < width; ++j) pack.item[j] = static_cast<S>(values.item[j]);
  *reinterpret_cast<Pack<S, width>*>(p) = pack;
}

/// The shared memory of a team.
__device__ inline unsigned char* team_memory(const RowPlan& plan, const Team& team) {
  GRADUS_DYNAMIC_SHARED(unsigned char, memory);
  return memory + team.number * plan.team_bytes;
}

/// Row `row` of an input, which is the team's kept row `place`.
template <class S>
class KeptRow {
 public:
  __device__ KeptRow(const RowPlan& plan, const Team& team, const S* x, int64_t row, int place)
      : from_(x + row * plan.n),
        kept_(plan.kept ? reinterpret_cast<S*>(team_memory(plan, team) + place * plan.row_bytes) : nullptr) {}

  /// From memory, the first time.
  template <int width>
  __device__ Values<Compute<S>, width> read(int64_t i) const {
    const Pack<S, width> pack = *reinterpret_cast<const Pack<S, width>*>(from_ + i);
    if (kept_) *reinterpret_cast<Pack<S, width>*>(kept_ + i) = pack;
    return widened<width>(pack);
  }
  /// By the thread that has read it.
  template <int width>
  __device__ Values<Compute<S>, width> again(int64_t i) const {
    return kept_ ? load_values<width>(kept_ + i) : load_values<width>(from_ + i);
  }

 private:
  const S* from_;
  S* kept_;
};

template <class T>
struct Moments {
  T mean, variance;
};
/// Of a row that is read here. A second pass corrects the rounding of the first, and loses nothing to a large mean.
template <int width, class S, class T = Compute<S>>
__device__ Moments<T> row_moments(const Team& team, const KeptRow<S>& x, int64_t n) {
  T sum = 0;
  for_row<width>(team, n, [&](int64_t i) {
    const auto values = x.template read<width>(i);
    for (const T value : values.item) sum += value;
  });
  const T guess = team.combine(sum, Add{}) / static_cast<T>(n);
  Two<T> sums{0, 0};
  for_row<width>(team, n, [&](int64_t i) {
    const auto values = x.template again<width>(i);
    for (const T value : values.item) {
      const T deviation = value - guess;
      sums.first += deviation;
      sums.second += deviation * deviation;
    }
  });
  sums = team.combine(sums, Add{});
  const T shift = sums.first / static_cast<T>(n), variance = sums.second / static_cast<T>(n) - shift * shift;
  return {guess + shift, variance < 0 ? T(0) : variance};  // a NaN stays one
}

/// Element i of a tensor, or `width` of them, or what stands for them where the tensor is absent.
template <class S>
__device__ Compute<S> at_or(const S* x, int64_t i, Compute<S> absent) {
  return x ? load(x[i]) : absent;
}

template <int width, class S>
__device__ Values<Compute<S>, width> values_or(const S* x, int64_t i, Compute<S> absent) {
  if (x) return load_values<width>(x + i);
  Values<Compute<S>, width> values;
  for (Compute<S>& value : values.item) value = absent;
  return values;
}

/// The elements of a tensor as a kernel takes them; null when it is undefined.
template <class T>
T* elements(const Tensor& x) {
  return x.defined() ? static_cast<T*>(const_cast<void*>(x.raw_data())) : nullptr;
}

}  // namespace gradus::cuda
