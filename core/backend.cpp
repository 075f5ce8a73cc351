// Finds and loads the plug-in of CUDA devices, and keeps what each thread does there.
#include <gradus/core/backend.h>

#include <dlfcn.h>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <utility>

#include <gradus/core/detail/check.h>
#include <gradus/core/kernel.h>
#include <gradus/version.h>

namespace gradus {
namespace {

constexpr const char* plugin_name = "libgradus_cuda.so";

// GRADUS_CUDA_PLUGIN, else the file beside libgradus.so.
std::string plugin_path() {
  if (const char* path = std::getenv("GRADUS_CUDA_PLUGIN")) return path;
  Dl_info self;
  static const int inside_this_library = 0;
  if (!dladdr(&inside_this_library, &self)) return plugin_name;
  return std::filesystem::path(self.dli_fname).parent_path() / plugin_name;
}

struct Loaded {
  Backend* backend = nullptr;
  std::string reason;
};

Loaded load() {
  const std::string path = plugin_path();
  std::error_code error;
  if (!std::filesystem::exists(path, error))
    return {nullptr,
            fmt::format("{} is not there; build Gradus where the CUDA toolkit is, or set GRADUS_CUDA_PLUGIN to "
                        "the path of the plug-in",
                        path)};
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library) return {nullptr, fmt::format("the plug-in cannot be loaded: {}", dlerror())};
  const auto entry = reinterpret_cast<BackendEntry>(dlsym(library, backend_entry));
  if (!entry) return {nullptr, fmt::format("{} is no plug-in of Gradus: it has no {}", path, backend_entry)};
  Loaded loaded;
  loaded.backend = entry(GRADUS_VERSION, &loaded.reason);
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
