// What a stream has waited for, and failed elsewhere: another rank's part of a collective. The stream goes on with
// whatever its tensors hold, so the host is told when it next waits for it.
#pragma once

#include <atomic>
#include <mutex>
#include <utility>
#include <vector>

#include <gradus/core/error.h>
#include <gradus/cuda/backend/runtime.h>

namespace gradus::cuda {

class StreamFailures {
 public:
  void add(const StreamOf& where, const CommError& error);
  /// Throws the first failure of the stream, and forgets it with all others of the stream.
  void raise(const StreamOf& where) {
    if (any_.load(std::memory_order_acquire)) raise_if([&](const StreamOf& s) { return s == where; });
  }
  /// The same for all streams of a device.
  void raise(int device) {
    if (any_.load(std::memory_order_acquire)) raise_if([&](const StreamOf& s) { return s.device == device; });
  }

 private:
  template <class Which>
  void raise_if(Which which);

  std::atomic<bool> any_ = false;
  std::mutex mutex_;
  std::vector<std::pair<StreamOf, CommError>> failures_;
};

inline void StreamFailures::add(const StreamOf& where, const CommError& error) {
  const std::lock_guard lock(mutex_);
  failures_.emplace_back(where, error);
  any_.store(true, std::memory_order_release);
}

template <class Which>
void StreamFailures::raise_if(Which which) {
  const std::lock_guard lock(mutex_);
  std::vector<std::pair<StreamOf, CommError>> others;
  const CommError* first = nullptr;
  for (const auto& failure : failures_)
    if (!which(failure.first))
      others.push_back(failure);
    else if (!first)
      first = &failure.second;
  if (!first) return;
  const CommError error = *first;
  failures_.swap(others);
  any_.store(!failures_.empty(), std::memory_order_release);
  throw CommError(error);
}

}  // namespace gradus::cuda
