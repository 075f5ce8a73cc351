// A table of blocks, by address.
#include "memory.h"

#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>

namespace gradus::emulation {
namespace {

// As cudaMalloc promises; a block has a byte at least, so that addresses differ.
constexpr size_t alignment = 256;

struct Table {
  std::mutex mutex;
  std::map<const char*, Block> blocks;
  std::map<int, size_t> used;
};
Table& table() {
  static Table instance;
  return instance;
}

}  // namespace

size_t device_bytes() {
  const char* text = std::getenv("GRADUS_EMULATION_MEMORY");
  return text ? std::strtoull(text, nullptr, 10) : size_t(1) << 30;
}

void* allocate(Block::Kind kind, int device, size_t bytes) {
  const std::lock_guard lock(table().mutex);
  size_t& used = table().used[device];
  const bool counted = kind == Block::Kind::device;
  if (counted && (bytes > device_bytes() || used > device_bytes() - bytes)) return nullptr;
  // Exactly the bytes asked for, so that the first one behind them is AddressSanitizer's.
  void* p = nullptr;
  if (posix_memalign(&p, alignment, bytes ? bytes : 1) != 0) return nullptr;
  std::memset(p, 0xff, bytes);
  if (counted) used += bytes;
  table().blocks[static_cast<char*>(p)] = {kind, device, static_cast<char*>(p), bytes};
  return p;
}

bool release(Block::Kind kind, void* p) {
  const std::lock_guard lock(table().mutex);
  const auto place = table().blocks.find(static_cast<char*>(p));
  if (place == table().blocks.end() || place->second.kind != kind) return false;
  if (kind == Block::Kind::device) table().used[place->second.device] -= place->second.bytes;
  table().blocks.erase(place);
  std::free(p);
  return true;
}

std::optional<Block> block_of(const void* p) {
  const std::lock_guard lock(table().mutex);
  auto place = table().blocks.upper_bound(static_cast<const char*>(p));
  if (place == table().blocks.begin()) return {};
  const Block& block = (--place)->second;
  if (static_cast<const char*>(p) - block.first >= static_cast<ptrdiff_t>(block.bytes ? block.bytes : 1)) return {};
  return block;
}

size_t used_bytes(int device) {
  const std::lock_guard lock(table().mutex);
  return table().used[device];
}

}  // namespace gradus::emulation
