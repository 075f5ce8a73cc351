// gradcheck(): analytic gradients against central differences, for the first order and, on request, the second.
#include <cmath>

#include <gradus/autograd/autograd.h>
#include <gradus/autograd/ops.h>
#include <gradus/core/detail/check.h>
#include <gradus/core/random.h>

namespace gradus {
namespace {

// Fixed weights turn any output into a number whose gradient involves every element differently. They come from a
// sequence of their own, so that checking does not move the program's generator.
Tensor weights_for(const Tensor& y) {
  Tensor w = empty(y.shape(), {.dtype = float64});
  double* p = w.mutable_data<double>();
  for (int64_t i = 0; i < w.numel(); ++i) p[i] = 0.5 + std::fmod(0.6180339887498949 * static_cast<double>(i + 1), 1.0);
  return w.to(y.device());
}

Tensor weighted_sum(const TensorFunction& function, std::span<const Tensor> inputs) {
  const Tensor y = function(inputs);
  detail::check_defined("gradcheck", "the function's result", y);
  GRADUS_CHECK(y.dtype() == float64, DtypeError, "gradcheck: the function returned {}; want float64", y.dtype());
  return sum(y * weights_for(y));
}

std::vector<Tensor> analytic(const TensorFunction& function, std::span<const Tensor> inputs,
                             std::span<const Tensor> wanted, bool create_graph) {
  const EnableGrad enable;
  const Tensor value = weighted_sum(function, inputs);
  std::vector<Tensor> gradients(wanted.size());
  if (value.requires_grad())
    gradients = grad(std::span(&value, 1), wanted, {.create_graph = create_graph, .allow_unused = true});
  for (size_t i = 0; i < wanted.size(); ++i)
    if (!gradients[i].defined()) gradients[i] = zeros_like(wanted[i]);
  return gradients;
}

GradcheckResult first_order(const TensorFunction& function, std::span<const Tensor> inputs,
                            std::span<const Tensor> wanted, const GradcheckOptions& options) {
  const std::vector<Tensor> gradients = analytic(function, inputs, wanted, false);
  for (size_t k = 0; k < wanted.size(); ++k) {
    const NoGrad no_graph;
    const Tensor g = dense(gradients[k].detach().to(Device::cpu()));
    const Tensor elements = reshaped(wanted[k], {wanted[k].numel()});  // where they are, on any device
    for (int64_t i = 0; i < elements.numel(); ++i) {
      const Tensor x = elements[i];
      const double before = x.item<double>();
      x.fill_(before + options.eps);
      const double above = weighted_sum(function, inputs).item<double>();
      x.fill_(before - options.eps);
      const double below = weighted_sum(function, inputs).item<double>();
      x.fill_(before);
      const double numeric = (above - below) / (2 * options.eps), ours = g.data<double>()[i];
      if (!(std::fabs(numeric - ours) <= options.atol + options.rtol * std::fabs(numeric)))
        return {false, fmt::format("gradcheck: input {}, element {}: analytic {}, numeric {}", k, i, ours, numeric)};
    }
  }
  return {};
}

}  // namespace

GradcheckResult gradcheck(const TensorFunction& function, std::vector<Tensor> inputs, const GradcheckOptions& options) {
  GRADUS_CHECK(options.order == 1 || options.order == 2, ValueError, "gradcheck: order is {}; want 1 or 2",
               options.order);
  std::vector<Tensor> wanted;
  for (size_t i = 0; i < inputs.size(); ++i) {
    detail::check_defined("gradcheck", "an input", inputs[i]);
    if (!is_floating(inputs[i].dtype())) continue;
    GRADUS_CHECK(inputs[i].dtype() == float64, DtypeError,
                 "gradcheck: input {} is {}; differences need float64, convert with x.to(float64)", i,
                 inputs[i].dtype());
    inputs[i] = inputs[i].detach().clone().requires_grad_();
    wanted.push_back(inputs[i]);
  }
  GradcheckResult result = first_order(function, inputs, wanted, options);
  if (!result.ok || options.order == 1) return result;
  // The second order is the first order of the function that returns the first input's weighted gradients, all in one.
  const TensorFunction gradient = [&](std::span<const Tensor> in) {
    std::vector<Tensor> leaves;
    for (const Tensor& x : in)
      if (x.dtype() == float64) leaves.push_back(x);
    Tensor total;
    for (const Tensor& g : analytic(function, in, leaves, true)) {
      const Tensor part = sum(g * weights_for(g));
      total = total.defined() ? total + part : part;
    }
    return total;
  };
  result = first_order(gradient, inputs, wanted, options);
  if (!result.ok) result.message = "second order: " + result.message;
  return result;
}

}  // namespace gradus
