// A kernel slot: a name and one function per kind of device. core/kernels.h has the list of all slots.
#pragma once

#include <gradus/core/tensor.h>

namespace gradus {

namespace detail {

[[noreturn]] GRADUS_API void throw_no_kernel(const char* name, Device device);

/// What the thread computes on a device other than the CPU: set around every such kernel, read where it is launched.
struct Running {
  const char* op = nullptr;
  Device device;
};
GRADUS_API Running running();

/// Makes the device current on this thread, and notes the op, while it lives.
class GRADUS_API OnDevice {
 public:
  OnDevice(Device device, const char* op);
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;
  ~OnDevice();

 private:
  Running before_;
};

}  // namespace detail

template <class Signature>
class Kernel;

template <class Result, class... Args>
class Kernel<Result(Args...)> {
 public:
  using Function = Result (*)(Args...);
  explicit constexpr Kernel(const char* name) : name_(name) {}

  Result operator()(Device device, Args... args) const {
    const Function function = functions_[static_cast<int>(device.type)];
    if (!function) [[unlikely]]
      detail::throw_no_kernel(name_, device);
    if (device.is_cpu()) [[likely]]
      return function(static_cast<Args>(args)...);
    const detail::OnDevice scope(device, name_);
    return function(static_cast<Args>(args)...);
  }
  bool has(Device device) const { return functions_[static_cast<int>(device.type)] != nullptr; }
  /// Called once by the kernel's own file, from a file-local static (the CPU) or at plug-in installation.
  bool set(DeviceType type, Function function) {
    functions_[static_cast<int>(type)] = function;
    return true;
  }
  const char* name() const { return name_; }

 private:
  const char* name_;
  Function functions_[num_device_types] = {};
};

}  // namespace gradus
