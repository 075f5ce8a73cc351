// An operation that was begun: its data, the tensors that it needs, and how it ended.
#pragma once

#include <array>
#include <condition_variable>
#include <mutex>
#include <optional>

#include <gradus/core/tensor.h>
#include <gradus/distributed/detail/collective.h>

namespace gradus::dist::detail {

class Task final : public RefCounted {
 public:
  Task(const Collective& collective, const Tensor& first, const Tensor& second)
      : collective(collective), tensors_{first, second} {}

  const Collective collective;
  size_t record = 0;  ///< its number in the flight recorder

  void finish() { end({}); }
  void fail(const CommError& error) { end(error); }
  bool done() const;
  /// Throws the error, again and again.
  void wait() const;

 private:
  void end(std::optional<CommError> error);

  mutable std::mutex mutex_;
  mutable std::condition_variable ended_;
  bool done_ = false;
  std::optional<CommError> error_;
  std::array<Tensor, 2> tensors_;  // an engine that hangs may still write to them after a failure
};

}  // namespace gradus::dist::detail
