// How a task ends and is waited for.
#include <gradus/distributed/detail/task.h>

namespace gradus::dist::detail {

void Task::end(std::optional<CommError> error) {
  {
    const std::lock_guard lock(mutex_);
    if (done_) return;
    done_ = true;
    if (error) error_.emplace(*error);
  }
  ended_.notify_all();
}

bool Task::done() const {
  const std::lock_guard lock(mutex_);
  return done_;
}

void Task::wait() const {
  std::unique_lock lock(mutex_);
  ended_.wait(lock, [this] { return done_; });
  if (error_) throw CommError(*error_);
}

}  // namespace gradus::dist::detail
