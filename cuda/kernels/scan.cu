// Cumulative sums of [outer, n, inner] along n. Floating values are accumulated in float64, integers modulo 2^64. Long
// dims are cut into chunks: their sums are scanned first, and tell each chunk where to start.
#include <gradus/core/factories.h>
#include <gradus/core/kernels.h>
#include <gradus/cuda/device/block_scan.cuh>
#include <gradus/cuda/device/rows.cuh>
#include <gradus/cuda/launch.cuh>

namespace gradus::cuda {
namespace {

template <class X>
using Accumulator = std::conditional_t<std::is_integral_v<X>, uint64_t, double>;
template <class X>
using Scanned = std::conditional_t<std::is_integral_v<X>, int64_t, X>;

template <class X>
__device__ Accumulator<X> widened(X x) {
  return static_cast<Accumulator<X>>(load(x));
}
template <class Y, class A>
__device__ Y rounded(A sum) {
  if constexpr (std::is_class_v<Y>)
    return Y(static_cast<float>(sum));
  else
    return static_cast<Y>(sum);
}

struct Cut {
  int64_t outer, n, inner;
  int64_t length, chunks;
  bool whole_block;

  __device__ int64_t end(int64_t chunk) const {
    const int64_t end = (chunk + 1) * length;
    return end < n ? end : n;
  }
};

// What a scan is to leave behind: the sums of its chunks [outer, chunks, inner] alone, or all of y from the scanned
// sums of the chunks before, which are absent when there is one chunk.
template <class X>
struct Scan {
  using A = Accumulator<X>;
  Scanned<X>* y;
  const X* x;
  A* sums;
  const A* before;
};

// The sum of the values of this thread and those before it in the team; `total` becomes that of the team. Nothing is
// subtracted, as in block_exclusive_sum: an infinity would leave a NaN.
template <class A>
__device__ A team_inclusive_sum(const Team& team, A value, A& total) {
  GRADUS_SHARED(A, parts, [warp_lanes]);
  const A inclusive = warp_inclusive_sum(value);
  total = __shfl_sync(all_lanes, inclusive, warp_lanes - 1);
  if (!team.whole_block) return inclusive;
  const int warp = team.rank / warp_lanes;
  __syncthreads();  // the parts of an earlier call have been read
  if (team.rank % warp_lanes == 0) parts[warp] = total;
  __syncthreads();
  A before = 0;
  total = 0;
  for (int other = 0; other < team.size / warp_lanes; ++other) {
    if (other == warp) before = total;
    total += parts[other];
  }
  return before + inclusive;
}

// Along rows: inner is 1, and a team scans one chunk of one row, as many elements at a time as it has threads.
template <class X>
__global__ void scan_rows(Scan<X> scan, Cut cut) {
  using A = Accumulator<X>;
  const Team team(cut.whole_block);
  for (int64_t work = team.first(); work < cut.outer * cut.chunks; work += team.count()) {
    const int64_t chunk = work % cut.chunks, row = work / cut.chunks * cut.n, end = cut.end(chunk);
    A sum = scan.before && chunk > 0 ? scan.before[work - 1] : A(0);
    for (int64_t first = chunk * cut.length; first < end; first += team.size) {
      const int64_t i = first + team.rank;
      A total;
      const A own = team_inclusive_sum(team, i < end ? widened(scan.x[row + i]) : A(0), total);
      if (!scan.sums && i < end) scan.y[row + i] = rounded<Scanned<X>>(sum + own);
      sum += total;
    }
    if (scan.sums && team.rank == 0) scan.sums[work] = sum;
  }
}

// Across columns: a thread scans one chunk of one column, its neighbour that of the next.
template <class X>
__global__ void scan_columns(Scan<X> scan, Cut cut) {
  using A = Accumulator<X>;
  for (int64_t work = thread_number(); work < cut.outer * cut.chunks * cut.inner; work += thread_count()) {
    const int64_t column = work % cut.inner, chunk = work / cut.inner % cut.chunks;
    const int64_t outer = work / cut.inner / cut.chunks, end = cut.end(chunk);
    A sum = scan.before && chunk > 0 ? scan.before[work - cut.inner] : A(0);
#pragma unroll 4
    for (int64_t i = chunk * cut.length; i < end; ++i) {
      const int64_t at = (outer * cut.n + i) * cut.inner + column;
      sum += widened(scan.x[at]);
      if (!scan.sums) scan.y[at] = rounded<Scanned<X>>(sum);
    }
    if (scan.sums) scan.sums[work] = sum;
  }
}

template <class X>
void run(const Scan<X>& scan, const Cut& cut) {
  const int64_t work = cut.outer * cut.chunks * cut.inner;
  if (cut.inner > 1) return launch<scan_columns<X>>(blocks_for(work), threads_per_block, 0, scan, cut);
  launch<scan_rows<X>>(blocks_for(work, cut.whole_block ? 1 : threads_per_block / warp_lanes), threads_per_block, 0,
                       scan, cut);
}

Cut cut_of(const Tensor& x) {
  constexpr int64_t row_chunk = 4096, column_chunk = 256, most_of_warp = 256, busy = 1 << 16;
  Cut cut{x.size(0), x.size(1), x.size(2), 0, 1, false};
  cut.whole_block = cut.n > most_of_warp;
  cut.length = cut.inner > 1 ? column_chunk : row_chunk;
  if (cut.inner > 1 && cut.outer * cut.inner >= busy) cut.length = cut.n;  // one thread for each column is enough
  cut.chunks = (cut.n + cut.length - 1) / cut.length;
  return cut;
}

template <class X>
void scan(Tensor& y, const Tensor& x) {
  using A = Accumulator<X>;
  const Cut cut = cut_of(x);
  Scan<X> scan{elements<Scanned<X>>(y), static_cast<const X*>(x.raw_data()), nullptr, nullptr};
  if (cut.chunks == 1) return run(scan, cut);
  Tensor sums = empty({cut.outer, cut.chunks, cut.inner},
                      {.dtype = std::is_integral_v<A> ? int64 : float64, .device = x.device()});
  scan.sums = elements<A>(sums);
  run(scan, cut);
  Tensor before = empty_like(sums);
  kernels::cumsum(x.device(), before, sums);
  scan.sums = nullptr;
  scan.before = elements<const A>(before);
  run(scan, cut);
}

void cumsum(Tensor& y, const Tensor& x) {
  if (x.numel() == 0) return;
  switch (x.dtype()) {
    case Dtype::int32: return scan<int32_t>(y, x);
    case Dtype::int64: return scan<int64_t>(y, x);
    case Dtype::uint8:
    case Dtype::boolean: return scan<uint8_t>(y, x);
    default: return dispatch_floating(x.dtype(), [&]<class X>() { scan<X>(y, x); });
  }
}

[[maybe_unused]] const bool filled = kernels::cumsum.set(DeviceType::cuda, cumsum);

}  // namespace
}  // namespace gradus::cuda
