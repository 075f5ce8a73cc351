// The cores of this machine that the launcher may use, and how they are dealt out.
#pragma once

#include <sched.h>

#include <vector>

namespace gradus::run {

/// The threads of one core stand together, cores of one processor, too.
std::vector<int> usable_cores();

/// The share of worker `local_rank` of `nproc`: neighbours, and at least one (then several workers share it).
cpu_set_t share_of(const std::vector<int>& cores, int local_rank, int nproc);

}  // namespace gradus::run
