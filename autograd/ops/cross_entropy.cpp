// Cross entropy and negative log-likelihood between [N, C, ...] and classes, or class probabilities, with PyTorch's
// meaning of weight, ignore_index, label_smoothing and reduction.
#include <gradus/autograd/detail/reduce_losses.h>
#include <gradus/autograd/detail/twin.h>
#include <gradus/core/detail/check.h>
#include <gradus/core/kernels.h>

namespace gradus {
namespace {

// ---- what both losses ask of their arguments

int64_t class_dim(const Tensor& x) { return x.rank() == 1 ? 0 : 1; }

void check_arguments(const char* op, const char* scores, const Tensor& x, const Tensor& target,
                     const CrossEntropyParams& params) {
  detail::check_floating(op, scores, x);
  detail::check_defined(op, "target", target);
  GRADUS_CHECK(x.rank() > 0, ShapeError, "{}: {} is a scalar; want [N, C, ...] or [C]", op, scores);
  GRADUS_CHECK(x.device() == target.device(), DeviceError, "{}: {} on {}, target on {}; move one with x.to(device)", op,
               scores, x.device(), target.device());
  const int64_t classes = x.size(class_dim(x));
  GRADUS_CHECK(classes > 0, ShapeError, "{}: {} {} has no classes at dim {}", op, scores, x.shape(), class_dim(x));
  GRADUS_CHECK(params.label_smoothing >= 0 && params.label_smoothing <= 1, ValueError,
               "{}: label_smoothing is {}; want 0 to 1", op, params.label_smoothing);
  const Tensor& weight = params.weight;
  if (!weight.defined()) return;
  GRADUS_CHECK(weight.shape() == Shape{classes}, ShapeError, "{}: weight is {}; want one factor a class, [{}]", op,
               weight.shape(), classes);
  GRADUS_CHECK(weight.dtype() == x.dtype(), DtypeError, "{}: weight is {}, {} {}; convert one with x.to({})", op,
               weight.dtype(), scores, x.dtype(), x.dtype());
  GRADUS_CHECK(weight.device() == x.device(), DeviceError, "{}: weight on {}, {} on {}; move one with x.to(device)", op,
               weight.device(), scores, x.device());
}

// [N, C, ...] -> [rows, C]: the classes last.
Tensor class_rows(const Tensor& x) {
  if (x.rank() <= 2) return x.rank() == 1 ? x.unsqueeze(0) : x;
  const Tensor spread = x.flatten(2).transpose(1, 2);  // (N, S, C)
  return spread.reshape({spread.size(0) * spread.size(1), spread.size(2)});
}

// Where a flat position lies in a tensor of this shape.
Shape position_in(const Shape& shape, int64_t flat) {
  Shape position = shape;
  for (int d = shape.rank(); d-- > 0; flat /= shape[d]) position[d] = flat % shape[d];
  return position;
}

/// Class indices, checked: one for each row.
struct Targets {
  Tensor index;    // (rows), int64
  Tensor classes;  // index with 0 in place of ignore_index
  Tensor ignored;  // (rows), boolean; undefined when no row is ignored
  int64_t ignore_index;
};

Targets check_targets(const char* op, const char* scores, const Tensor& x, const Tensor& target, int64_t ignore_index) {
  GRADUS_CHECK(is_integral(target.dtype()), DtypeError, "{}: target is {}; want class indices of int64", op,
               target.dtype());
  Shape want = x.shape();
  want.erase(class_dim(x));
  GRADUS_CHECK(target.shape() == want, ShapeError, "{}: target is {}; {} {} wants {}, without the classes", op,
               target.shape(), scores, x.shape(), want);
  const int64_t classes = x.size(class_dim(x));
  const Tensor index = dense(target.to(int64)).reshape({target.numel()});
  const IndexRange range{op, "target", 0, classes};
  // The usual case, that no row is ignored, is known only where the check does not report later.
  if (index.device().is_cpu() && kernels::check_indices(index.device(), index, range) < 0 &&
      (ignore_index < 0 || ignore_index >= classes))
    return {index, index, {}, ignore_index};
  const Tensor ignored = index == ignore_index, masked = masked_fill(index, ignored, 0);
  const int64_t bad = kernels::check_indices(index.device(), masked, range);
  GRADUS_CHECK(bad < 0, IndexError, "{}: target {} at {} is outside [0, {}) and is not ignore_index {}", op,
               index[bad].item<int64_t>(), position_in(target.shape(), bad), classes, ignore_index);
  return {index, masked, ignored, ignore_index};
}

Tensor zero_where(const Tensor& ignored, const Tensor& x) { return ignored.defined() ? masked_fill(x, ignored, 0) : x; }

// The mean is over the weights of the targets that count.
Tensor reduce_rows(const Tensor& losses, const Tensor& target, const Targets& targets,
                   const CrossEntropyParams& params) {
  if (params.reduction == Reduction::none) return losses.reshape(target.shape());
  if (params.reduction == Reduction::sum || (!params.weight.defined() && !targets.ignored.defined()))
    return detail::reduce_losses(losses, params.reduction);
  const Tensor weights =
      params.weight.defined() ? index_select(params.weight, 0, targets.classes).to(losses.dtype()) : ones_like(losses);
  return sum(losses) / sum(zero_where(targets.ignored, weights));
}

// ---- in public ops: the losses of rows [R, C] of log-probabilities, and of logits

Tensor picked_losses(const Tensor& log_probabilities, const Targets& targets, const Tensor& weight) {
  const Tensor losses = -gather(log_probabilities, 1, targets.classes.unsqueeze(1)).squeeze(1);  // (R)
  return zero_where(targets.ignored, weight.defined() ? losses * index_select(weight, 0, targets.classes) : losses);
}

Tensor composite_losses(const Tensor& logits, const Targets& targets, const Tensor& weight, double smoothing) {
  const Tensor log_probabilities = log_softmax(logits, 1);
  const Tensor picked = picked_losses(log_probabilities, targets, weight);
  if (smoothing == 0) return picked;
  const Tensor spread = -sum(weight.defined() ? log_probabilities * weight : log_probabilities, 1);  // (R)
  return (1 - smoothing) * picked +
         smoothing / static_cast<double>(logits.size(1)) * zero_where(targets.ignored, spread);
}

// ---- the fused form of composite_losses; 16-bit logits give losses of float32, for the sum that follows
Tensor fused_losses(const Tensor& logits, const Tensor& target, const Tensor& weight, const CrossEntropyArgs& args) {
  const Dtype dtype = logits.dtype() == float64 ? float64 : float32;
  Tensor losses = empty({logits.size(0)}, {.dtype = dtype, .device = logits.device()});
  Tensor lse = empty_like(losses);
  const Tensor factors = weight.defined() ? dense(weight) : weight;
  kernels::cross_entropy(logits.device(), losses, lse, dense(logits), target, factors, args);
  return record("cross_entropy", losses, {&logits, &target, &weight}, save(logits, target, factors, lse),
                [args](const Tensor& g, const Saved& s) -> Grads {
                  if (grad_enabled())
                    return detail::twin_gradients<3>(g, s, [args, dtype = g.dtype()](std::span<const Tensor> in) {
                      const Tensor ignored = in[1] == args.ignore_index;
                      const Targets targets{in[1], masked_fill(in[1], ignored, 0), ignored, args.ignore_index};
                      return composite_losses(in[0], targets, in[2], args.label_smoothing).to(dtype);
                    });
                  Tensor dlogits = empty_like(s[0]);
                  kernels::cross_entropy_backward(g.device(), dlogits, dense(g), dense(s[0]), s[3], s[1], s[2], args);
                  return {dlogits, Tensor(), Tensor()};
                });
}

// -sum_c w_c t_c log p_c, the mean over the rows whatever the weights.
Tensor with_probabilities(const Tensor& logits, const Tensor& target, const CrossEntropyParams& params) {
  GRADUS_CHECK(target.dtype() == logits.dtype(), DtypeError,
               "cross_entropy: logits {}, target {}; convert one with x.to({}), or give class indices of int64",
               logits.dtype(), target.dtype(), logits.dtype());
  GRADUS_CHECK(target.shape() == logits.shape(), ShapeError,
               "cross_entropy: target {} of probabilities for logits {}; want equal shapes, or class indices of int64",
               target.shape(), logits.shape());
  GRADUS_CHECK(params.ignore_index < 0, ValueError, "cross_entropy: ignore_index {} with a target of probabilities",
               params.ignore_index);
  const Tensor rows = class_rows(logits);
  const double classes = static_cast<double>(rows.size(1));
  Tensor p = class_rows(target);
  if (params.label_smoothing > 0) p = p * (1 - params.label_smoothing) + params.label_smoothing / classes;
  if (params.weight.defined()) p = p * params.weight;
  const Tensor losses = -sum(log_softmax(rows, 1) * p, 1);
  if (params.reduction != Reduction::none) return detail::reduce_losses(losses, params.reduction);
  Shape shape = logits.shape();
  shape.erase(class_dim(logits));
  return losses.reshape(shape);
}

}  // namespace

Tensor cross_entropy(const Tensor& logits, const Tensor& target, const CrossEntropyParams& params) {
  check_arguments("cross_entropy", "logits", logits, target, params);
  if (is_floating(target.dtype())) return with_probabilities(logits, target, params);
  const Targets targets = check_targets("cross_entropy", "logits", logits, target, params.ignore_index);
  const Tensor rows = class_rows(logits);
  const CrossEntropyArgs args{.label_smoothing = params.label_smoothing, .ignore_index = params.ignore_index};
  const bool learn_weight = params.weight.defined() && params.weight.requires_grad();
  const Tensor losses = learn_weight ? composite_losses(rows, targets, params.weight, params.label_smoothing)
                                     : fused_losses(rows, targets.index, params.weight, args);
  return reduce_rows(losses, target, targets, params).to(logits.dtype());
}

Tensor nll_loss(const Tensor& log_probabilities, const Tensor& target, const CrossEntropyParams& params) {
  check_arguments("nll_loss", "log_probabilities", log_probabilities, target, params);
  GRADUS_CHECK(params.label_smoothing == 0, ValueError, "nll_loss: label_smoothing is {}; only cross_entropy has it",
               params.label_smoothing);
  const Targets targets =
      check_targets("nll_loss", "log_probabilities", log_probabilities, target, params.ignore_index);
  return reduce_rows(picked_losses(class_rows(log_probabilities), targets, params.weight), target, targets, params);
}

}  // namespace gradus
