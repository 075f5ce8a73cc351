// Optimizer steps over all parameters at once. Slices go to a kernel a few dozen at a time, in its parameters; their
// elements are cut into chunks, and each block takes chunks of any slice. The rules are core/optimizer_math.h.
#include <span>

#include <gradus/core/factories.h>
#include <gradus/core/kernels.h>
#include <gradus/core/optimizer_math.h>
#include <gradus/cuda/device/block.cuh>
#include <gradus/cuda/device/elements.cuh>
#include <gradus/cuda/device/grid.cuh>
#include <gradus/cuda/launch.cuh>

namespace gradus::cuda {
namespace {

using Slices = std::span<const OptimizerSlice>;

constexpr int64_t chunk = threads_per_block * 16;  // elements
constexpr int most_slices = 64, parameter_bytes = 4096;

/// Slices of one launch, all of them of T.
template <class T>
struct Batch {
  struct Slice {
    T *parameter, *gradient, *state[3];
    int64_t numel;
  };
  int count = 0;
  int64_t start[most_slices + 1] = {};  // of each slice in the range of all chunks, and the end
  Slice slice[most_slices] = {};

  void add(const OptimizerSlice& s) {
    const auto of = [](const void* p) { return static_cast<T*>(const_cast<void*>(p)); };
    slice[count] = {of(s.parameter), of(s.gradient), {of(s.state1), of(s.state2), of(s.state3)}, s.numel};
    start[count + 1] = start[count] + (s.numel + chunk - 1) / chunk;
    ++count;
  }
  __host__ __device__ int64_t chunks() const { return start[count]; }

  /// A stretch of a slice: `n` elements from `first` on.
  struct Stretch {
    const Slice& slice;
    int64_t first, n;
  };
  __device__ Stretch stretch(int64_t chunk_number) const {
    int low = 0, high = count;  // start[low] <= chunk_number < start[high]
    while (high - low > 1) {
      const int middle = (low + high) / 2;
      (start[middle] <= chunk_number ? low : high) = middle;
    }
    const int64_t first = (chunk_number - start[low]) * chunk, rest = slice[low].numel - first;
    return {slice[low], first, rest < chunk ? rest : chunk};
  }
};

// Calls body(batch) for batches of the slices that are of T and for which wanted(slice) holds.
template <class T, class Wanted, class Body>
void each_batch(Slices slices, const Wanted& wanted, const Body& body) {
  Batch<T> batch;
  for (const OptimizerSlice& s : slices) {
    if (s.dtype != dtype_of<T> || s.numel == 0 || !wanted(s)) continue;
    batch.add(s);
    if (batch.count < most_slices) continue;
    body(batch);
    batch = {};
  }
  if (batch.count > 0) body(batch);
}

// Calls body.operator()<T>() for both types of slices.
template <class Body>
void for_both(Body body) {
  body.template operator()<float>();
  body.template operator()<double>();
}

// ---- steps
template <class T>
inline constexpr int pack_size = 16 / static_cast<int>(sizeof(T));

// `size` elements from i on: parameter, gradient and what the rule uses of the states.
template <int size, class Rule, class T>
__device__ inline void update(const Rule& rule, const typename Batch<T>::Slice& slice, int64_t i) {
  using P = Pack<T, size>;
  const auto at = [i](T* p) { return reinterpret_cast<P*>(p + i); };
  P parameter = *at(slice.parameter), state[3] = {};
  const P gradient = *at(slice.gradient);
#pragma unroll
  for (int s = 0; s < 3; ++s)
    if (optimizer::uses<Rule>(s)) state[s] = *at(slice.state[s]);
#pragma unroll
  for (int j = 0; j < size; ++j) {
    T of_element[3] = {state[0].item[j], state[1].item[j], state[2].item[j]};
    rule(parameter.item[j], gradient.item[j], of_element);
#pragma unroll
    for (int s = 0; s < 3; ++s) state[s].item[j] = of_element[s];
  }
#pragma unroll
  for (int s = 0; s < 3; ++s)
    if (optimizer::uses<Rule>(s)) *at(slice.state[s]) = state[s];
  *at(slice.parameter) = parameter;
}

template <class Rule, class T>
__global__ void step(Rule rule, Batch<T> batch) {
  constexpr int size = pack_size<T>;
  const int64_t thread = threadIdx.x;
  for (int64_t c = blockIdx.x; c < batch.chunks(); c += gridDim.x) {
    const auto [slice, first, n] = batch.stretch(c);
    uintptr_t bits = reinterpret_cast<uintptr_t>(slice.parameter) | reinterpret_cast<uintptr_t>(slice.gradient);
    for (int s = 0; s < 3; ++s)
      if (optimizer::uses<Rule>(s)) bits |= reinterpret_cast<uintptr_t>(slice.state[s]);
    const int64_t packed = bits % 16 == 0 ? n / size * size : 0;
    for (int64_t i = thread * size; i < packed; i += threads_per_block * size)
      update<size, Rule, T>(rule, slice, first + i);
    for (int64_t i = packed + thread; i < n; i += threads_per_block) update<1, Rule, T>(rule, slice, first + i);
  }
}

// Steps those slices that have the states which the rule uses.
template <class Rule, class T>
void run(Slices slices, const Rule& rule) {
  static_assert(sizeof(Rule) + sizeof(Batch<T>) <= parameter_bytes);
  const auto fits = [](const OptimizerSlice& s) {
    return optimizer::uses<Rule>(0) == (s.state1 != nullptr) && optimizer::uses<Rule>(1) == (s.state2 != nullptr) &&
           optimizer::uses<Rule>(2) == (s.state3 != nullptr);
  };
  each_batch<T>(slices, fits, [&](const Batch<T>& batch) {
    launch<step<Rule, T>>(blocks_for(batch.chunks(), 1), threads_per_block, 0, rule, batch);
  });
}

void adam_step(Slices slices, const AdamArgs& args) {
  for_both([&]<class T>() {
    run<optimizer::Adam<false, T>, T>(slices, optimizer::Adam<false, T>(args));
    run<optimizer::Adam<true, T>, T>(slices, optimizer::Adam<true, T>(args));
  });
}

void sgd_step(Slices slices, const SgdArgs& args) {
  for_both([&]<class T>() {
    run<optimizer::Sgd<false, T>, T>(slices, optimizer::Sgd<false, T>(args));
    run<optimizer::Sgd<true, T>, T>(slices, optimizer::Sgd<true, T>(args));
  });
}

void rmsprop_step(Slices slices, const RmspropArgs& args) {
  for_both([&]<class T>() {
    const auto with = [&]<bool momentum, bool centered>() {
      using Rule = optimizer::Rmsprop<momentum, centered, T>;
      run<Rule, T>(slices, Rule(args));
    };
    with.template operator()<false, false>();
    with.template operator()<false, true>();
    with.template operator()<true, false>();
    with.template operator()<true, true>();
  });
}

// ---- gradients
template <class T>
__global__ void scale(Batch<T> batch, T factor) {
  for (int64_t c = blockIdx.x; c < batch.chunks(); c += gridDim.x) {
    const auto [slice, first, n] = batch.stretch(c);
    for (int64_t i = threadIdx.x; i < n; i += threads_per_block) slice.gradient[first + i] *= factor;
  }
}

constexpr auto any = [](const OptimizerSlice&) { return true; };

void scale_gradients(Slices slices, double factor) {
  for_both([&]<class T>() {
    each_batch<T>(slices, any, [&](const Batch<T>& batch) {
      launch<scale<T>>(blocks_for(batch.chunks(), 1), threads_per_block, 0, batch, static_cast<T>(factor));
    });
  });
}

// In double, so that large gradients do not overflow: a sum of each chunk, and then of the chunks, by one block.
template <class T>
__global__ void square_chunks(Batch<T> batch, double* sums) {
  for (int64_t c = blockIdx.x; c < batch.chunks(); c += gridDim.x) {
    const auto [slice, first, n] = batch.stretch(c);
    double sum = 0;
    for (int64_t i = threadIdx.x; i < n; i += threads_per_block) {
      const double g = static_cast<double>(slice.gradient[first + i]);
      sum += g * g;
    }
    sum = block_combine(sum, Add{});
    if (threadIdx.x == 0) sums[c] = sum;
  }
}

constexpr int final_threads = 1024;

__global__ void sum_of_chunks(double* total, const double* sums, int64_t n) {
  double sum = 0;
  for (int64_t i = threadIdx.x; i < n; i += final_threads) sum += sums[i];
  sum = block_combine(sum, Add{});
  if (threadIdx.x == 0) *total = sum;
}

double squared_norm(Slices slices) {
  int64_t chunks = 0;
  for (const OptimizerSlice& s : slices) chunks += (s.numel + chunk - 1) / chunk;
  if (chunks == 0) return 0;
  const TensorOptions options = {.dtype = float64, .device = gradus::detail::running().device};
  const Tensor sums = empty({chunks}, options), total = empty({1}, options);
  double* to = written<double>(sums);
  for_both([&]<class T>() {
    each_batch<T>(slices, any, [&](const Batch<T>& batch) {
      launch<square_chunks<T>>(blocks_for(batch.chunks(), 1), threads_per_block, 0, batch, to);
      to += batch.chunks();
    });
  });
  launch<sum_of_chunks>(1, final_threads, 0, written<double>(total), read<double>(sums), chunks);
  return total.item<double>();
}

[[maybe_unused]] const bool filled = kernels::adam_step.set(DeviceType::cuda, adam_step) &&
                                     kernels::sgd_step.set(DeviceType::cuda, sgd_step) &&
                                     kernels::rmsprop_step.set(DeviceType::cuda, rmsprop_step) &&
                                     kernels::scale_gradients.set(DeviceType::cuda, scale_gradients) &&
                                     kernels::squared_norm.set(DeviceType::cuda, squared_norm);

}  // namespace
}  // namespace gradus::cuda
