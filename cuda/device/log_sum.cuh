// The logarithm of a sum of exponentials, found in one pass (Milakov and Gimelshein, arXiv 1805.02867).
#pragma once

#include <limits>

#include <gradus/core/math.h>
#include <gradus/cuda/device/block.cuh>

namespace gradus::cuda {

/// The largest x so far, and the sum of exp(x - top). The sum is NaN when an x was NaN or infinite.
template <class T>
struct LogSum {
  T top, sum;

  static constexpr T lowest = -std::numeric_limits<T>::infinity();
  __device__ static LogSum none() { return {lowest, 0}; }

  // One exponential for each element, of the smaller of x and top minus the larger.
  __device__ void add(T x) {
    const bool above = x > top;
    const T e = share(above ? top : x, above ? x : top);
    sum = above ? sum * e + (T(1) + (x - x)) : sum + e;  // x - x is NaN for an infinite x
    top = above ? x : top;
  }
  /// log sum exp x; minus infinity when every x is.
  __device__ T value() const { return top == lowest ? math::log(sum) : top + math::log(sum); }

  template <class F>
  __device__ LogSum map(F f) const {
    return {f(top), f(sum)};
  }
  struct Merge {
    __device__ LogSum operator()(LogSum a, LogSum b) const {
      return a.top >= b.top ? LogSum{a.top, a.sum + b.sum * share(b.top, a.top)}
                            : LogSum{b.top, b.sum + a.sum * share(a.top, b.top)};
    }
  };

 private:
  // exp(low - high), and 0 for minus infinities, though their difference is NaN.
  __device__ static T share(T low, T high) { return low == lowest ? T(0) : math::exp(low - high); }
};

}  // namespace gradus::cuda
