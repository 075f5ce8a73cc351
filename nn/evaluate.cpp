// Evaluation of modules.
#include <gradus/nn/evaluate.h>

#include <gradus/core/detail/check.h>

namespace gradus::nn {

Evaluation::Evaluation(Module& module) : modules_(module.named_modules()) {
  for (const NamedModule& m : modules_) training_.push_back(m.module->is_training());
  module.eval();
}
// Outer modules first: train() reaches inwards.
Evaluation::~Evaluation() {
  for (size_t i = 0; i < modules_.size(); ++i) modules_[i].module->train(training_[i]);
}

namespace detail {

int64_t count_correct(const Tensor& scores, const Tensor& target) {
  GRADUS_CHECK(scores.rank() == 2 && target.shape() == Shape{scores.size(0)}, ShapeError,
               "evaluate_accuracy: scores {} and targets {}; want [N, C] and [N]", scores.shape(), target.shape());
  return sum(eq(argmax(scores, 1), target)).item<int64_t>();
}

double share(int64_t correct, int64_t total) {
  GRADUS_CHECK(total > 0, ValueError, "evaluate_accuracy: there are no samples");
  return static_cast<double>(correct) / static_cast<double>(total);
}

}  // namespace detail

}  // namespace gradus::nn
