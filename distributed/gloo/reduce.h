// Reductions of two arrays, in the form that Gloo calls.
#pragma once

#include <cstddef>
#include <cstdint>

#include <gradus/core/element.h>
#include <gradus/distributed/process_group.h>

namespace gradus::dist::gloo_engine {

/// out = a (op) b, elementwise; out may be a. 16-bit floats are reduced in float32 and rounded.
using ReduceFunction = void (*)(void* out, const void* a, const void* b, size_t n);
/// mean counts as sum.
ReduceFunction reduce_function(ReduceOp op, Dtype dtype);

/// out (count) = the reduction of `parts` (n, count) in the order of ranks; 16-bit floats are rounded once, at the end.
void reduce_parts(void* out, const void* parts, int n, int64_t count, ReduceOp op, Dtype dtype);

/// x (count) of floating dtype divided by n.
void divide(void* x, int64_t count, int n, Dtype dtype);

}  // namespace gradus::dist::gloo_engine
