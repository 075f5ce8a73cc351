// What a program does with a graph besides backward(): gradients of chosen tensors, hooks, checking, checkpointing,
// anomaly detection, a picture. How an op joins the graph is in autograd/record.h.
#pragma once

#include <functional>

#include <span>
#include <string>
#include <vector>

#include <gradus/autograd/node.h>

namespace gradus {

struct GradOptions {
  std::vector<Tensor> grad_outputs = {};  ///< default: ones, for outputs of one element
  bool retain_graph = false;              ///< keep what was saved, for another backward
  bool create_graph = false;              ///< record the derivative too (implies retain_graph)
  bool allow_unused = false;  ///< an input that does not matter gives an undefined Tensor instead of an error
};
/// The gradients of the sum of `outputs` with respect to `inputs` (leaves or not), without touching any grad().
GRADUS_API std::vector<Tensor> grad(std::span<const Tensor> outputs, std::span<const Tensor> inputs,
                                    const GradOptions& options = {});
GRADUS_API Tensor grad(const Tensor& output, const Tensor& input, const GradOptions& options = {});

/// Sees, and may replace, the gradient of x whenever it is computed.
GRADUS_API void register_hook(const Tensor& x, TensorHook hook);
/// Called when backward has summed the last contribution to the leaf's gradient: the door for communication that
/// overlaps.
GRADUS_API void on_grad_ready(const Tensor& leaf, GradReadyHook hook);

/// Called when an exception ends a backward that reaches the leaf, whether its gradient has been ready or not; from the
/// exception's handler, and what the hook throws is lost.
GRADUS_API void on_backward_failed(const Tensor& leaf, BackwardFailedHook hook);

/// Gives the leaf's gradient a place: from now on backward() writes it to `memory`, a tensor of the leaf's shape, dtype
/// and device without history, such as a view into a buffer that is communicated; grad() is that tensor then.
/// Afterwards as ever: backward() adds to a gradient that is there, and zero_grad() takes it away. A backward with
/// create_graph leaves its gradient elsewhere, because that has a history. An undefined `memory` ends it.
GRADUS_API void keep_grad_in(const Tensor& leaf, const Tensor& memory);

/// Called with true when the backward has ended, or with false when an exception has ended it (then what the hook
/// throws is lost).
using BackwardEndHook = std::function<void(bool completed)>;
/// Asks, from a hook, to be called once at the end of the backward that is running on this thread; of one inside
/// another, at the end of the outermost. GradError when none is running.
GRADUS_API void on_backward_end(BackwardEndHook hook);

/// A function of several tensors, for checkpoint() and gradcheck().
using TensorFunction = std::function<Tensor(std::span<const Tensor>)>;

/// Runs `function` but keeps none of the tensors it would save for backward: backward runs it again, with the same
/// random numbers. Trades about a third more time for memory (Chen et al., arXiv 1604.06174). `function` must compute
/// the same when run again. Derivatives of every order work.
GRADUS_API Tensor checkpoint(const TensorFunction& function, const std::vector<Tensor>& inputs);
/// Whether this thread is inside the second run of a checkpoint's function. Whatever counts or averages over forward
/// passes, such as the running statistics of a batch norm, is left alone then: the first run has moved it.
GRADUS_API bool is_recomputing();

/// While one lives, ops record the place of their call, and a backward that yields a NaN or an infinity throws
/// GradError with the op's name and that place. Slow: for finding a fault.
class GRADUS_API AnomalyMode {
 public:
  AnomalyMode();
  ~AnomalyMode();
  AnomalyMode(const AnomalyMode&) = delete;
  AnomalyMode& operator=(const AnomalyMode&) = delete;
};

struct GradcheckOptions {
  double eps = 1e-6;  ///< step of the central difference
  double atol = 1e-5, rtol = 1e-3;
  int order = 1;  ///< 2 checks the derivative of the derivative as well
};
/// Converts to true when right; `message` names the first input and element that differ.
struct GradcheckResult {
  bool ok = true;
  std::string message;
  explicit operator bool() const { return ok; }
};
/// Compares analytic gradients with central differences. Inputs must be float64 (DtypeError otherwise); those of
/// integer dtype are passed through.
GRADUS_API GradcheckResult gradcheck(const TensorFunction& function, std::vector<Tensor> inputs,
                                     const GradcheckOptions& options = {});

/// The graph behind x in Graphviz's DOT language: ops, shapes, leaves.
GRADUS_API std::string graph_dot(const Tensor& x);

}  // namespace gradus
