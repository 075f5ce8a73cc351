// Losses as modules, with PyTorch's names of options. The mathematics, and what shapes are taken, is in autograd/ops.h
// (the functions that are called here); weights are buffers, so that they move with the module and are saved.
#pragma once

#include <gradus/autograd/ops.h>
#include <gradus/nn/module.h>

namespace gradus::nn {

// ---- between scores and classes
/// cross_entropy(): logits and classes, or probabilities. ValueError when label_smoothing is outside [0, 1].
struct GRADUS_API CrossEntropyLoss : Module {
  Buffer weight;  // [C], or absent
  int64_t ignore_index;
  double label_smoothing;
  Reduction reduction;
  explicit CrossEntropyLoss(const CrossEntropyParams& options = {});
  Tensor forward(const Tensor& logits, const Tensor& target) {
    return cross_entropy(logits, target, {weight, ignore_index, label_smoothing, reduction});
  }
  GRADUS_MODULE(weight, ignore_index, label_smoothing, reduction)
};

struct NLLLossOptions {
  Tensor weight = {};  ///< [C], one factor for each class
  int64_t ignore_index = -100;
  Reduction reduction = Reduction::mean;
};
/// nll_loss(): log-probabilities and classes.
struct GRADUS_API NLLLoss : Module {
  Buffer weight;  // [C], or absent
  int64_t ignore_index;
  Reduction reduction;
  explicit NLLLoss(const NLLLossOptions& options = {});
  Tensor forward(const Tensor& log_probabilities, const Tensor& target) {
    return nll_loss(log_probabilities, target, {weight, ignore_index, 0, reduction});
  }
  GRADUS_MODULE(weight, ignore_index, reduction)
};

// ---- between two tensors of one shape
struct LossOptions {
  Reduction reduction = Reduction::mean;
};
struct GRADUS_API MSELoss : Module {
  Reduction reduction;
  explicit MSELoss(const LossOptions& options = {}) : reduction(options.reduction) {}
  Tensor forward(const Tensor& x, const Tensor& target) { return mse_loss(x, target, reduction); }
  GRADUS_MODULE(reduction)
};
struct GRADUS_API L1Loss : Module {
  Reduction reduction;
  explicit L1Loss(const LossOptions& options = {}) : reduction(options.reduction) {}
  Tensor forward(const Tensor& x, const Tensor& target) { return l1_loss(x, target, reduction); }
  GRADUS_MODULE(reduction)
};

struct SmoothL1LossOptions {
  Reduction reduction = Reduction::mean;
  double beta = 1;
};
/// ValueError when beta is negative.
struct GRADUS_API SmoothL1Loss : Module {
  Reduction reduction;
  double beta;
  explicit SmoothL1Loss(const SmoothL1LossOptions& options = {});
  Tensor forward(const Tensor& x, const Tensor& target) { return smooth_l1_loss(x, target, beta, reduction); }
  GRADUS_MODULE(reduction, beta)
};

struct HuberLossOptions {
  Reduction reduction = Reduction::mean;
  double delta = 1;
};
/// ValueError when delta is 0 or less.
struct GRADUS_API HuberLoss : Module {
  Reduction reduction;
  double delta;
  explicit HuberLoss(const HuberLossOptions& options = {});
  Tensor forward(const Tensor& x, const Tensor& target) { return huber_loss(x, target, delta, reduction); }
  GRADUS_MODULE(reduction, delta)
};

struct BCELossOptions {
  Tensor weight = {};  ///< broadcast to the losses
  Reduction reduction = Reduction::mean;
};
/// binary_cross_entropy(): probabilities in [0, 1] and targets.
struct GRADUS_API BCELoss : Module {
  Buffer weight;
  Reduction reduction;
  explicit BCELoss(const BCELossOptions& options = {});
  Tensor forward(const Tensor& probability, const Tensor& target) {
    return binary_cross_entropy(probability, target, reduction, weight);
  }
  GRADUS_MODULE(weight, reduction)
};

struct BCEWithLogitsLossOptions {
  Tensor weight = {};  ///< broadcast to the losses
  Reduction reduction = Reduction::mean;
  Tensor pos_weight = {};  ///< broadcast to the losses: a factor for the part of positive targets
};
/// binary_cross_entropy_with_logits(): the sigmoid is within the loss.
struct GRADUS_API BCEWithLogitsLoss : Module {
  Buffer weight, pos_weight;
  Reduction reduction;
  explicit BCEWithLogitsLoss(const BCEWithLogitsLossOptions& options = {});
  Tensor forward(const Tensor& logits, const Tensor& target) {
    return binary_cross_entropy_with_logits(logits, target, reduction, pos_weight, weight);
  }
  GRADUS_MODULE(weight, pos_weight, reduction)
};

struct KLDivLossOptions {
  Reduction reduction = Reduction::mean;  ///< mean: over the batch, which PyTorch calls batchmean
  bool log_target = false;                ///< targets are log-probabilities too
};
/// kl_div(): log-probabilities and probabilities.
struct GRADUS_API KLDivLoss : Module {
  Reduction reduction;
  bool log_target;
  explicit KLDivLoss(const KLDivLossOptions& options = {})
      : reduction(options.reduction), log_target(options.log_target) {}
  Tensor forward(const Tensor& log_probabilities, const Tensor& target) {
    return kl_div(log_probabilities, target, reduction, log_target);
  }
  GRADUS_MODULE(reduction, log_target)
};

}  // namespace gradus::nn
