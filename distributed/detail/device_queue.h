// What a group does on its CUDA device: an engine and a stream of its own, and the operations that were put there and
// are not over.
#pragma once

#include <deque>
#include <mutex>
#include <optional>
#include <vector>

#include <gradus/cuda/cuda.h>
#include <gradus/distributed/detail/deadline.h>
#include <gradus/distributed/detail/device_engine.h>
#include <gradus/distributed/detail/task.h>

namespace gradus::dist::detail {

class DeviceQueue {
 public:
  DeviceQueue(Device device, Box<DeviceEngine> engine);

  // ---- for the channel's thread, the only one that lets the engine do anything
  /// Puts the operation into the stream, behind what its caller's stream had before it.
  void enqueue(const Ref<Task>& task);
  /// Takes out the oldest operation if the device has done it, else returns null. Throws what went wrong there.
  Ref<Task> take_finished();
  /// Ends the engine.
  void close();

  // ---- for any thread
  bool empty() const { return !oldest(); }
  Ref<Task> oldest() const;
  /// The oldest, when it takes longer than it may, or will within so many seconds. Its time begins when the device has
  /// come to it.
  Ref<Task> overdue(double within) const;
  std::vector<Ref<Task>> tasks() const;
  void abort() noexcept;

 private:
  const cuda::Stream stream_;
  mutable std::mutex mutex_;
  Box<DeviceEngine> engine_;
  std::deque<Ref<Task>> tasks_;
  std::optional<Deadline> deadline_;  // of the oldest
};

}  // namespace gradus::dist::detail
