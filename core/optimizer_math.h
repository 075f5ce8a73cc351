// One step of each optimizer for one element, the same on every device. Plain data only.
//
// A rule is made from the numbers of a step and then called with (parameter, gradient, state): it changes parameter and
// state. The bits of `states` say which of the three (core/optimizer_args.h) it reads and writes; each combination that
// occurs is a type of its own, so that loops have no branches.
#pragma once

#include <gradus/core/math.h>
#include <gradus/core/optimizer_args.h>

namespace gradus::optimizer {

template <class Rule>
GRADUS_FN constexpr bool uses(int state) {
  return (Rule::states >> state & 1) != 0;
}

// Decoupled decay multiplies the parameter, L2 decay adds to the gradient; the other of the two is neutral.
template <bool amsgrad, class T>
struct Adam {
  static constexpr unsigned states = amsgrad ? 0b111 : 0b011;
  T scale, l2, keep, beta1, rest1, beta2, rest2, step, correction, eps;

  GRADUS_FN explicit Adam(const AdamArgs& args)
      : scale(T(args.gradient_scale)),
        l2(T(args.decoupled ? 0 : args.weight_decay)),
        keep(T(args.decoupled ? 1 - args.lr * args.weight_decay : 1)),
        beta1(T(args.beta1)),
        rest1(T(1 - args.beta1)),
        beta2(T(args.beta2)),
        rest2(T(1 - args.beta2)),
        step(T(args.lr / args.bias_correction1)),
        correction(T(1 / math::sqrt(args.bias_correction2))),
        eps(T(args.eps)) {}

  GRADUS_FN void operator()(T& parameter, T gradient, T (&state)[3]) const {
    const T g = gradient * scale + l2 * parameter;
    const T m = beta1 * state[0] + rest1 * g;
    T v = beta2 * state[1] + rest2 * g * g;
    state[0] = m;
    state[1] = v;
    if constexpr (amsgrad) v = state[2] = state[2] > v ? state[2] : v;
    parameter = parameter * keep - step * m / (math::sqrt(v) * correction + eps);
  }
};

// The first step sets the velocity to the gradient. Nesterov's step looks one momentum ahead.
template <bool momentum, class T>
struct Sgd {
  static constexpr unsigned states = momentum ? 0b001 : 0;
  T scale, l2, lr, keep, rest, ahead, here;

  GRADUS_FN explicit Sgd(const SgdArgs& args)
      : scale(T(args.gradient_scale)),
        l2(T(args.weight_decay)),
        lr(T(args.lr)),
        keep(T(args.first_step ? 0 : args.momentum)),
        rest(T(args.first_step ? 1 : 1 - args.dampening)),
        ahead(T(args.nesterov ? args.momentum : 1)),
        here(T(args.nesterov ? 1 : 0)) {}

  GRADUS_FN void operator()(T& parameter, T gradient, T (&state)[3]) const {
    const T g = gradient * scale + l2 * parameter;
    if constexpr (momentum) {
      const T m = keep * state[0] + rest * g;
      state[0] = m;
      parameter -= lr * (here * g + ahead * m);
    } else {
      parameter -= lr * g;
    }
  }
};

template <bool momentum, bool centered, class T>
struct Rmsprop {
  static constexpr unsigned states = 0b001 | (momentum ? 0b010 : 0) | (centered ? 0b100 : 0);
  T scale, l2, lr, eps, alpha, rest, keep;

  GRADUS_FN explicit Rmsprop(const RmspropArgs& args)
      : scale(T(args.gradient_scale)),
        l2(T(args.weight_decay)),
        lr(T(args.lr)),
        eps(T(args.eps)),
        alpha(T(args.alpha)),
        rest(T(1 - args.alpha)),
        keep(T(args.momentum)) {}

  GRADUS_FN void operator()(T& parameter, T gradient, T (&state)[3]) const {
    const T g = gradient * scale + l2 * parameter;
    T v = alpha * state[0] + rest * g * g;
    state[0] = v;
    if constexpr (centered) {
      const T a = alpha * state[2] + rest * g;
      state[2] = a;
      v -= a * a;
      v = v < 0 ? T(0) : v;  // a variance that rounding made negative would become a NaN
    }
    T step = g / (math::sqrt(v) + eps);
    if constexpr (momentum) step = state[1] = keep * state[1] + step;
    parameter -= lr * step;
  }
};

}  // namespace gradus::optimizer
