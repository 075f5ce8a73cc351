// How a task ends and is waited for.
#include <gradus/distributed/detail/task.h>

namespace gradus::dist::detail {
namespace {

std::optional<cuda::Event> mark(Device device) {
  if (device.is_cpu()) return {};
  return cuda::Event(device);
}

}  // namespace

Task::Task(const Collective& collective, const Tensor& first, const Tensor& second)
    : collective(collective), ready_(mark(collective.device)), tensors_{first, second} {}

void Task::enqueued(const cuda::Stream& stream) {
  {
    const std::lock_guard lock(mutex_);
    over_.emplace(stream);
  }
  ended_.notify_all();
}

bool Task::is_over() const {
  const std::lock_guard lock(mutex_);
  return over_->is_reached();
}

void Task::end(std::optional<CommError> error) {
  {
    const std::lock_guard lock(mutex_);
    if (done_) return;
    done_ = true;
    if (error) error_.emplace(*error);
    for (const DeviceHandle stream : followers_)
      if (error) cuda_backend().fail_stream(collective.device.index, stream, *error);
  }
  ended_.notify_all();
}

bool Task::done() const {
  const std::lock_guard lock(mutex_);
  return done_ || (over_ && over_->is_reached());
}

void Task::wait() const {
  std::unique_lock lock(mutex_);
  ended_.wait(lock, [this] { return done_ || over_; });
  if (error_) throw CommError(*error_);
  if (!over_ || done_) return;
  const cuda::Stream stream = cuda::Stream::current(collective.device);
  over_->hold(stream);
  followers_.push_back(stream.handle());
}

}  // namespace gradus::dist::detail
