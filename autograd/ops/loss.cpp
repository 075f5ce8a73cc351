// Losses between two tensors of one shape, made of other ops.
#include <gradus/autograd/detail/reduce_losses.h>
#include <gradus/core/detail/check.h>

namespace gradus {
namespace {

using detail::reduce_losses;

// Equal shapes: a target [N] broadcast against an output [N, 1] is a silent, common mistake.
void check_pair(const char* op, const char* name, const Tensor& x, const Tensor& target) {
  detail::check_floating(op, name, x);
  detail::check_defined(op, "target", target);
  detail::check_same(op, x, target);
  GRADUS_CHECK(x.shape() == target.shape(), ShapeError, "{}: {} {} and target {}; want equal shapes, use x.reshape()",
               op, name, x.shape(), target.shape());
}

// A factor that may be left out, and must not make the losses larger.
void check_factor(const char* op, const char* name, const Tensor& factor, const Tensor& x) {
  if (!factor.defined()) return;
  detail::check_same(op, x, factor);
  GRADUS_CHECK(broadcast_shapes(op, factor.shape(), x.shape()) == x.shape(), ShapeError,
               "{}: {} {} does not broadcast to the losses {}", op, name, factor.shape(), x.shape());
}

Tensor weighted(const Tensor& losses, const Tensor& weight) { return weight.defined() ? losses * weight : losses; }

}  // namespace

Tensor mse_loss(const Tensor& x, const Tensor& target, Reduction reduction) {
  check_pair("mse_loss", "x", x, target);
  return reduce_losses(square(x - target), reduction);
}

Tensor l1_loss(const Tensor& x, const Tensor& target, Reduction reduction) {
  check_pair("l1_loss", "x", x, target);
  return reduce_losses(abs(x - target), reduction);
}

// d^2 / 2 near zero, delta (|d| - delta / 2) beyond delta. With c = min(|d|, delta) both are c (|d| - c / 2).
Tensor huber_loss(const Tensor& x, const Tensor& target, double delta, Reduction reduction) {
  check_pair("huber_loss", "x", x, target);
  GRADUS_CHECK(delta > 0, ValueError, "huber_loss: delta is {}; want more than 0", delta);
  const Tensor distance = abs(x - target), near = clamp(distance, {}, delta);
  return reduce_losses(near * (distance - 0.5 * near), reduction);
}

Tensor smooth_l1_loss(const Tensor& x, const Tensor& target, double beta, Reduction reduction) {
  check_pair("smooth_l1_loss", "x", x, target);
  GRADUS_CHECK(beta >= 0, ValueError, "smooth_l1_loss: beta is {}; want 0 or more", beta);
  return beta == 0 ? l1_loss(x, target, reduction) : huber_loss(x, target, beta, reduction) / beta;
}

// -(t log p + (1 - t) log(1 - p)), each logarithm at least -100. The derivative keeps its denominator p (1 - p) above
// 1e-12, so both stay finite at p = 0 and p = 1.
Tensor binary_cross_entropy(const Tensor& probability, const Tensor& target, Reduction reduction,
                            const Tensor& weight) {
  check_pair("binary_cross_entropy", "probability", probability, target);
  check_factor("binary_cross_entropy", "weight", weight, probability);
  GRADUS_CHECK(!any(logical_or(probability<0, probability> 1)).item<bool>(), ValueError,
               "binary_cross_entropy: probability has values outside [0, 1]; for logits there is "
               "binary_cross_entropy_with_logits");
  const auto logarithm = [](const Tensor& p) { return clamp(log(p), -100); };
  const Tensor losses = [&] {
    const NoGrad guard;
    return -(target * logarithm(probability) + (1 - target) * logarithm(1 - probability));
  }();
  const Tensor recorded = record("binary_cross_entropy", losses, {&probability, &target}, save(probability, target),
                                 [logarithm](const Tensor& g, const Saved& s) -> Grads {
                                   const Tensor p = s[0], t = s[1];
                                   return {s.needs(0) ? g * (p - t) / clamp(p * (1 - p), 1e-12) : Tensor(),
                                           s.needs(1) ? g * (logarithm(1 - p) - logarithm(p)) : Tensor()};
                                 });
  return reduce_losses(weighted(recorded, weight), reduction);
}

// (1 - t) x + (1 + (w - 1) t) log(1 + exp(-x)), w being pos_weight.
Tensor binary_cross_entropy_with_logits(const Tensor& logits, const Tensor& target, Reduction reduction,
                                        const Tensor& pos_weight, const Tensor& weight) {
  const char* op = "binary_cross_entropy_with_logits";
  check_pair(op, "logits", logits, target);
  check_factor(op, "pos_weight", pos_weight, logits);
  check_factor(op, "weight", weight, logits);
  Tensor losses = softplus(-logits);
  if (pos_weight.defined()) losses = losses * (1 + (pos_weight - 1) * target);
  return reduce_losses(weighted((1 - target) * logits + losses, weight), reduction);
}

// t (log t - x), 0 where t is 0.
Tensor kl_div(const Tensor& log_probabilities, const Tensor& target, Reduction reduction, bool log_target) {
  check_pair("kl_div", "log_probabilities", log_probabilities, target);
  const Tensor losses = [&] {
    if (log_target) return exp(target) * (target - log_probabilities);
    const Tensor zero = target == 0, safe = masked_fill(target, zero, 1);
    return masked_fill(target * (log(safe) - log_probabilities), zero, 0);
  }();
  if (reduction != Reduction::mean) return reduce_losses(losses, reduction);
  GRADUS_CHECK(target.rank() > 0, ShapeError, "kl_div: a mean over the batch wants a batch dim; target is a scalar");
  return sum(losses) / target.size(0);
}

}  // namespace gradus
