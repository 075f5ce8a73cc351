// For this instruction set: the elementwise loops of optimizer steps.
#include <gradus/core/cpu/isa/functions.h>
#include <gradus/core/cpu/isa/vector.h>

namespace gradus::cpu::GRADUS_ISA {
namespace {

// Decoupled decay multiplies the parameter, L2 decay adds to the gradient; the other of the two is neutral.
template <class T>
void adam(T* __restrict parameter, const T* __restrict gradient, T* __restrict first_moment,
          T* __restrict second_moment, int64_t n, const AdamArgs& args) {
  const T scale = T(args.gradient_scale), l2 = T(args.decoupled ? 0 : args.weight_decay),
          keep = T(args.decoupled ? 1 - args.lr * args.weight_decay : 1);
  const T beta1 = T(args.beta1), rest1 = T(1 - args.beta1), beta2 = T(args.beta2), rest2 = T(1 - args.beta2);
  const T step = T(args.lr / args.bias_correction1), correction = T(1 / std::sqrt(args.bias_correction2)),
          eps = T(args.eps);
  for (int64_t i = 0; i < n; ++i) {
    const T g = gradient[i] * scale + l2 * parameter[i];
    const T m = beta1 * first_moment[i] + rest1 * g;
    const T v = beta2 * second_moment[i] + rest2 * g * g;
    first_moment[i] = m;
    second_moment[i] = v;
    parameter[i] = parameter[i] * keep - step * m / (math::sqrt(v) * correction + eps);
  }
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

template <class T>
void rmsprop(T* __restrict parameter, const T* __restrict gradient, T* __restrict square_average,
             T* __restrict momentum, int64_t n, const RmspropArgs& args) {
  const T scale = T(args.gradient_scale), l2 = T(args.weight_decay), lr = T(args.lr), eps = T(args.eps);
  const T alpha = T(args.alpha), rest = T(1 - args.alpha), keep = T(args.momentum);
  if (!momentum) {
    for (int64_t i = 0; i < n; ++i) {
      const T g = gradient[i] * scale + l2 * parameter[i];
      const T v = alpha * square_average[i] + rest * g * g;
      square_average[i] = v;
      parameter[i] -= lr * g / (math::sqrt(v) + eps);
    }
    return;
  }
  for (int64_t i = 0; i < n; ++i) {
    const T g = gradient[i] * scale + l2 * parameter[i];
    const T v = alpha * square_average[i] + rest * g * g;
    const T m = keep * momentum[i] + g / (math::sqrt(v) + eps);
    square_average[i] = v;
    momentum[i] = m;
    parameter[i] -= lr * m;
  }
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
