// The run-time choice of an instruction set.
#include <cstdlib>
#include <string_view>

#include <gradus/core/build_info.h>
#include <gradus/core/cpu/isa/functions.h>

namespace gradus::cpu {

namespace baseline {
extern const IsaFunctions table;
}
#if defined(__x86_64__)
namespace avx2 {
extern const IsaFunctions table;
}
namespace avx512 {
extern const IsaFunctions table;
}
#endif

namespace {

const IsaFunctions& choose() {
#if defined(__x86_64__)
  const char* text = std::getenv("GRADUS_ISA");
  const std::string_view wanted = text ? text : "avx512";
  const bool has_avx2 =
      __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
  const bool has_avx512 = has_avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                          __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
                          __builtin_cpu_supports("avx512cd");
  if (wanted == "avx512" && has_avx512) return avx512::table;
  if (wanted != "baseline" && has_avx2) return avx2::table;
#endif
  return baseline::table;
}

}  // namespace

const IsaFunctions& isa() {
  static const IsaFunctions& chosen = choose();
  return chosen;
}

}  // namespace gradus::cpu

namespace gradus {
const char* instruction_set() { return cpu::isa().isa; }
}  // namespace gradus
