// Things with state (modules, optimizers, schedulers, loaders, generators) give it out and take it back as named
// tensors; numbers are 0-dim int64 or float64 tensors. Checkpoints and state dicts know nothing else.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gradus/core/tensor.h>

namespace gradus {

struct NamedTensor {
  std::string name;
  Tensor tensor;
};
using NamedTensors = std::vector<NamedTensor>;

/// The tensor of that name, or an undefined one.
GRADUS_API Tensor find(const NamedTensors& state, std::string_view name);
/// The tensor of that name; CheckpointError naming `owner` when it is absent.
GRADUS_API Tensor require(const NamedTensors& state, std::string_view name, std::string_view owner);

/// A run of elements, in row-major order, of a larger tensor that several processes hold together.
struct StateSlice {
  std::string name;  ///< of the whole tensor, as state_dict() would call it
  Shape shape;       ///< of the whole tensor
  int64_t begin;     ///< the first of the elements
  Tensor values;     ///< one-dimensional; may be empty
};

class GRADUS_API Stateful {
 public:
  virtual ~Stateful() = default;
  /// What a checkpoint calls it: "model", "optimizer", "scheduler", "loader", "rng".
  virtual const char* state_name() const = 0;
  virtual NamedTensors state_dict() const = 0;
  /// Strict: a missing, unknown or misshapen entry is a CheckpointError that lists them all, and nothing is changed.
  virtual void load_state_dict(const NamedTensors& state) = 0;

  /// What only this process keeps of larger tensors; state_dict() leaves these tensors out. The slices are the same
  /// before the first step as later, so a checkpoint written by another number of processes can be asked for them.
  virtual std::vector<StateSlice> state_slices() const { return {}; }
  /// Takes the slices of state_slices() back with a checkpoint's values, after load_state_dict(). Those whose tensor
  /// the checkpoint does not have are left out. CheckpointError as there.
  virtual void load_state_slices(const std::vector<StateSlice>&) {}
};

}  // namespace gradus
