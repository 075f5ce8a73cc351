// Per-ISA functions for optimizer kernels; see functions.h.
#pragma once

#include <cstdint>

// clang-format off
#define GRADUS_ISA_OPTIMIZER(F)
// clang-format on
