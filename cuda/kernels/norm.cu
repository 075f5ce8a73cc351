// Layer norm and RMS norm over rows, and their derivatives. The gradients of weight and bias are sums over rows: each
// block adds up those of its rows while it computes dx, and a second kernel adds up the blocks, whose number is fixed
// by the shape.
#include <gradus/core/factories.h>
#include <gradus/core/kernels.h>
#include <gradus/core/math.h>
#include <gradus/cuda/device/rows.cuh>
#include <gradus/cuda/launch.cuh>

namespace gradus::cuda {
namespace {

template <int width, bool centered, class S, class T = Compute<S>>
__device__ void norm_rows(S* y, T* mean, T* rstd, const S* x, const S* weight, const S* bias, T eps,
                          const RowPlan& plan) {
  const Team team(plan.whole_block);
  for (int64_t row = team.first(); row < plan.rows; row += team.count()) {
    const KeptRow<S> in(plan, team, x, row, 0);
    T center = 0, square = 0;
    if constexpr (centered) {
      const Moments<T> moments = row_moments<width>(team, in, plan.n);
      center = moments.mean;
      square = moments.variance;
    } else {
      for_row<width>(team, plan.n, [&](int64_t i) {
        const auto values = in.template read<width>(i);
        for (const T value : values.item) square += value * value;
      });
      square = team.combine(square, Add{}) / static_cast<T>(plan.n);
    }
    const T scale = T(1) / math::sqrt(square + eps);
    if (team.rank == 0) {
      if constexpr (centered) mean[row] = center;
      rstd[row] = scale;
    }
    for_row<width>(team, plan.n, [&](int64_t i) {
      auto values = in.template again<width>(i);
      const auto factors = values_or<width>(weight, i, T(1)), shifts = values_or<width>(bias, i, T(0));
      for (int j = 0; j < width; ++j)
        values.item[j] = (values.item[j] - center) * scale * factors.item[j] + shifts.item[j];
      store_values<width>(y + row * plan.n + i, values);
    });
  }
}

template <class S, bool centered, class T = Compute<S>>
__global__ void norm_kernel(S* y, T* mean, T* rstd, const S* x, const S* weight, const S* bias, T eps, RowPlan plan) {
  if (plan.packed)
    norm_rows<pack_size<S>, centered>(y, mean, rstd, x, weight, bias, eps, plan);
  else
    norm_rows<1, centered>(y, mean, rstd, x, weight, bias, eps, plan);
}

// ---- derivatives: with z = (x - mean) rstd and h = g weight, dx = rstd (h - mean h - z mean(h z)), dweight = sum g z,
// dbias = sum g. Sums [blocks, 2, n] are those of z g and g over the rows of each block; null when nobody wants them.
template <class S>
struct NormBackward {
  using T = Compute<S>;
  S* dx;
  T* sums;
  const S *g, *x;
  const T *mean, *rstd;
  const S* weight;
};

// Where a team adds up its rows: in its shared memory behind the kept rows, or at once where the block's sums belong.
template <class S, class T = Compute<S>>
__device__ T* team_sums(const RowPlan& plan, const Team& team, T* sums) {
  return plan.kept ? reinterpret_cast<T*>(team_memory(plan, team) + 2 * plan.row_bytes)
                   : sums + 2 * plan.n * blockIdx.x;
}

template <int width, bool centered, class S, class T = Compute<S>>
__device__ void norm_backward_row(const NormBackward<S>& call, const RowPlan& plan, const Team& team, int64_t row,
                                  T* sums) {
  const int64_t n = plan.n;
  const KeptRow<S> gradient(plan, team, call.g, row, 0), in(plan, team, call.x, row, 1);
  const T center = centered ? call.mean[row] : T(0), scale = call.rstd[row];
  Two<T> total{0, 0};
  for_row<width>(team, n, [&](int64_t i) {
    const auto g = gradient.template read<width>(i), x = in.template read<width>(i);
    const auto factors = values_or<width>(call.weight, i, T(1));
    for (int j = 0; j < width; ++j) {
      const T deviation = x.item[j] - center, h = g.item[j] * factors.item[j];
      total.first += h;
      total.second += h * deviation;
      if (!sums) continue;
      sums[i + j] += g.item[j] * (deviation * scale);
      if constexpr (centered) sums[n + i + j] += g.item[j];
    }
  });
  if (!call.dx) return;
  total = team.combine(total, Add{});
  const T slope = total.second * scale * scale / static_cast<T>(n);
  const T offset = centered ? total.first / static_cast<T>(n) : T(0);
  for_row<width>(team, n, [&](int64_t i) {
    auto g = gradient.template again<width>(i);
    const auto x = in.template again<width>(i);
    const auto factors = values_or<width>(call.weight, i, T(1));
    for (int j = 0; j < width; ++j)
      g.item[j] = (g.item[j] * factors.item[j] - offset - (x.item[j] - center) * slope) * scale;
    store_values<width>(call.dx + row * n + i, g);
  });
}

template <int width, bool centered, class S, class T = Compute<S>>
__device__ void norm_backward_rows(const NormBackward<S>& call, const RowPlan& plan) {
  const Team team(plan.whole_block);
  T* const sums = call.sums ? team_sums<S>(plan, team, call.sums) : nullptr;
  if (sums)
    for_row<width>(team, plan.n, [&](int64_t i) {
      for (int j = 0; j < width; ++j) sums[i + j] = sums[plan.n + i + j] = 0;
    });
  for (int64_t row = team.first(); row < plan.rows; row += team.count())
    norm_backward_row<width, centered>(call, plan, team, row, sums);
  if (!sums || !plan.kept) return;
  __syncthreads();  // the teams of the block have added up their rows
  T* const to = call.sums + 2 * plan.n * blockIdx.x;
  for (int64_t i = threadIdx.x; i < 2 * plan.n; i += blockDim.x) {
    T sum = 0;
    for (int other = 0; other < team.per_block; ++other)
      sum += reinterpret_cast<const T*>(reinterpret_cast<const unsigned char*>(sums) +
                                        (other - team.number) * plan.team_bytes)[i];
    to[i] = sum;
  }
}

template <class S, bool centered>
__global__ void norm_backward_kernel(NormBackward<S> call, RowPlan plan) {
  if (plan.packed)
    norm_backward_rows<pack_size<S>, centered>(call, plan);
  else
    norm_backward_rows<1, centered>(call, plan);
}

// dweight and dbias [n] from sums [count, 2, n]. Blocks of (32, 8): threads along n, the sums split among eight.
template <class S, class T = Compute<S>>
__global__ void add_up_sums(S* dweight, S* dbias, const T* sums, int64_t count, int64_t n) {
  GRADUS_SHARED(T, parts, [8][warp_lanes]);
  for (int64_t first = int64_t{warp_lanes} * blockIdx.x; first < 2 * n; first += int64_t{warp_lanes} * gridDim.x) {
    const int64_t i = first + threadIdx.x;
    T sum = 0;
    if (i < 2 * n)
      for (int64_t k = threadIdx.y; k < count; k += blockDim.y) sum += sums[k * 2 * n + i];
    parts[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y == 0 && i < 2 * n) {
      for (unsigned k = 1; k < blockDim.y; ++k) sum += parts[k][threadIdx.x];
      S* const to = i < n ? dweight : dbias;
      if (to) to[i < n ? i : i - n] = static_cast<S>(sum);
    }
    __syncthreads();  // the parts have been read
  }
}

template <bool centered>
void norm(Tensor& y, Tensor& mean, Tensor& rstd, const Tensor& x, const Tensor& weight, const Tensor& bias,
          double eps) {
  if (x.numel() == 0) return;
  const int64_t n = x.size(-1);
  dispatch_floating(x.dtype(), [&]<class S>() {
    using T = Compute<S>;
    const RowLaunch rows = plan_rows<S>(x.numel() / n, n, {&y, &x, &weight, &bias}, 1);
    launch<norm_kernel<S, centered>>(rows.blocks, rows.threads, rows.shared_bytes, elements<S>(y), elements<T>(mean),
                                     elements<T>(rstd), elements<const S>(x), elements<const S>(weight),
                                     elements<const S>(bias), static_cast<T>(eps), rows.plan);
  });
}

template <bool centered>
void norm_backward(Tensor& dx, Tensor& dweight, Tensor& dbias, const Tensor& g, const Tensor& x, const Tensor& mean,
                   const Tensor& rstd, const Tensor& weight) {
  constexpr unsigned rows_of_team = 4, most_sums = 512;
  if (x.numel() == 0) {
    for (Tensor* sum : {&dweight, &dbias})
      if (sum->defined()) kernels::fill(x.device(), *sum, 0);
    return;
  }
  const bool learned = dweight.defined() || dbias.defined();
  const int64_t n = x.size(-1);
  dispatch_floating(x.dtype(), [&]<class S>() {
    using T = Compute<S>;
    const int64_t sum_bytes = learned ? 2 * n * static_cast<int64_t>(sizeof(T)) : 0;
    RowLaunch rows = plan_rows<S>(x.numel() / n, n, {&dx, &g, &x, &weight}, 2, sum_bytes);
    Tensor sums;
    if (learned) {
      rows.blocks = std::min((rows.blocks + rows_of_team - 1) / rows_of_team, most_sums);
      sums = empty({rows.blocks, 2, n}, {.dtype = dtype_of<T>, .device = x.device()});
    }
    const NormBackward<S> call{elements<S>(dx),          elements<T>(sums),       elements<const S>(g),
                               elements<const S>(x),     elements<const T>(mean), elements<const T>(rstd),
                               elements<const S>(weight)};
    launch<norm_backward_kernel<S, centered>>(rows.blocks, rows.threads, rows.shared_bytes, call, rows.plan);
    if (learned)
      launch<add_up_sums<S>>(blocks_for(2 * n, warp_lanes), dim3(warp_lanes, 8), 0, elements<S>(dweight),
                             elements<S>(dbias), elements<const T>(sums), static_cast<int64_t>(rows.blocks), n);
  });
}

void rms_norm(Tensor& y, Tensor& rstd, const Tensor& x, const Tensor& weight, double eps) {
  Tensor no_mean;
  norm<false>(y, no_mean, rstd, x, weight, {}, eps);
}

void rms_norm_backward(Tensor& dx, Tensor& dweight, const Tensor& g, const Tensor& x, const Tensor& rstd,
                       const Tensor& weight) {
  Tensor no_bias;
  norm_backward<false>(dx, dweight, no_bias, g, x, {}, rstd, weight);
}

[[maybe_unused]] const bool filled = kernels::layer_norm.set(DeviceType::cuda, norm<true>) &&
                                     kernels::layer_norm_backward.set(DeviceType::cuda, norm_backward<true>) &&
                                     kernels::rms_norm.set(DeviceType::cuda, rms_norm) &&
                                     kernels::rms_norm_backward.set(DeviceType::cuda, rms_norm_backward);

}  // namespace
}  // namespace gradus::cuda
