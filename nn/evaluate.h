// Evaluation: a scope for it, and the accuracy of a classifier.
#pragma once

#include <vector>

#include <gradus/autograd/ops.h>
#include <gradus/nn/module.h>

namespace gradus::nn {

/// While it lives the module is in evaluation mode and no graph is recorded; then every part has its mode back.
class GRADUS_API Evaluation {
 public:
  explicit Evaluation(Module& module);
  ~Evaluation();
  Evaluation(const Evaluation&) = delete;
  Evaluation& operator=(const Evaluation&) = delete;

 private:
  const NoGrad no_graph_;
  std::vector<NamedModule> modules_;
  std::vector<bool> training_;
};

namespace detail {
/// How many rows of scores [N, C] are largest at their target [N].
GRADUS_API int64_t count_correct(const Tensor& scores, const Tensor& target);
GRADUS_API double share(int64_t correct, int64_t total);
}  // namespace detail

/// The share of samples whose class gets the largest score. `loader` yields pairs of an input and int64 targets [N],
/// `module(input)` is [N, C]. ValueError when there are no samples.
template <std::derived_from<Module> M, class Loader>
double evaluate_accuracy(M& module, Loader&& loader) {
  const Evaluation scope(module);
  int64_t correct = 0, total = 0;
  for (auto&& [x, y] : loader) {
    correct += detail::count_correct(module(x), y);
    total += y.numel();
  }
  return detail::share(correct, total);
}

}  // namespace gradus::nn
