// Reductions of [outer, n, inner] along n. Long dims are cut into chunks of a size that the shape fixes, each is
// reduced to one value, and these again: the bits are the same every time, and one output keeps the whole device busy.
#include <bit>
#include <limits>

#include <gradus/core/factories.h>
#include <gradus/core/kernels.h>
#include <gradus/cuda/device/rows.cuh>
#include <gradus/cuda/launch.cuh>

namespace gradus::cuda {
namespace {

// ---- operations: how the element of position i along n, and of place `at` in x, becomes an accumulator; how two
// become one; how the last is written
struct Output {
  void* y;
  Dtype dtype;

  __device__ void store(int64_t at, double value) const { static_cast<double*>(y)[at] = value; }
  __device__ void store(int64_t at, float value) const {
    if (dtype == Dtype::float16)
      static_cast<f16*>(y)[at] = f16(value);
    else if (dtype == Dtype::bfloat16)
      static_cast<bf16*>(y)[at] = bf16(value);
    else
      static_cast<float*>(y)[at] = value;
  }
  __device__ void store(int64_t at, uint64_t value) const { static_cast<uint64_t*>(y)[at] = value; }
  __device__ void store(int64_t at, bool value) const { static_cast<bool*>(y)[at] = value; }
};

// Unsigned, because integers wrap around.
template <class S>
using SumOf = std::conditional_t<std::is_integral_v<S>, uint64_t, Compute<S>>;

template <class S>
struct Sum {
  using Element = S;
  using A = SumOf<S>;
  Output output;

  __device__ A neutral() const { return 0; }
  __device__ A load(S x, int64_t, int64_t) const { return static_cast<A>(cuda::load(x)); }
  __device__ A operator()(A a, A b) const { return a + b; }
  __device__ void store(int64_t at, A value) const { output.store(at, value); }
};
template <class S>
struct Product {
  using Element = S;
  using A = SumOf<S>;
  Output output;

  __device__ A neutral() const { return 1; }
  __device__ A load(S x, int64_t, int64_t) const { return static_cast<A>(cuda::load(x)); }
  __device__ A operator()(A a, A b) const { return a * b; }
  __device__ void store(int64_t at, A value) const { output.store(at, value); }
};

// any, and all, which is that not any is zero. Elements are words, zero where they are so under the mask, which leaves
// out the sign of floats.
template <class Word>
struct Logical {
  using Element = Word;
  using A = unsigned;
  Output output;
  Word mask;
  bool all;

  __device__ A neutral() const { return 0; }
  __device__ A load(Word x, int64_t, int64_t) const { return ((x & mask) != 0) != all; }
  __device__ A operator()(A a, A b) const { return a | b; }
  __device__ void store(int64_t at, A found) const { output.store(at, (found != 0) != all); }
};

template <class V>
struct Candidate {
  V value;
  int64_t index;

  template <class F>
  __device__ Candidate map(F f) const {
    return {f(value), f(index)};
  }
};
// The first largest or smallest element, or the first NaN, and its position, which is given for elements that are
// themselves results.
template <class S>
struct Extreme {
  using Element = S;
  using V = std::conditional_t<sizeof(S) == 1, int32_t, Compute<S>>;
  using A = Candidate<V>;
  using Limits = std::numeric_limits<V>;
  Output output;
  int64_t* index;  // null when nobody asks
  const int64_t* positions;
  bool largest;

  __device__ A neutral() const {
    const V low = Limits::has_infinity ? -Limits::infinity() : Limits::lowest();
    const V high = Limits::has_infinity ? Limits::infinity() : Limits::max();
    return {largest ? low : high, std::numeric_limits<int64_t>::max()};
  }
  __device__ A load(S x, int64_t i, int64_t at) const {
    return {static_cast<V>(cuda::load(x)), positions ? positions[at] : i};
  }
  __device__ A operator()(A a, A b) const { return beats(b, a) ? b : a; }
  __device__ bool beats(const A& b, const A& a) const {
    const bool a_is_nan = a.value != a.value, b_is_nan = b.value != b.value, before = b.index < a.index;
    if (a_is_nan || b_is_nan) return b_is_nan && (!a_is_nan || before);
    return (largest ? b.value > a.value : b.value < a.value) || (b.value == a.value && before);
  }
  __device__ void store(int64_t at, A best) const {
    if constexpr (std::is_floating_point_v<V>)
      output.store(at, best.value);
    else
      static_cast<S*>(output.y)[at] = static_cast<S>(best.value);
    if (index) index[at] = best.index;
  }
};

// ---- the two ways through x; results are [outer, chunks, inner]
struct Cut {
  int64_t outer, n, inner;
  int64_t length, chunks;  // elements along n in a chunk, and how many chunks there are
  bool whole_block, packed;

  __device__ int64_t end(int64_t chunk) const {
    const int64_t end = (chunk + 1) * length;
    return end < n ? end : n;
  }
};

// Along rows: inner is 1, and a team reduces one chunk of one row.
template <int width, class Op>
__device__ void reduce_chunks(const Op& op, const typename Op::Element* x, const Cut& cut) {
  using A = typename Op::A;
  using S = typename Op::Element;
  const Team team(cut.whole_block);
  for (int64_t work = team.first(); work < cut.outer * cut.chunks; work += team.count()) {
    const int64_t chunk = work % cut.chunks, row = work / cut.chunks * cut.n, begin = chunk * cut.length;
    A total[width];
    for (A& part : total) part = op.neutral();
    for_row<width>(team, cut.end(chunk) - begin, [&](int64_t i) {
      const int64_t at = row + begin + i;
      const Pack<S, width> pack = *reinterpret_cast<const Pack<S, width>*>(x + at);
#pragma unroll
      for (int j = 0; j < width; ++j) total[j] = op(total[j], op.load(pack.item[j], begin + i + j, at + j));
    });
    for (int j = 1; j < width; ++j) total[0] = op(total[0], total[j]);
    total[0] = team.combine(total[0], op);
    if (team.rank == 0) op.store(work, total[0]);
  }
}
template <class Op>
__global__ void reduce_rows(Op op, const typename Op::Element* x, Cut cut) {
  if (cut.packed)
    reduce_chunks<pack_size<typename Op::Element>>(op, x, cut);
  else
    reduce_chunks<1>(op, x, cut);
}

// Across columns: threads along the outputs [outer, inner], and in the block's second dim along n.
constexpr int column_threads = 256;

template <class Op>
__global__ void reduce_columns(Op op, const typename Op::Element* x, Cut cut) {
  using A = typename Op::A;
  GRADUS_SHARED(A, parts, [column_threads]);
  const int64_t outputs = cut.outer * cut.inner, tiles = (outputs + blockDim.x - 1) / blockDim.x;
  const int place = static_cast<int>(threadIdx.y * blockDim.x + threadIdx.x);
  for (int64_t work = blockIdx.x; work < tiles * cut.chunks; work += gridDim.x) {
    const int64_t chunk = work / tiles, output = work % tiles * blockDim.x + threadIdx.x;
    const int64_t outer = output / cut.inner, column = output % cut.inner, end = cut.end(chunk);
    A total = op.neutral();
    if (output < outputs) {
#pragma unroll 4
      for (int64_t i = chunk * cut.length + threadIdx.y; i < end; i += blockDim.y) {
        const int64_t at = (outer * cut.n + i) * cut.inner + column;
        total = op(total, op.load(x[at], i, at));
      }
    }
    parts[place] = total;
    for (unsigned half = blockDim.y / 2; half > 0; half /= 2) {
      __syncthreads();
      if (threadIdx.y < half) parts[place] = op(parts[place], parts[place + half * blockDim.x]);
    }
    if (threadIdx.y == 0 && output < outputs) op.store((outer * cut.chunks + chunk) * cut.inner + column, parts[place]);
    __syncthreads();  // before the parts are written again
  }
}

// ---- how a reduction is cut and launched
struct Reduction {
  Cut cut;
  dim3 block;
  unsigned blocks;
  bool across_columns;
};

unsigned power_of_two_above(int64_t n, unsigned most) {
  return n >= most ? most : std::bit_ceil(static_cast<unsigned>(std::max<int64_t>(n, 1)));
}

template <class S>
Reduction plan_reduction(const Tensor& x) {
  constexpr int64_t few = 8, row_chunk = 16384, additions = 64, most_of_warp = 1024;
  constexpr unsigned warps = 4;
  Reduction plan{};
  Cut& cut = plan.cut;
  cut.outer = x.size(0);
  cut.n = x.size(1);
  cut.inner = x.size(2);
  plan.across_columns = cut.inner > 1 || cut.n <= few;
  const int64_t outputs = cut.outer * cut.inner;
  if (plan.across_columns) {
    const unsigned least = power_of_two_above(outputs, warp_lanes);
    plan.block.y = power_of_two_above(cut.n, column_threads / least);
    plan.block.x = column_threads / plan.block.y;
    cut.length = additions * plan.block.y;
  } else {
    cut.length = row_chunk;
    cut.whole_block = cut.n > most_of_warp;
    cut.packed = cut.n * static_cast<int64_t>(sizeof(S)) % 16 == 0 && is_aligned(x);
    plan.block.x = cut.whole_block ? column_threads : warps * warp_lanes;
  }
  cut.chunks = std::max<int64_t>(1, (cut.n + cut.length - 1) / cut.length);
  if (plan.across_columns)
    plan.blocks = blocks_for((outputs + plan.block.x - 1) / plan.block.x * cut.chunks, 1);
  else
    plan.blocks = blocks_for(outputs * cut.chunks, cut.whole_block ? 1 : warps);
  return plan;
}

template <class Op>
void run(const Reduction& plan, const Op& op, const Tensor& x) {
  const auto* from = static_cast<const typename Op::Element*>(x.raw_data());
  if (plan.across_columns)
    launch<reduce_columns<Op>>(plan.blocks, plan.block, 0, op, from, plan.cut);
  else
    launch<reduce_rows<Op>>(plan.blocks, plan.block, 0, op, from, plan.cut);
}

Output output_to(const Tensor& y) { return {const_cast<void*>(y.raw_data()), y.dtype()}; }
Tensor partial_results(const Cut& cut, Dtype dtype, Device device) {
  return empty({cut.outer, cut.chunks, cut.inner}, {.dtype = dtype, .device = device});
}

// Calls body.operator()<S>() with the type that the elements are read as: that of boolean is a byte.
template <class Body>
void dispatch_elements(Dtype dtype, Body body) {
  switch (dtype) {
    case Dtype::int32: return body.template operator()<int32_t>();
    case Dtype::int64: return body.template operator()<int64_t>();
    case Dtype::uint8:
    case Dtype::boolean: return body.template operator()<uint8_t>();
    default: return dispatch_floating(dtype, body);
  }
}

template <template <class> class Op>
void reduce(Tensor& y, const Tensor& x) {
  if (y.numel() == 0) return;
  dispatch_elements(x.dtype(), [&]<class S>() {
    using A = SumOf<S>;
    const Reduction plan = plan_reduction<S>(x);
    if (plan.cut.chunks == 1) return run(plan, Op<S>{output_to(y)}, x);
    Tensor partial = partial_results(plan.cut, std::is_same_v<A, uint64_t> ? int64 : dtype_of<Compute<S>>, x.device());
    run(plan, Op<S>{output_to(partial)}, x);
    reduce<Op>(y, partial);
  });
}

template <class Word, bool all>
void reduce_words(Tensor& y, const Tensor& x, Word mask);

template <bool all>
void reduce_logical(Tensor& y, const Tensor& x) {
  if (y.numel() == 0) return;
  const uint64_t sign = is_floating(x.dtype()) ? uint64_t{1} << (8 * itemsize(x.dtype()) - 1) : 0;
  switch (itemsize(x.dtype())) {
    case 1: return reduce_words<uint8_t, all>(y, x, static_cast<uint8_t>(~sign));
    case 2: return reduce_words<uint16_t, all>(y, x, static_cast<uint16_t>(~sign));
    case 4: return reduce_words<uint32_t, all>(y, x, static_cast<uint32_t>(~sign));
    default: return reduce_words<uint64_t, all>(y, x, ~sign);
  }
}

template <class Word, bool all>
void reduce_words(Tensor& y, const Tensor& x, Word mask) {
  const Reduction plan = plan_reduction<Word>(x);
  if (plan.cut.chunks == 1) return run(plan, Logical<Word>{output_to(y), mask, all}, x);
  Tensor partial = partial_results(plan.cut, boolean, x.device());
  run(plan, Logical<Word>{output_to(partial), mask, all}, x);
  reduce_logical<all>(y, partial);
}

// The elements of x have `positions` when they are results of chunks.
void reduce_extreme(Tensor& y, Tensor& index, const Tensor& x, const Tensor& positions, bool largest) {
  dispatch_elements(x.dtype(), [&]<class S>() {
    const Reduction plan = plan_reduction<S>(x);
    const auto op = [&](const Tensor& values, const Tensor& places) {
      return Extreme<S>{output_to(values), elements<int64_t>(places), elements<const int64_t>(positions), largest};
    };
    if (plan.cut.chunks == 1) return run(plan, op(y, index), x);
    const Tensor values = partial_results(plan.cut, x.dtype(), x.device());
    const Tensor places = index.defined() ? partial_results(plan.cut, int64, x.device()) : index;
    run(plan, op(values, places), x);
    reduce_extreme(y, index, values, places, largest);
  });
}
template <bool largest>
void extreme(Tensor& y, Tensor& index, const Tensor& x) {
  if (y.numel() > 0) reduce_extreme(y, index, x, {}, largest);
}

[[maybe_unused]] const bool filled = kernels::reduce_sum.set(DeviceType::cuda, reduce<Sum>) &&
                                     kernels::reduce_prod.set(DeviceType::cuda, reduce<Product>) &&
                                     kernels::reduce_max.set(DeviceType::cuda, extreme<true>) &&
                                     kernels::reduce_min.set(DeviceType::cuda, extreme<false>) &&
                                     kernels::reduce_any.set(DeviceType::cuda, reduce_logical<false>) &&
                                     kernels::reduce_all.set(DeviceType::cuda, reduce_logical<true>);

}  // namespace
}  // namespace gradus::cuda
