// Per-ISA functions for reduce kernels; see functions.h.
#pragma once

#include <cstdint>

// clang-format off
#define GRADUS_ISA_REDUCE(F)
// clang-format on
