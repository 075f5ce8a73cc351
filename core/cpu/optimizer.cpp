// CPU kernels: optimizer steps over all parameters at once. The elements of all slices form one range that the threads
// share; a norm is a sum of sums over pieces of fixed size, so that it does not depend on the number of threads.
#include <algorithm>
#include <vector>

#include <gradus/core/cpu/detail/rows.h>
#include <gradus/core/kernels.h>

namespace gradus::cpu {
namespace {

constexpr int64_t piece = 16384;  // elements

using Slices = std::span<const OptimizerSlice>;

// Where each slice begins in the range of all elements; the total comes last.
std::vector<int64_t> starts_of(Slices slices) {
  std::vector<int64_t> starts(slices.size() + 1, 0);
  for (size_t i = 0; i < slices.size(); ++i) starts[i + 1] = starts[i] + slices[i].numel;
  return starts;
}

// Calls body(slice, begin, count) for stretches that cover elements [from, to) of all slices.
template <class Body>
void for_stretches(Slices slices, const std::vector<int64_t>& starts, int64_t from, int64_t to, Body body) {
  size_t i = static_cast<size_t>(std::upper_bound(starts.begin(), starts.end(), from) - starts.begin()) - 1;
  for (; from < to; ++i) {
    const int64_t end = std::min(to, starts[i + 1]);
    if (end > from) body(slices[i], from - starts[i], end - from);
    from = end;
  }
}

// Calls body(loops, T{}) with the loops for the type T of the slice.
template <class Body>
void with_loops(const OptimizerSlice& slice, Body body) {
  if (slice.dtype == float64)
    body(isa().optimizer_loops_f64(), double{});
  else
    body(isa().optimizer_loops_f32(), float{});
}

template <class T>
T* at(void* p, int64_t i) {
  return p ? static_cast<T*>(p) + i : nullptr;
}
template <class T>
const T* at(const void* p, int64_t i) {
  return static_cast<const T*>(p) + i;
}

// Calls body(loops, T{}, slice, begin, count) for stretches that cover everything, on any thread.
template <class Body>
void for_all(Slices slices, Body body) {
  const std::vector<int64_t> starts = starts_of(slices);
  parallel_for(0, starts.back(), piece, [&](int64_t from, int64_t to) {
    for_stretches(slices, starts, from, to, [&](const OptimizerSlice& slice, int64_t begin, int64_t count) {
      with_loops(slice, [&](const auto& loops, auto type) { body(loops, type, slice, begin, count); });
    });
  });
}

void adam_step(Slices slices, const AdamArgs& args) {
  for_all(slices, [&]<class T>(const auto& loops, T, const OptimizerSlice& s, int64_t i, int64_t n) {
    loops.adam(at<T>(s.parameter, i), at<T>(s.gradient, i), at<T>(s.state1, i), at<T>(s.state2, i), at<T>(s.state3, i),
               n, args);
  });
}

void sgd_step(Slices slices, const SgdArgs& args) {
  for_all(slices, [&]<class T>(const auto& loops, T, const OptimizerSlice& s, int64_t i, int64_t n) {
    loops.sgd(at<T>(s.parameter, i), at<T>(s.gradient, i), at<T>(s.state1, i), n, args);
  });
}

void rmsprop_step(Slices slices, const RmspropArgs& args) {
  for_all(slices, [&]<class T>(const auto& loops, T, const OptimizerSlice& s, int64_t i, int64_t n) {
    loops.rmsprop(at<T>(s.parameter, i), at<T>(s.gradient, i), at<T>(s.state1, i), at<T>(s.state2, i),
                  at<T>(s.state3, i), n, args);
  });
}

void scale_gradients(Slices slices, double factor) {
  for_all(slices, [&]<class T>(const auto& loops, T, const OptimizerSlice& s, int64_t i, int64_t n) {
    loops.scale(const_cast<T*>(at<T>(s.gradient, i)), n, T(factor));
  });
}

double squared_norm(Slices slices) {
  const std::vector<int64_t> starts = starts_of(slices);
  const int64_t total = starts.back(), pieces = (total + piece - 1) / piece;
  std::vector<double> sums(static_cast<size_t>(pieces), 0.0);
  parallel_for(0, pieces, 1, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p)
      for_stretches(slices, starts, p * piece, std::min(total, (p + 1) * piece),
                    [&](const OptimizerSlice& s, int64_t i, int64_t n) {
                      with_loops(s, [&]<class T>(const auto& loops, T) {
                        sums[static_cast<size_t>(p)] += loops.squared_norm(at<T>(s.gradient, i), n);
                      });
                    });
  });
  double sum = 0;
  for (double s : sums) sum += s;
  return sum;
}

[[maybe_unused]] const bool registered = kernels::adam_step.set(DeviceType::cpu, adam_step) &&
                                         kernels::sgd_step.set(DeviceType::cpu, sgd_step) &&
                                         kernels::rmsprop_step.set(DeviceType::cpu, rmsprop_step) &&
                                         kernels::scale_gradients.set(DeviceType::cpu, scale_gradients) &&
                                         kernels::squared_norm.set(DeviceType::cpu, squared_norm);

}  // namespace
}  // namespace gradus::cpu
