// Per-ISA functions for fused kernels; see functions.h.
#pragma once

#include <cstdint>

// clang-format off
#define GRADUS_ISA_FUSED(F)
// clang-format on
