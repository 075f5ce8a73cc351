// Which kernels there are and how often each has run: written when the program ends, as lines «count<TAB>name» appended
// to the file that GRADUS_EMULATION_REPORT names.
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string_view>
#include <vector>

#include "device.h"

namespace gradus::emulation {
namespace {

// Kernels enter themselves before main() or when the plug-in is loaded, by one thread.
std::vector<const KernelRecord*>& all() {
  static auto* records = new std::vector<const KernelRecord*>;
  return *records;
}

std::map<const void*, KernelRecord*>& by_function() {
  static auto* records = new std::map<const void*, KernelRecord*>;
  return *records;
}

// Of «[with auto kernel = gradus::cuda::{anonymous}::map<float>]» what stands behind the scope: map<float>.
std::string name_in(std::string_view signature) {
  constexpr std::string_view mark = "kernel = ";
  if (const size_t at = signature.find(mark); at != signature.npos) signature.remove_prefix(at + mark.size());
  signature = signature.substr(0, signature.rfind(']'));
  const size_t scope = signature.substr(0, signature.find('<')).rfind("::");
  return std::string(scope == signature.npos ? signature : signature.substr(scope + 2));
}

struct Report {
  ~Report() {
    const char* path = std::getenv("GRADUS_EMULATION_REPORT");
    FILE* file = path ? std::fopen(path, "a") : nullptr;
    if (!file) return;
    for (const KernelRecord* record : all())
      std::fprintf(file, "%llu\t%s\n", static_cast<unsigned long long>(record->grids), record->name.c_str());
    std::fclose(file);
  }
} report;

}  // namespace

KernelRecord::KernelRecord(const char* signature, const void* function) : name(name_in(signature)) {
  all().push_back(this);
  by_function()[function] = this;
}

KernelRecord* record_of(const void* function) {
  const auto found = by_function().find(function);
  return found == by_function().end() ? nullptr : found->second;
}

}  // namespace gradus::emulation
