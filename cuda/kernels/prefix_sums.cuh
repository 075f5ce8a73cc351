// Prefix sums of counts, which say where the writers of a later kernel begin.
#pragma once

#include <cstdint>

namespace gradus::cuda {

/// data[i] becomes the sum of data[0] to data[i - 1], and *total, unless null, the sum of all; n > 0. On the device of
/// the running op.
void exclusive_sums(int64_t* data, int64_t n, int64_t* total = nullptr);

}  // namespace gradus::cuda
