// What suites of the CUDA backend share: the device, and hooks into the emulation that stands for it.
#pragma once

#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>

#include <gradus/cuda/cuda.h>

#include "cuda_emulation/plugin.h"

namespace emulated {

/// Hooks of the loaded plug-in; null when it is the real one.
inline const gradus::emulation::Hooks* hooks() {
  const char* path = std::getenv("GRADUS_CUDA_PLUGIN");
  void* library = path ? dlopen(path, RTLD_NOW | RTLD_NOLOAD) : nullptr;
  const auto entry =
      library ? reinterpret_cast<gradus::emulation::HooksEntry>(dlsym(library, "gradus_emulation_v1")) : nullptr;
  return entry ? entry() : nullptr;
}

/// Says that a test did not run, and why.
inline void skipped(const char* why) { std::printf("SKIPPED: %s\n", why); }

/// An order of streams and threads for a scope.
struct Seed {
  explicit Seed(uint64_t seed) : before(hooks() ? hooks()->set_seed(seed) : 0) {}
  ~Seed() {
    if (hooks()) hooks()->set_seed(before);
  }
  Seed(const Seed&) = delete;
  Seed& operator=(const Seed&) = delete;
  const uint64_t before;
};

}  // namespace emulated
