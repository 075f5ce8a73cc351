// The memory of the emulated devices and pinned memory of the host: who owns which addresses. Device memory is the
// host's, so that AddressSanitizer sees an overrun; it is filled with ones, which are NaN in every floating dtype.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

namespace gradus::emulation {

struct Block {
  enum class Kind : uint8_t { device, pinned };
  Kind kind;
  int device;  ///< that was current when it was made
  char* first;
  size_t bytes;
};

/// Null when the device has no room for it (device memory only). Bytes a device has: GRADUS_EMULATION_MEMORY, or 1 GiB.
void* allocate(Block::Kind kind, int device, size_t bytes);
/// False when p is not the start of a block of that kind.
bool release(Block::Kind kind, void* p);
/// The block that holds the address.
std::optional<Block> block_of(const void* p);
/// While one lives, device memory can be touched. At other times it cannot, when GRADUS_EMULATION_STRICT=1 is set: a
/// host that reads through a device's pointer is stopped with a message, as it would be by a segmentation fault beside
/// a GPU.
class DeviceAccess {
 public:
  DeviceAccess();
  ~DeviceAccess();
  DeviceAccess(const DeviceAccess&) = delete;
  DeviceAccess& operator=(const DeviceAccess&) = delete;
};

size_t device_bytes();
size_t used_bytes(int device);

}  // namespace gradus::emulation
