// Operations go into the stream one after the other, so only the oldest is looked at.
#include <gradus/distributed/detail/device_queue.h>

#include <gradus/core/kernel.h>

namespace gradus::dist::detail {

DeviceQueue::DeviceQueue(Device device, Box<DeviceEngine> engine)
    : stream_(device, /*high_priority=*/true), engine_(std::move(engine)) {}

void DeviceQueue::enqueue(const Ref<Task>& task) {
  const gradus::detail::OnDevice here(stream_.device(), name(task->collective.op));
  const cuda::UseStream use(stream_);
  task->hold_until_ready(stream_);
  engine_->enqueue(task->collective);
  task->enqueued(stream_);
  const std::lock_guard lock(mutex_);
  tasks_.push_back(task);
}

Ref<Task> DeviceQueue::take_finished() {
  const Ref<Task> task = oldest();
  if (!task) return nullptr;
  engine_->check();
  const bool over = task->is_over(), begun = !over && task->is_ready();
  const std::lock_guard lock(mutex_);
  if (begun && !deadline_) deadline_.emplace(task->collective.timeout);
  if (!over) return nullptr;
  tasks_.pop_front();
  deadline_.reset();
  return task;
}

void DeviceQueue::close() {
  Box<DeviceEngine> engine;
  const std::lock_guard lock(mutex_);
  engine = std::move(engine_);
}

Ref<Task> DeviceQueue::oldest() const {
  const std::lock_guard lock(mutex_);
  return tasks_.empty() ? nullptr : tasks_.front();
}

Ref<Task> DeviceQueue::overdue(double within) const {
  const std::lock_guard lock(mutex_);
  return deadline_ && deadline_->left() <= within ? tasks_.front() : nullptr;
}

std::vector<Ref<Task>> DeviceQueue::tasks() const {
  const std::lock_guard lock(mutex_);
  return {tasks_.begin(), tasks_.end()};
}

void DeviceQueue::abort() noexcept {
  const std::lock_guard lock(mutex_);
  if (engine_) engine_->abort();
}

}  // namespace gradus::dist::detail
