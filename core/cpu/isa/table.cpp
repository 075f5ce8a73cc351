// This instruction set's table.
#include <gradus/core/cpu/isa/functions.h>

namespace gradus::cpu::GRADUS_ISA {

#define GRADUS_STRING(x) #x
#define GRADUS_NAME(x) GRADUS_STRING(x)
#define GRADUS_POINTER(name, result, ...) name,
extern const IsaFunctions table = {GRADUS_NAME(GRADUS_ISA), GRADUS_ISA_FUNCTIONS(GRADUS_POINTER)};

}  // namespace gradus::cpu::GRADUS_ISA
