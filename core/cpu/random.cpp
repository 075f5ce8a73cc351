// Random values and dropout from a Philox stream: element i uses word i % 4 of counter offset + i / 4, so the values do
// not depend on threads. Blocks of words, and what becomes of them in float32, are made per instruction set; float64
// and integers go element by element.
#include <algorithm>

#include <gradus/core/convert.h>
#include <gradus/core/cpu/isa/functions.h>
#include <gradus/core/detail/dispatch.h>
#include <gradus/core/detail/uniform_top.h>
#include <gradus/core/kernels.h>
#include <gradus/core/parallel.h>
#include <gradus/core/philox.h>

namespace gradus::cpu {
namespace {

constexpr int64_t block = 512, blocks_per_task = 32;
constexpr int64_t words_at_once = 32;  // eight counters, the widest vector

char* memory(Tensor& y) { return static_cast<char*>(const_cast<void*>(y.raw_data())); }

// Calls body(start, count, words) for each block of n elements; there are words up to a multiple of words_at_once.
template <class Body>
void for_each_block(int64_t n, PhiloxState state, Body body) {
  parallel_for(0, (n + block - 1) / block, blocks_per_task, [&](int64_t first, int64_t last) {
    alignas(64) uint32_t words[block];
    for (int64_t b = first; b < last; ++b) {
      const int64_t start = b * block, count = std::min(block, n - start);
      const int64_t counters = (count + words_at_once - 1) / words_at_once * words_at_once / 4;
      isa().philox_words(words, counters, state.seed, state.offset + static_cast<uint64_t>(start / 4));
      body(start, count, words);
    }
  });
}

// Calls compute(values, words, count) for each block, with room for a whole block of float32, and puts the first
// `count` values into y in its dtype.
template <class Compute>
void fill_from_floats(Tensor& y, PhiloxState state, Compute compute) {
  char* to = memory(y);
  const int64_t item = itemsize(y.dtype());
  const ConvertLoop convert = isa().convert_loop(float32, y.dtype());
  for_each_block(y.numel(), state, [&](int64_t start, int64_t count, const uint32_t* words) {
    alignas(64) float values[block];
    compute(values, words, count);
    convert(to + start * item, values, count);
  });
}

void uniform(Tensor& y, double low, double high, PhiloxState state) {
  const double range = high - low, top = detail::uniform_top(low, high, y.dtype());
  if (y.dtype() != float64)
    return fill_from_floats(y, state, [=](float* values, const uint32_t* words, int64_t count) {
      isa().uniform_floats(values, words, count, static_cast<float>(low), static_cast<float>(range),
                           static_cast<float>(top));
    });
  double* to = reinterpret_cast<double*>(memory(y));
  for_each_block(y.numel(), state, [=](int64_t start, int64_t count, const uint32_t* words) {
    for (int64_t i = 0; i < count; ++i) to[start + i] = philox::uniform_between(words[i], low, range, top);
  });
}

void normal(Tensor& y, double mean, double std, PhiloxState state) {
  if (y.dtype() != float64)
    return fill_from_floats(y, state, [=](float* values, const uint32_t* words, int64_t count) {
      const int64_t whole_pairs = (count + 1) / 2 * 2;
      isa().normal_floats(values, words, whole_pairs, static_cast<float>(mean), static_cast<float>(std));
    });
  double* to = reinterpret_cast<double*>(memory(y));
  for_each_block(y.numel(), state, [=](int64_t start, int64_t count, const uint32_t* words) {
    for (int64_t i = 0; i < count; i += 2) {
      const philox::NormalPairDouble z = philox::normal_pair_double(words[i], words[i + 1]);
      to[start + i] = mean + std * z.first;
      if (i + 1 < count) to[start + i + 1] = mean + std * z.second;
    }
  });
}

// [low, high), at most 2^32 values.
void integer(Tensor& y, double low, double high, PhiloxState state) {
  const int64_t first = static_cast<int64_t>(low);
  const uint64_t range = static_cast<uint64_t>(static_cast<int64_t>(high) - first);
  detail::dispatch(y.dtype(), [&]<class T>() {
    T* to = reinterpret_cast<T*>(memory(y));
    for_each_block(y.numel(), state, [=](int64_t start, int64_t count, const uint32_t* words) {
      for (int64_t i = 0; i < count; ++i) to[start + i] = convert<T>(philox::integer_from(words[i], first, range));
    });
  });
}

void random(Tensor& y, Distribution distribution, double a, double b, PhiloxState state) {
  switch (distribution) {
    case Distribution::uniform: return uniform(y, a, b, state);
    case Distribution::normal: return normal(y, a, b, state);
    case Distribution::integer: return integer(y, a, b, state);
  }
}

void dropout(Tensor& y, const Tensor& x, double p, PhiloxState state) {
  const uint32_t threshold = philox::dropout_threshold(p);
  const double scale = 1 / (1 - p);
  if (y.dtype() == float64) {
    double* to = reinterpret_cast<double*>(memory(y));
    const double* from = x.data<double>();
    return for_each_block(y.numel(), state, [=](int64_t start, int64_t count, const uint32_t* words) {
      for (int64_t i = 0; i < count; ++i)
        to[start + i] = philox::keeps(words[i], threshold) ? from[start + i] * scale : 0;
    });
  }
  char* to = memory(y);
  const char* from = static_cast<const char*>(x.raw_data());
  const int64_t item = itemsize(y.dtype());
  const bool direct = y.dtype() == float32;
  const ConvertLoop widen = isa().convert_loop(x.dtype(), float32), narrow = isa().convert_loop(float32, y.dtype());
  for_each_block(y.numel(), state, [=](int64_t start, int64_t count, const uint32_t* words) {
    alignas(64) float buffer[block];
    const char* in = from + start * item;
    char* out = to + start * item;
    if (!direct) widen(buffer, in, count);
    isa().dropout_floats(direct ? reinterpret_cast<float*>(out) : buffer,
                         direct ? reinterpret_cast<const float*>(in) : buffer, words, count, threshold,
                         static_cast<float>(scale));
    if (!direct) narrow(out, buffer, count);
  });
}

[[maybe_unused]] const bool registered =
    kernels::random.set(DeviceType::cpu, random) && kernels::dropout.set(DeviceType::cpu, dropout);

}  // namespace
}  // namespace gradus::cpu
