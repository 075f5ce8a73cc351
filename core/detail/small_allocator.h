// The size up to which small_allocate() (core/ref.h) serves from per-thread lists.
#pragma once

#include <cstddef>

namespace gradus {
inline constexpr size_t small_block_limit = 4096;
}
