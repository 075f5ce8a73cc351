// Look-ups in named state.
#include <gradus/core/stateful.h>

#include <gradus/core/detail/check.h>

namespace gradus {

Tensor find(const NamedTensors& state, std::string_view name) {
  for (const NamedTensor& entry : state)
    if (entry.name == name) return entry.tensor;
  return {};
}

Tensor require(const NamedTensors& state, std::string_view name, std::string_view owner) {
  Tensor x = find(state, name);
  GRADUS_CHECK(x.defined(), CheckpointError, "{}: the state has no entry '{}'; it was saved by something else", owner,
               name);
  return x;
}

}  // namespace gradus
