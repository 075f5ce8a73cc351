// Composite twins inside backward functions.
#pragma once

#include <gradus/autograd/record.h>

namespace gradus::detail {

/// The gradients of a fused op for its first n inputs, which are also the first n tensors that it saved, by way of its
/// composite twin: for a backward that is itself recorded, because a kernel's gradient has no history.
template <size_t n, class Composite>
Grads twin_gradients(const Tensor& g, const Saved& saved, const Composite& composite) {
  return differentiate_composite(
      [](const void* twin, std::span<const Tensor> in) -> std::vector<Tensor> {
        return {(*static_cast<const Composite*>(twin))(in)};
      },
      &composite, g, saved, n);
}

}  // namespace gradus::detail
