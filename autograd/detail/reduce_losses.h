// The last step of a loss function, the same for all of them.
#pragma once

#include <gradus/autograd/ops.h>

namespace gradus::detail {

/// One loss for each element or sample, reduced as asked.
inline Tensor reduce_losses(const Tensor& losses, Reduction reduction) {
  switch (reduction) {
    case Reduction::none: return losses;
    case Reduction::sum: return sum(losses);
    case Reduction::mean: break;
  }
  return mean(losses);
}

}  // namespace gradus::detail
