// Where a tensor's bytes live: a kind of device and its index.
#pragma once

#include <cstdint>
#include <string>

#include <gradus/core/api.h>

namespace gradus {

namespace detail {
[[noreturn]] GRADUS_API void throw_bad_device(int index);
}

enum class DeviceType : uint8_t { cpu, cuda };
inline constexpr int num_device_types = 2;

struct Device {
  DeviceType type = DeviceType::cpu;
  uint8_t index = 0;

  static constexpr Device cpu() { return {}; }
  /// Throws DeviceError for an index that no machine has; whether this one has it is seen when it is used.
  static constexpr Device cuda(int index = 0) {
    if (index < 0 || index > 255) detail::throw_bad_device(index);
    return {DeviceType::cuda, static_cast<uint8_t>(index)};
  }
  constexpr bool is_cpu() const { return type == DeviceType::cpu; }
  constexpr bool is_cuda() const { return type == DeviceType::cuda; }
  constexpr bool operator==(const Device&) const = default;
};

/// "cpu", "cuda:0".
GRADUS_API std::string to_string(Device device);

/// cuda:0 when there is one, else the CPU; says once, on stderr, which it is and why.
GRADUS_API Device best_device();

}  // namespace gradus
