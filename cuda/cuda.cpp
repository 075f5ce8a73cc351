// The face of the backend: what programs ask of the plug-in.
#include <gradus/cuda/cuda.h>

#include <utility>

#include <gradus/core/detail/check.h>
#include <gradus/core/factories.h>

namespace gradus::cuda {
namespace {

Backend& backend_of(const char* op, Device device) {
  GRADUS_CHECK(device.is_cuda(), DeviceError, "{}: {} is no CUDA device", op, device);
  Backend& backend = cuda_backend();
  backend.select(device.index);
  return backend;
}

}  // namespace

bool is_available() { return find_cuda_backend() != nullptr; }
std::string unavailable_reason() {
  std::string reason;
  find_cuda_backend(&reason);
  return reason;
}
int device_count() {
  Backend* backend = find_cuda_backend();
  return backend ? backend->device_count() : 0;
}
DeviceInfo device_info(Device device) { return backend_of("device_info", device).info(device.index); }
void synchronize(Device device) { backend_of("synchronize", device).synchronize(device.index); }
std::string memory_snapshot(Device device) {
  return backend_of("memory_snapshot", device).memory_snapshot(device.index);
}

// ---- streams
Stream::Stream(Device device, bool high_priority)
    : device_(device), handle_(backend_of("Stream", device).new_stream(high_priority)), owned_(true) {}
Stream Stream::current(Device device) {
  backend_of("Stream::current", device);
  return Stream(device, gradus::detail::current_stream(device.index));
}
Stream::Stream(Stream&& other) noexcept
    : device_(other.device_), handle_(other.handle_), owned_(std::exchange(other.owned_, false)) {}
Stream& Stream::operator=(Stream&& other) noexcept {
  std::swap(device_, other.device_);
  std::swap(handle_, other.handle_);
  std::swap(owned_, other.owned_);
  return *this;
}
Stream::~Stream() {
  if (owned_) cuda_backend().delete_stream(handle_);
}
void Stream::synchronize() const { backend_of("Stream", device_).synchronize_stream(handle_); }
bool Stream::is_idle() const { return backend_of("Stream", device_).is_stream_idle(handle_); }

UseStream::UseStream(const Stream& stream)
    : device_(stream.device()),
      before_(std::exchange(gradus::detail::current_stream(stream.device().index), stream.handle())) {}
UseStream::~UseStream() { gradus::detail::current_stream(device_.index) = before_; }

// ---- events
Event::Event(Device device) : Event(Stream::current(device)) {}
Event::Event(const Stream& stream) : device_(stream.device()), handle_(backend_of("Event", device_).new_event()) {
  cuda_backend().record_event(handle_, stream.handle());
}
Event::Event(Event&& other) noexcept : device_(other.device_), handle_(std::exchange(other.handle_, nullptr)) {}
Event& Event::operator=(Event&& other) noexcept {
  std::swap(device_, other.device_);
  std::swap(handle_, other.handle_);
  return *this;
}
Event::~Event() {
  if (handle_) cuda_backend().delete_event(handle_);
}
void Event::hold(const Stream& stream) const {
  backend_of("Event::hold", stream.device()).stream_waits_for(stream.handle(), handle_);
}
void Event::synchronize() const { backend_of("Event", device_).synchronize_event(handle_); }
bool Event::is_reached() const { return backend_of("Event", device_).is_event_reached(handle_); }

// ---- memory
Tensor pin_memory(const Tensor& x) {
  gradus::detail::check_defined("pin_memory", "x", x);
  GRADUS_CHECK(x.device().is_cpu(), DeviceError, "pin_memory: x is on {}; only memory of the cpu is pinned",
               x.device());
  const Tensor source = dense(x.detach());
  Backend& backend = cuda_backend();
  void* data = backend.allocate_pinned(source.nbytes());
  const Tensor pinned = from_blob(data, x.shape(), x.dtype(), [&backend, data] { backend.free_pinned(data); });
  pinned.copy_(source);
  return pinned;
}

void record_stream(const Tensor& x, const Stream& stream) {
  gradus::detail::check_defined("record_stream", "x", x);
  if (x.numel() > 0) cuda_backend().record_stream(x.impl().storage->data(), stream.device().index, stream.handle());
}

}  // namespace gradus::cuda
