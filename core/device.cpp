// The choice of a device.
#include <gradus/core/device.h>

#include <cstdio>
#include <string>

#include <gradus/core/backend.h>
#include <gradus/core/error.h>

namespace gradus {

Device best_device() {
  static const Device device = [] {
    std::string reason;
    Backend* const backend = find_cuda_backend(&reason);
    if (backend)
      std::fprintf(stderr, "device: cuda:0 (%s)\n", backend->info(0).name.c_str());
    else
      std::fprintf(stderr, "device: cpu (%s)\n", reason.substr(0, reason.find(';')).c_str());  // without the advice
    return backend ? Device::cuda(0) : Device::cpu();
  }();
  return device;
}

void detail::throw_bad_device(int index) {
  throw DeviceError("Device::cuda: index is " + std::to_string(index) + "; want 0 to 255");
}

}  // namespace gradus
