// An order of blocks, threads and streams for the scope of a test.
#pragma once

#include <cuda_emulation/scheduler.h>

namespace gradus::emulation {

struct Seed {
  explicit Seed(uint64_t seed) { set_order({seed}); }
  ~Seed() { set_order({}); }
  Seed(const Seed&) = delete;
  Seed& operator=(const Seed&) = delete;
};

}  // namespace gradus::emulation
