// Whether operations record a graph: a flag of the thread, changed by guards.
#pragma once

#include <gradus/core/api.h>

namespace gradus {

namespace detail {
GRADUS_API bool& grad_mode();
}

/// Whether operations on this thread record a graph.
inline bool grad_enabled() { return detail::grad_mode(); }

/// Sets the mode for a scope.
class GradMode {
 public:
  explicit GradMode(bool enabled) : before_(detail::grad_mode()) { detail::grad_mode() = enabled; }
  ~GradMode() { detail::grad_mode() = before_; }
  GradMode(const GradMode&) = delete;
  GradMode& operator=(const GradMode&) = delete;

 private:
  bool before_;
};
/// No graph is recorded in this scope: evaluation, optimizer steps.
struct NoGrad : GradMode {
  NoGrad() : GradMode(false) {}
};
struct EnableGrad : GradMode {
  EnableGrad() : GradMode(true) {}
};

}  // namespace gradus
