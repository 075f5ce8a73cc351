// Per-ISA functions for optimizer kernels; see functions.h.
#pragma once

#include <cstdint>

#include <gradus/core/optimizer_args.h>

namespace gradus::cpu {

/// One piece of one parameter each: n elements of parameter, gradient and states.
template <class T>
struct OptimizerLoops {
  /// `largest` is null without AMSGrad.
  void (*adam)(T* parameter, const T* gradient, T* first_moment, T* second_moment, T* largest, int64_t n,
               const AdamArgs& args);
  /// `momentum` is null when args.momentum is 0.
  void (*sgd)(T* parameter, const T* gradient, T* momentum, int64_t n, const SgdArgs& args);
  /// `momentum` is null when args.momentum is 0, `average` when the second moment is not centred.
  void (*rmsprop)(T* parameter, const T* gradient, T* square_average, T* momentum, T* average, int64_t n,
                  const RmspropArgs& args);
  void (*scale)(T* gradient, int64_t n, T factor);
  double (*squared_norm)(const T* gradient, int64_t n);
};

}  // namespace gradus::cpu

// clang-format off
#define GRADUS_ISA_OPTIMIZER(F) \
  F(optimizer_loops_f32, const OptimizerLoops<float>&) \
  F(optimizer_loops_f64, const OptimizerLoops<double>&)
// clang-format on
