// What this library was built with and what it chose on this machine, for reports.
#pragma once

#include <gradus/core/api.h>

namespace gradus {

/// The instruction set of the CPU's loops: "avx512", "avx2" or "baseline".
GRADUS_API const char* instruction_set();
/// Whether oneDNN does matrix products and convolutions on the CPU.
GRADUS_API bool uses_onednn();

}  // namespace gradus
