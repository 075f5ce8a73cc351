// What the emulated plug-in adds to the real one's text: an order for the whole program (GRADUS_EMULATION_SEED), and
// the hooks of the tests.
#include "plugin.h"

#include <cstdlib>

#include "scheduler.h"
#include "streams.h"

namespace gradus::emulation {
namespace {

[[maybe_unused]] const bool ordered = [] {
  if (const char* seed = std::getenv("GRADUS_EMULATION_SEED")) set_order({std::strtoull(seed, nullptr, 10)});
  return true;
}();

void break_device(const char* message) {
  enqueue(0, {[text = std::string(message)] { throw Error(text); }, "a planted fault"});
}

uint64_t set_seed(uint64_t seed) {
  const uint64_t before = current_order().seed;
  set_order({seed});
  return before;
}

constexpr Hooks hooks{set_seed, break_device, clear_device_fault};

}  // namespace
}  // namespace gradus::emulation

extern "C" __attribute__((visibility("default"))) const gradus::emulation::Hooks* gradus_emulation_v1() {
  return &gradus::emulation::hooks;
}
