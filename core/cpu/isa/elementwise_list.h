// Per-ISA functions for elementwise and random kernels; see functions.h.
#pragma once

#include <cstdint>

#include <gradus/core/element.h>
#include <gradus/core/elementwise.h>

namespace gradus::cpu {
/// out[i] = f(in[0][i], ...) over n contiguous elements; out may be one of the inputs.
using ElementwiseLoop = void (*)(void* out, const void* const* in, int64_t n, const Params& params);
/// out[i] = in[i] in another dtype. Out of range saturates, NaN becomes the integer 0.
using ConvertLoop = void (*)(void* out, const void* in, int64_t n);
}  // namespace gradus::cpu

// The loop of a functor for a compute type; null where the functor does not support it. 16-bit floats have none: the
// engine (core/cpu/elementwise.cpp) computes them in float32.
// clang-format off
#define GRADUS_ISA_ELEMENTWISE(F) \
  F(elementwise_loop, ElementwiseLoop, Elementwise op, Dtype type) \
  F(convert_loop, ConvertLoop, Dtype from, Dtype to) \
  F(philox_words, void, uint32_t* words, int64_t counters, uint64_t seed, uint64_t first) \
  F(uniform_floats, void, float* y, const uint32_t* words, int64_t n, float low, float range, float top) \
  F(normal_floats, void, float* y, const uint32_t* words, int64_t n, float mean, float std) \
  F(dropout_floats, void, float* y, const float* x, const uint32_t* words, int64_t n, uint32_t threshold, float scale)
// clang-format on
