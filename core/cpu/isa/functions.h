// The functions that are compiled once per instruction set (baseline, AVX2, AVX-512), as one table of pointers for
// each. Every list below is F(name, result, arguments): plain pointers and numbers, because code compiled for AVX-512
// must not share an inline function with the rest of the library. A function `name` is defined in one isa/*.cpp, in
// namespace gradus::cpu::GRADUS_ISA, with internal helpers in anonymous namespaces; isa/table.cpp collects them.
#pragma once

#include <cstdint>

#include <gradus/core/cpu/isa/dense_list.h>
#include <gradus/core/cpu/isa/elementwise_list.h>
#include <gradus/core/cpu/isa/fused_list.h>
#include <gradus/core/cpu/isa/optimizer_list.h>
#include <gradus/core/cpu/isa/reduce_list.h>

#define GRADUS_ISA_FUNCTIONS(F) \
  GRADUS_ISA_ELEMENTWISE(F) GRADUS_ISA_REDUCE(F) GRADUS_ISA_FUSED(F) GRADUS_ISA_OPTIMIZER(F) GRADUS_ISA_DENSE(F)

namespace gradus::cpu {

struct IsaFunctions {
  const char* isa;
#define GRADUS_FIELD(name, result, ...) result (*name)(__VA_ARGS__);
  GRADUS_ISA_FUNCTIONS(GRADUS_FIELD)
#undef GRADUS_FIELD
};

// In a per-ISA file: the declarations of all functions of this instruction set.
#ifdef GRADUS_ISA
namespace GRADUS_ISA {
#define GRADUS_DECLARE(name, result, ...) result name(__VA_ARGS__);
GRADUS_ISA_FUNCTIONS(GRADUS_DECLARE)
#undef GRADUS_DECLARE
extern const IsaFunctions table;
}  // namespace GRADUS_ISA
#endif

/// The table of the best instruction set that this machine has; GRADUS_ISA=baseline|avx2|avx512 in the environment
/// chooses a lesser one.
const IsaFunctions& isa();

}  // namespace gradus::cpu
