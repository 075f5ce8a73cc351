// An operation that was begun: its data, the tensors that it needs, and how it ended.
#pragma once

#include <array>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <vector>

#include <gradus/core/tensor.h>
#include <gradus/cuda/cuda.h>
#include <gradus/distributed/detail/collective.h>

namespace gradus::dist::detail {

class Task final : public RefCounted {
 public:
  /// On a CUDA device it is ordered behind what is in the thread's current stream.
  Task(const Collective& collective, const Tensor& first, const Tensor& second);

  const Collective collective;
  size_t record = 0;  ///< its number in the flight recorder

  void finish() { end({}); }
  void fail(const CommError& error) { end(error); }
  bool done() const;
  /// Throws the error, again and again. On a CUDA device it is the thread's current stream that waits, the host only
  /// until the operation is in a stream; a failure that comes later is thrown where the host waits for that stream,
  /// too.
  void wait() const;

  // ---- on a CUDA device
  /// Lets a stream wait until the tensors are ready.
  void hold_until_ready(const cuda::Stream& stream) const { ready_->hold(stream); }
  bool is_ready() const { return ready_->is_reached(); }
  /// It is in the stream, at its end.
  void enqueued(const cuda::Stream& stream);
  /// Whether the device has done it.
  bool is_over() const;

 private:
  void end(std::optional<CommError> error);

  mutable std::mutex mutex_;
  mutable std::condition_variable ended_;
  bool done_ = false;
  std::optional<CommError> error_;
  const std::optional<cuda::Event> ready_;
  std::optional<cuda::Event> over_;
  mutable std::vector<DeviceHandle> followers_;  // streams that wait for it
  std::array<Tensor, 2> tensors_;                // an engine that hangs may still hold them after a failure
};

}  // namespace gradus::dist::detail
