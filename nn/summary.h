// A table of a module: layers, output shapes, parameters, multiply-adds, bytes.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include <gradus/core/factories.h>
#include <gradus/nn/module.h>

namespace gradus::nn {

struct SummaryRow {
  std::string name, type;       ///< "conv1", "Conv2d"; the first row is the module itself, named ""
  int depth = 0;                ///< how many modules it lies in
  std::optional<Shape> output;  ///< of the last call; nothing when it was not called or gave no Tensor
  int64_t calls = 0;
  int64_t parameters = 0;    ///< of all within it, each tensor once
  int64_t macs = 0;          ///< multiply-adds of matrix products and convolutions, of all calls within it
  int64_t output_bytes = 0;  ///< of all calls
};

struct Summary {
  std::vector<SummaryRow> rows;
  Shape input;
  int64_t parameters = 0, trainable_parameters = 0, macs = 0;
  int64_t input_bytes = 0, parameter_bytes = 0, buffer_bytes = 0;
  int64_t activation_bytes = 0;  ///< outputs of all layers that have no layers within them
};
/// The table, for print().
GRADUS_API std::string to_string(const Summary& summary);

namespace detail {
GRADUS_API Summary summarise(Module& module, const Tensor& input, const std::function<void(const Tensor&)>& run);
}

/// Runs the module once on zeros of that shape, in evaluation mode and without a graph, and puts its modes back.
/// Options say the dtype (int64 for token indices) and device of the input; without them it is float32 where the
/// parameters are. Products that a forward function computes with free functions are not counted as multiply-adds.
template <class M>
Summary summary(M& module, const Shape& input, const TensorOptions& options = {}) {
  TensorOptions o = options;
  if (const NamedTensors parameters = module.parameters(); !parameters.empty()) {
    if (!o.device) o.device = parameters[0].tensor.device();
    if (!o.dtype) o.dtype = parameters[0].tensor.dtype();
  }
  return detail::summarise(module, zeros(input, o), [&](const Tensor& x) { module(x); });
}

}  // namespace gradus::nn
