// A table of blocks, by address.
#include "memory.h"

#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
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
  int accesses = 0;  // DeviceAccess objects
};
Table& table() {
  static Table* instance = new Table;  // never destroyed: tensors may outlive main()
  return *instance;
}

// ---- strict: device memory in pages of its own, which only device work may touch
bool is_strict() {
  static const bool strict = std::getenv("GRADUS_EMULATION_STRICT") != nullptr;
  return strict;
}
size_t pages(size_t bytes) {
  const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  return (std::max<size_t>(bytes, 1) + page - 1) / page * page;
}
void protect(const Block& block, int rights) { mprotect(block.first, pages(block.bytes), rights); }
void protect_all(int rights) {
  for (const auto& [first, block] : table().blocks)
    if (block.kind == Block::Kind::device) protect(block, rights);
}

void explain_fault(int, siginfo_t* info, void*) {
  if (block_of(info->si_addr)) {
    std::fprintf(stderr, "[CUDA emulation] the host touched device memory at %p\n", info->si_addr);
    _exit(1);
  }
  signal(SIGSEGV, SIG_DFL);  // somebody else's fault: it is made again, and ends the program
}

char* new_pages(size_t bytes) {
  [[maybe_unused]] static const bool explained = [] {
    struct sigaction action = {};
    action.sa_sigaction = explain_fault;
    action.sa_flags = SA_SIGINFO;
    return sigaction(SIGSEGV, &action, nullptr) == 0;
  }();
  void* p = mmap(nullptr, pages(bytes), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return p == MAP_FAILED ? nullptr : static_cast<char*>(p);
}

// Exactly the bytes asked for, so that the first one behind them is AddressSanitizer's.
char* new_block(size_t bytes) {
  void* p = nullptr;
  return posix_memalign(&p, alignment, bytes ? bytes : 1) == 0 ? static_cast<char*>(p) : nullptr;
}

}  // namespace

DeviceAccess::DeviceAccess() {
  if (!is_strict()) return;
  const std::lock_guard lock(table().mutex);
  if (table().accesses++ == 0) protect_all(PROT_READ | PROT_WRITE);
}
DeviceAccess::~DeviceAccess() {
  if (!is_strict()) return;
  const std::lock_guard lock(table().mutex);
  if (--table().accesses == 0) protect_all(PROT_NONE);
}

size_t device_bytes() {
  const char* text = std::getenv("GRADUS_EMULATION_MEMORY");
  return text ? std::strtoull(text, nullptr, 10) : size_t(1) << 30;
}

void* allocate(Block::Kind kind, int device, size_t bytes) {
  const std::lock_guard lock(table().mutex);
  size_t& used = table().used[device];
  const bool counted = kind == Block::Kind::device;
  if (counted && (bytes > device_bytes() || used > device_bytes() - bytes)) return nullptr;
  const bool guarded = counted && is_strict();
  char* const p = guarded ? new_pages(bytes) : new_block(bytes);
  if (!p) return nullptr;
  std::memset(p, 0xff, bytes);
  if (counted) used += bytes;
  const Block& block = table().blocks[p] = {kind, device, p, bytes};
  if (guarded && table().accesses == 0) protect(block, PROT_NONE);
  return p;
}

bool release(Block::Kind kind, void* p) {
  const std::lock_guard lock(table().mutex);
  const auto place = table().blocks.find(static_cast<char*>(p));
  if (place == table().blocks.end() || place->second.kind != kind) return false;
  const Block block = place->second;
  table().blocks.erase(place);
  if (kind == Block::Kind::device) table().used[block.device] -= block.bytes;
  if (kind == Block::Kind::device && is_strict())
    munmap(p, pages(block.bytes));
  else
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
