// The rule for in-place operations: refused while they would change a value that a recorded graph depends on.
#pragma once

#include <initializer_list>

#include <gradus/autograd/grad_mode.h>
#include <gradus/core/detail/check.h>

namespace gradus::detail {

inline void check_in_place(const char* op, const Tensor& target, std::initializer_list<const Tensor*> sources = {}) {
  if (!grad_enabled()) return;
  bool recorded = target.requires_grad();
  for (const Tensor* source : sources) recorded = recorded || source->requires_grad();
  GRADUS_CHECK(!recorded, GradError,
               "{}: the target or a source requires grad; write x = x + y, or change values under a NoGrad guard", op);
}

}  // namespace gradus::detail
