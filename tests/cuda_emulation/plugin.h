// What tests ask of the emulated plug-in, besides what any plug-in does: dlsym "gradus_emulation_v1".
#pragma once

#include <cstdint>

namespace gradus::emulation {

struct Hooks {
  /// Gives back the seed that was set before.
  uint64_t (*set_seed)(uint64_t seed);
  /// The next kernel on the current device's default stream fails, as by an illegal access.
  void (*break_device)(const char* message);
  void (*repair_device)();
};
using HooksEntry = const Hooks* (*)();

}  // namespace gradus::emulation
