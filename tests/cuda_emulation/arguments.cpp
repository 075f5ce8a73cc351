// Why a pointer or a stream is refused, in words that follow its name.
#include "arguments.h"

#include "memory.h"

namespace gradus::emulation {

std::string fault_in_memory(const void* p, size_t bytes, size_t alignment, int device) {
  if (!p) return "is null";
  const auto block = block_of(p);
  if (!block || block->kind != Block::Kind::device) return "is not device memory";
  if (block->device != device)
    return "is memory of device " + std::to_string(block->device) + ", not of device " + std::to_string(device);
  const size_t room = block->bytes - static_cast<size_t>(static_cast<const char*>(p) - block->first);
  if (bytes > room) return "needs " + std::to_string(bytes) + " bytes and has " + std::to_string(room);
  if (reinterpret_cast<uintptr_t>(p) % alignment != 0)
    return "is not aligned to " + std::to_string(alignment) + " bytes";
  return {};
}

std::string fault_in_stream(cudaStream_t stream, int device) {
  const StreamId id = id_of(stream);
  if (!is_stream(id)) return "does not exist";
  if (id != 0 && device_of(id) != device)
    return "belongs to device " + std::to_string(device_of(id)) + ", not to device " + std::to_string(device);
  return {};
}

}  // namespace gradus::emulation
