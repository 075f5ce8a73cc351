// Finds and loads the plug-in of CUDA devices, and keeps what each thread does there.
#include <gradus/core/backend.h>

#include <array>
#include <utility>

#include <gradus/core/detail/check.h>
#include <gradus/core/detail/plugin.h>
#include <gradus/core/kernel.h>
#include <gradus/version.h>

namespace gradus {
namespace {

struct Loaded {
  Backend* backend = nullptr;
  std::string reason;
};

Loaded load() {
  const detail::PlugIn plug_in = detail::load_plug_in({.file = "libgradus_cuda.so",
                                                       .variable = "GRADUS_CUDA_PLUGIN",
                                                       .entry = backend_entry,
                                                       .remedy = "build Gradus where the CUDA toolkit is"});
  Loaded loaded{nullptr, plug_in.reason};
  if (plug_in.entry) loaded.backend = reinterpret_cast<BackendEntry>(plug_in.entry)(GRADUS_VERSION, &loaded.reason);
  return loaded;
}

const Loaded& loaded() {
  static const Loaded* result = new Loaded(load());  // never destroyed: tensors may outlive main()
  return *result;
}

}  // namespace

Backend* find_cuda_backend(std::string* reason) {
  if (reason) *reason = loaded().reason;
  return loaded().backend;
}

Backend& cuda_backend() {
  GRADUS_CHECK(loaded().backend, DeviceError,
               "no CUDA device can be used: {}; gradus-doctor says more, and tensors on "
               "Device::cpu() work without",
               loaded().reason);
  return *loaded().backend;
}

namespace detail {
namespace {
thread_local Running now;
}

Running running() { return now; }

OnDevice::OnDevice(Device device, const char* op) {
  GRADUS_CHECK(device.is_cuda(), DeviceError, "{}: a kernel for CUDA devices was asked to work on {}", op, device);
  cuda_backend().enter(device.index, op);
  before_ = std::exchange(now, {op, device});
}
OnDevice::~OnDevice() {
  const Device mine = std::exchange(now, before_).device;
  loaded().backend->leave();
  if (!before_.op || before_.device == mine) return;
  try {  // back to the device of the op that is around this one
    loaded().backend->select(before_.device.index);
  } catch (const Error&) {  // it has failed; the next call there says so
  }
}

DeviceHandle& current_stream(int device) {
  thread_local std::array<DeviceHandle, 256> streams{};  // Device::index has eight bits
  return streams[static_cast<size_t>(device)];
}
}  // namespace detail

}  // namespace gradus
