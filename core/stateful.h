// Things with state (modules, optimizers, schedulers, loaders, generators) give it out and take it back as named
// tensors; numbers are 0-dim int64 or float64 tensors. Checkpoints and state dicts know nothing else.
#pragma once

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

class GRADUS_API Stateful {
 public:
  virtual ~Stateful() = default;
  /// What a checkpoint calls it: "model", "optimizer", "scheduler", "loader", "rng".
  virtual const char* state_name() const = 0;
  virtual NamedTensors state_dict() const = 0;
  /// Strict: a missing, unknown or misshapen entry is a CheckpointError that lists them all, and nothing is changed.
  virtual void load_state_dict(const NamedTensors& state) = 0;
};

}  // namespace gradus
