// Cores in the order of the hardware, cut into equal shares.
#include "cores.h"

#include <algorithm>
#include <fstream>
#include <tuple>

#include <fmt/format.h>

namespace gradus::run {
namespace {

int topology(int cpu, const char* what) {
  int number = 0;
  std::ifstream(fmt::format("/sys/devices/system/cpu/cpu{}/topology/{}", cpu, what)) >> number;
  return number;
}

}  // namespace

std::vector<int> usable_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) != 0) return {0};
  std::vector<std::tuple<int, int, int>> places;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu)
    if (CPU_ISSET(cpu, &set)) places.emplace_back(topology(cpu, "physical_package_id"), topology(cpu, "core_id"), cpu);
  std::sort(places.begin(), places.end());
  std::vector<int> cores;
  for (const auto& place : places) cores.push_back(std::get<2>(place));
  return cores;
}

cpu_set_t share_of(const std::vector<int>& cores, int local_rank, int nproc) {
  const size_t n = cores.size(), parts = static_cast<size_t>(nproc), part = static_cast<size_t>(local_rank);
  const size_t first = part * n / parts, last = std::max(first + 1, (part + 1) * n / parts);
  cpu_set_t set;
  CPU_ZERO(&set);
  for (size_t i = first; i < last; ++i) CPU_SET(cores[i], &set);
  return set;
}

}  // namespace gradus::run
