// For this instruction set: the elementwise loops of optimizer steps.
#include <gradus/core/cpu/isa/functions.h>
#include <gradus/core/cpu/isa/vector.h>
#include <gradus/core/optimizer_math.h>

namespace gradus::cpu::GRADUS_ISA {
namespace {

// The states that the rule does not use may be null.
template <class Rule, class T>
void run(const Rule& made, T* __restrict parameter, const T* __restrict gradient, [[maybe_unused]] T* __restrict state0,
         [[maybe_unused]] T* __restrict state1, [[maybe_unused]] T* __restrict state2, int64_t n) {
  const Rule rule = made;  // a copy that no store below can change
  for (int64_t i = 0; i < n; ++i) {
    T value = parameter[i], state[3] = {};
    if constexpr (optimizer::uses<Rule>(0)) state[0] = state0[i];
    if constexpr (optimizer::uses<Rule>(1)) state[1] = state1[i];
    if constexpr (optimizer::uses<Rule>(2)) state[2] = state2[i];
    rule(value, gradient[i], state);
    if constexpr (optimizer::uses<Rule>(0)) state0[i] = state[0];
    if constexpr (optimizer::uses<Rule>(1)) state1[i] = state[1];
    if constexpr (optimizer::uses<Rule>(2)) state2[i] = state[2];
    parameter[i] = value;
  }
}

template <class T>
void adam(T* parameter, const T* gradient, T* first_moment, T* second_moment, T* largest, int64_t n,
          const AdamArgs& args) {
  if (largest)
    run(optimizer::Adam<true, T>(args), parameter, gradient, first_moment, second_moment, largest, n);
  else
    run(optimizer::Adam<false, T>(args), parameter, gradient, first_moment, second_moment, largest, n);
}

template <class T>
void sgd(T* parameter, const T* gradient, T* momentum, int64_t n, const SgdArgs& args) {
  T* const none = nullptr;
  if (momentum)
    run(optimizer::Sgd<true, T>(args), parameter, gradient, momentum, none, none, n);
  else
    run(optimizer::Sgd<false, T>(args), parameter, gradient, none, none, none, n);
}

template <class T>
void rmsprop(T* parameter, const T* gradient, T* square_average, T* momentum, T* average, int64_t n,
             const RmspropArgs& args) {
  const auto with = [=]<class Rule>(const Rule& rule) {
    run(rule, parameter, gradient, square_average, momentum, average, n);
  };
  if (momentum && average)
    with(optimizer::Rmsprop<true, true, T>(args));
  else if (momentum)
    with(optimizer::Rmsprop<true, false, T>(args));
  else if (average)
    with(optimizer::Rmsprop<false, true, T>(args));
  else
    with(optimizer::Rmsprop<false, false, T>(args));
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
