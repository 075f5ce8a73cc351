// What a checkpoint keeps instead of saved tensors: the function, its inputs, and the state of the generator.
#pragma once

#include <vector>

#include <gradus/autograd/autograd.h>

namespace gradus::detail {

struct CheckpointFrame final : RefCounted {
  TensorFunction function;
  std::vector<Tensor> inputs;
  uint64_t seed = 0, offset = 0;
  int32_t count = 0;            ///< tensors that the nodes of the first run would have saved
  std::vector<Tensor> tensors;  ///< the same tensors, after a replay
  int32_t replayed = -1;        ///< how many a running replay has seen, or -1
  bool keep_detached = false;   ///< the replay is for a backward that is not recorded

  /// The i-th tensor; the first request runs the function again.
  Tensor get(int32_t i);
  void drop(int32_t i);
  /// Takes the next saved tensor of a replay.
  void receive(const Tensor& x);

 private:
  void replay();
};

/// The frame whose function is running on this thread, or null.
CheckpointFrame*& active_frame();

}  // namespace gradus::detail
