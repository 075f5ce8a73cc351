// Per-ISA functions for elementwise kernels; see functions.h.
#pragma once

#include <cstdint>

// clang-format off
#define GRADUS_ISA_ELEMENTWISE(F)
// clang-format on
