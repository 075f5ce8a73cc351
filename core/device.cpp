// The choice of a device.
#include <gradus/core/device.h>

#include <cstdio>

namespace gradus {

Device best_device() {
  static const Device device = [] {
    std::fputs("device: cpu (this build has no cuda backend)\n", stderr);
    return Device::cpu();
  }();
  return device;
}

}  // namespace gradus
