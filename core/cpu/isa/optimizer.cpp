// For this instruction set: the elementwise loops of optimizer steps.
#include <gradus/core/cpu/isa/functions.h>
#include <gradus/core/cpu/isa/vector.h>

namespace gradus::cpu::GRADUS_ISA {
namespace {

// Decoupled decay multiplies the parameter, L2 decay adds to the gradient; the other of the two is neutral.
template <bool amsgrad, class T>
void adam_loop(T* __restrict parameter, const T* __restrict gradient, T* __restrict first_moment,
               T* __restrict second_moment, [[maybe_unused]] T* __restrict largest, int64_t n, const AdamArgs& args) {
  const T scale = T(args.gradient_scale), l2 = T(args.decoupled ? 0 : args.weight_decay),
          keep = T(args.decoupled ? 1 - args.lr * args.weight_decay : 1);
  const T beta1 = T(args.beta1), rest1 = T(1 - args.beta1), beta2 = T(args.beta2), rest2 = T(1 - args.beta2);
  const T step = T(args.lr / args.bias_correction1), correction = T(1 / std::sqrt(args.bias_correction2)),
          eps = T(args.eps);
  for (int64_t i = 0; i < n; ++i) {
    const T g = gradient[i] * scale + l2 * parameter[i];
    const T m = beta1 * first_moment[i] + rest1 * g;
    T v = beta2 * second_moment[i] + rest2 * g * g;
    first_moment[i] = m;
    second_moment[i] = v;
    if constexpr (amsgrad) v = largest[i] = largest[i] > v ? largest[i] : v;
    parameter[i] = parameter[i] * keep - step * m / (math::sqrt(v) * correction + eps);
  }
}

template <class T>
void adam(T* parameter, const T* gradient, T* first_moment, T* second_moment, T* largest, int64_t n,
          const AdamArgs& args) {
  const auto loop = largest ? adam_loop<true, T> : adam_loop<false, T>;
  loop(parameter, gradient, first_moment, second_moment, largest, n, args);
}

template <class T>
void sgd(T* __restrict parameter, const T* __restrict gradient, T* __restrict momentum, int64_t n,
         const SgdArgs& args) {
  const T scale = T(args.gradient_scale), l2 = T(args.weight_decay), lr = T(args.lr);
  if (!momentum) {
    for (int64_t i = 0; i < n; ++i) parameter[i] -= lr * (gradient[i] * scale + l2 * parameter[i]);
    return;
  }
  // The first step sets the buffer to the gradient. Nesterov's step looks one momentum ahead.
  const T keep = T(args.first_step ? 0 : args.momentum), rest = T(args.first_step ? 1 : 1 - args.dampening);
  const T ahead = T(args.nesterov ? args.momentum : 1), here = T(args.nesterov ? 1 : 0);
  for (int64_t i = 0; i < n; ++i) {
    const T g = gradient[i] * scale + l2 * parameter[i];
    const T m = keep * momentum[i] + rest * g;
    momentum[i] = m;
    parameter[i] -= lr * (here * g + ahead * m);
  }
}

template <bool gathered, bool centered, class T>
void rmsprop_loop(T* __restrict parameter, const T* __restrict gradient, T* __restrict square_average,
                  [[maybe_unused]] T* __restrict momentum, [[maybe_unused]] T* __restrict average, int64_t n,
                  const RmspropArgs& args) {
  const T scale = T(args.gradient_scale), l2 = T(args.weight_decay), lr = T(args.lr), eps = T(args.eps);
  const T alpha = T(args.alpha), rest = T(1 - args.alpha);
  [[maybe_unused]] const T keep = T(args.momentum);
  for (int64_t i = 0; i < n; ++i) {
    const T g = gradient[i] * scale + l2 * parameter[i];
    T v = alpha * square_average[i] + rest * g * g;
    square_average[i] = v;
    if constexpr (centered) {
      const T a = alpha * average[i] + rest * g;
      average[i] = a;
      v -= a * a;
      v = v < 0 ? T(0) : v;  // a variance that rounding made negative would become a NaN
    }
    T step = g / (math::sqrt(v) + eps);
    if constexpr (gathered) step = momentum[i] = keep * momentum[i] + step;
    parameter[i] -= lr * step;
  }
}

template <class T>
void rmsprop(T* parameter, const T* gradient, T* square_average, T* momentum, T* average, int64_t n,
             const RmspropArgs& args) {
  const auto loop = momentum ? (average ? rmsprop_loop<true, true, T> : rmsprop_loop<true, false, T>)
                             : (average ? rmsprop_loop<false, true, T> : rmsprop_loop<false, false, T>);
  loop(parameter, gradient, square_average, momentum, average, n, args);
}

template <class T>
void scale(T* gradient, int64_t n, T factor) {
  for (int64_t i = 0; i < n; ++i) gradient[i] *= factor;
}

// In double, so that large gradients do not overflow: eight partial sums hide the latency of the additions.
template <class T>
double squared_norm(const T* gradient, int64_t n) {
  constexpr int width = 4 * lanes<double>;
  double partial[width] = {};
  int64_t i = 0;
  for (; i + width <= n; i += width)
    for (int j = 0; j < width; ++j) partial[j] += double(gradient[i + j]) * double(gradient[i + j]);
  for (int j = 0; i + j < n; ++j) partial[j] += double(gradient[i + j]) * double(gradient[i + j]);
  double sum = 0;
  for (int j = 0; j < width; ++j) sum += partial[j];
  return sum;
}

template <class T>
constexpr OptimizerLoops<T> loops = {
    .adam = adam<T>, .sgd = sgd<T>, .rmsprop = rmsprop<T>, .scale = scale<T>, .squared_norm = squared_norm<T>};

}  // namespace

const OptimizerLoops<float>& optimizer_loops_f32() { return loops<float>; }
const OptimizerLoops<double>& optimizer_loops_f64() { return loops<double>; }

}  // namespace gradus::cpu::GRADUS_ISA
