// Inner loops of the reductions. Every order of combination is fixed by the shape alone and the same for every
// instruction set, so results are too. The driver, which cuts the work into blocks, is core/cpu/reduce.cpp.
#include <limits>
#include <type_traits>

#include <gradus/core/cpu/isa/functions.h>

namespace gradus::cpu::GRADUS_ISA {
namespace {

#define GRADUS_INLINE inline __attribute__((always_inline))

// ---- 16-bit floats as they lie in memory, and their way to float without a branch
struct Half {
  uint16_t bits;
};
struct Brain {
  uint16_t bits;
};
GRADUS_INLINE float widen(Brain x) { return __builtin_bit_cast(float, static_cast<uint32_t>(x.bits) << 16); }
// The exponent is rebased by a multiplication, which also normalises subnormals; infinity and NaN get theirs by a mask,
// since a choice would become a jump.
GRADUS_INLINE float widen(Half x) {
  const uint32_t magnitude = x.bits & 0x7fffu, sign = static_cast<uint32_t>(x.bits & 0x8000u) << 16;
  const uint32_t value = __builtin_bit_cast(uint32_t, __builtin_bit_cast(float, magnitude << 13) * 0x1p112f);
  const uint32_t special = static_cast<uint32_t>(static_cast<int32_t>(0x7bffu - magnitude) >> 31) & 0x7f800000u;
  return __builtin_bit_cast(float, value | special | sign);
}
template <class T>
GRADUS_INLINE T widen(T x) {
  return x;
}

// ---- the operations: how an element becomes an accumulator, the neutral one, how two become one
template <class T>
using Wide = decltype(widen(T{}));
template <class T>
using SumOf = std::conditional_t<std::is_integral_v<Wide<T>>, uint64_t, Wide<T>>;  // unsigned: overflow wraps

template <class T>
struct Sum {
  using A = SumOf<T>;
  static constexpr A neutral = 0;
  static GRADUS_INLINE A load(T x) { return static_cast<A>(widen(x)); }
  static GRADUS_INLINE A combine(A a, A b) { return a + b; }
};
template <class T>
struct Prod : Sum<T> {
  using A = SumOf<T>;
  static constexpr A neutral = 1;
  static GRADUS_INLINE A combine(A a, A b) { return a * b; }
};
template <class T>
struct Max {
  using A = Wide<T>;
  using Limits = std::numeric_limits<A>;
  static constexpr A neutral = Limits::has_infinity ? -Limits::infinity() : Limits::lowest();
  static GRADUS_INLINE A load(T x) { return widen(x); }
  static GRADUS_INLINE A combine(A a, A b) {
    const A extreme = b > a ? b : a;  // a NaN in a stays
    return b != b ? b : extreme;
  }
};
template <class T>
struct Min {
  using A = Wide<T>;
  using Limits = std::numeric_limits<A>;
  static constexpr A neutral = Limits::has_infinity ? Limits::infinity() : Limits::max();
  static GRADUS_INLINE A load(T x) { return widen(x); }
  static GRADUS_INLINE A combine(A a, A b) {
    const A extreme = b < a ? b : a;  // a NaN in a stays
    return b != b ? b : extreme;
  }
};
template <class T>
struct Any {
  using A = uint8_t;
  static constexpr A neutral = 0;
  static GRADUS_INLINE A load(T x) { return widen(x) != 0; }
  static GRADUS_INLINE A combine(A a, A b) { return a | b; }
};
template <class T>
struct All : Any<T> {
  using A = uint8_t;
  static constexpr A neutral = 1;
  static GRADUS_INLINE A combine(A a, A b) { return a & b; }
};

// ---- blocks
constexpr int64_t full_width = 64;

// acc[j] takes in x[0..n, j]; four rows at a time, so that the accumulators are loaded and stored once for four loads.
// Not inline: with a known width the compiler unrolls what it should make vector code of.
template <class Op, class T, class A = typename Op::A>
__attribute__((noinline)) void take_rows(A* __restrict acc, const T* __restrict x, int64_t n, int64_t width,
                                         int64_t stride) {
  int64_t i = 0;
  for (; i + 4 <= n; i += 4, x += 4 * stride) {
    const T *a = x, *b = x + stride, *c = b + stride, *d = c + stride;
    for (int64_t j = 0; j < width; ++j) {
      const A ab = Op::combine(Op::load(a[j]), Op::load(b[j])), cd = Op::combine(Op::load(c[j]), Op::load(d[j]));
      acc[j] = Op::combine(acc[j], Op::combine(ab, cd));
    }
  }
  for (; i < n; ++i, x += stride)
    for (int64_t j = 0; j < width; ++j) acc[j] = Op::combine(acc[j], Op::load(x[j]));
}

// Combines the halves of n accumulators until one is left.
template <class Op, int64_t n, class A>
GRADUS_INLINE A tree(A* acc) {
  if constexpr (n > 1) {
    for (int64_t j = 0; j < n / 2; ++j) acc[j] = Op::combine(acc[j], acc[j + n / 2]);
    return tree<Op, n / 2>(acc);
  }
  return acc[0];
}

// A few dense columns: several rows are seen as one wide row, so that vectors are full; at the end the halves of the
// wide row are combined until one row is left.
template <class Op, class T, class A = typename Op::A>
void reduce_narrow(A* y, const T* x, int64_t n, int64_t width) {
  A acc[2 * full_width];
  int64_t together = 1;
  while (together * width < full_width && 2 * together <= n) together *= 2;
  const int64_t lanes = together * width, rows = n / together, rest = n * width - rows * lanes;
  for (int64_t j = 0; j < lanes; ++j) acc[j] = Op::neutral;
  take_rows<Op>(acc, x, rows, lanes, lanes);
  if (rest > 0) take_rows<Op>(acc, x + rows * lanes, 1, rest, 0);
  if (width == 1 && lanes == full_width) {
    *y = tree<Op, full_width>(acc);
    return;
  }
  for (int64_t half = lanes / 2; half >= width; half /= 2)
    for (int64_t j = 0; j < half; ++j) acc[j] = Op::combine(acc[j], acc[j + half]);
  for (int64_t j = 0; j < width; ++j) y[j] = acc[j];
}

template <class Op, class T>
void reduce_blocks(void* result, const void* input, int64_t outer, int64_t n, int64_t width, int64_t stride) {
  using A = typename Op::A;
  A* y = static_cast<A*>(result);
  const T* x = static_cast<const T*>(input);
  for (int64_t o = 0; o < outer; ++o, x += n * stride, y += width) {
    if (width == 1 && n < 16) {
      A value = Op::neutral;
      for (int64_t i = 0; i < n; ++i) value = Op::combine(value, Op::load(x[i * stride]));
      *y = value;
    } else if (width < full_width && stride == width) {
      reduce_narrow<Op>(y, x, n, width);
    } else {
      for (int64_t j = 0; j < width; ++j) y[j] = Op::neutral;
      take_rows<Op>(y, x, n, width, stride);
    }
  }
}

// ---- positions of extremes
template <class A>
GRADUS_INLINE bool same(A a, A b) {
  return (a == b) | ((a != a) & (b != b));
}

// Whole groups are searched without a branch inside, then the one that has it.
template <class T, class A>
int64_t find(const T* x, int64_t n, A wanted) {
  constexpr int64_t group = 64;
  int64_t i = 0;
  for (; i + group <= n; i += group) {
    uint32_t found = 0;
    for (int64_t j = 0; j < group; ++j) found |= same<A>(widen(x[i + j]), wanted);
    if (found) break;
  }
  while (i + 1 < n && !same<A>(widen(x[i]), wanted)) ++i;
  return i;
}

template <template <class> class Op, class T>
void first_of_columns(int64_t* index, const T* x, int64_t n, int64_t width, int64_t stride) {
  using A = typename Op<T>::A;
  A best[reduce_columns];
  int32_t where[reduce_columns];
  for (int64_t j = 0; j < width; ++j) {
    best[j] = widen(x[j]);
    where[j] = 0;
  }
  for (int64_t i = 1; i < n; ++i) {
    const T* row = x + i * stride;
    for (int64_t j = 0; j < width; ++j) {
      const A kept = Op<T>::combine(best[j], widen(row[j]));
      where[j] = same(kept, best[j]) ? where[j] : static_cast<int32_t>(i);
      best[j] = kept;
    }
  }
  for (int64_t j = 0; j < width; ++j) index[j] = where[j];
}

template <template <class> class Op, class T>
void first_in_blocks(int64_t* index, const void* input, int64_t outer, int64_t n, int64_t width, int64_t stride) {
  const T* x = static_cast<const T*>(input);
  for (int64_t o = 0; o < outer; ++o, x += n * stride, index += width) {
    if (width == 1 && stride == 1) {
      typename Op<T>::A extreme;
      reduce_blocks<Op<T>, T>(&extreme, x, 1, n, 1, 1);
      *index = find(x, n, extreme);
    } else {
      first_of_columns<Op>(index, x, n, width, stride);
    }
  }
}

template <template <class> class Op>
void reduce_dtype(Dtype dtype, void* y, const void* x, int64_t outer, int64_t n, int64_t width, int64_t stride) {
  switch (dtype) {
    case float32: return reduce_blocks<Op<float>, float>(y, x, outer, n, width, stride);
    case float64: return reduce_blocks<Op<double>, double>(y, x, outer, n, width, stride);
    case float16: return reduce_blocks<Op<Half>, Half>(y, x, outer, n, width, stride);
    case bfloat16: return reduce_blocks<Op<Brain>, Brain>(y, x, outer, n, width, stride);
    case int32: return reduce_blocks<Op<int32_t>, int32_t>(y, x, outer, n, width, stride);
    case int64: return reduce_blocks<Op<int64_t>, int64_t>(y, x, outer, n, width, stride);
    case uint8:
    case boolean: return reduce_blocks<Op<uint8_t>, uint8_t>(y, x, outer, n, width, stride);
  }
}

template <template <class> class Op>
void first_dtype(Dtype dtype, int64_t* index, const void* x, int64_t outer, int64_t n, int64_t width, int64_t stride) {
  switch (dtype) {
    case float32: return first_in_blocks<Op, float>(index, x, outer, n, width, stride);
    case float64: return first_in_blocks<Op, double>(index, x, outer, n, width, stride);
    case float16: return first_in_blocks<Op, Half>(index, x, outer, n, width, stride);
    case bfloat16: return first_in_blocks<Op, Brain>(index, x, outer, n, width, stride);
    case int32: return first_in_blocks<Op, int32_t>(index, x, outer, n, width, stride);
    case int64: return first_in_blocks<Op, int64_t>(index, x, outer, n, width, stride);
    case uint8:
    case boolean: return first_in_blocks<Op, uint8_t>(index, x, outer, n, width, stride);
  }
}

}  // namespace

void reduce(Reduce op, Dtype dtype, void* y, const void* x, int64_t outer, int64_t n, int64_t width, int64_t stride) {
  switch (op) {
    case Reduce::sum: return reduce_dtype<Sum>(dtype, y, x, outer, n, width, stride);
    case Reduce::prod: return reduce_dtype<Prod>(dtype, y, x, outer, n, width, stride);
    case Reduce::max: return reduce_dtype<Max>(dtype, y, x, outer, n, width, stride);
    case Reduce::min: return reduce_dtype<Min>(dtype, y, x, outer, n, width, stride);
    case Reduce::any: return reduce_dtype<Any>(dtype, y, x, outer, n, width, stride);
    case Reduce::all: return reduce_dtype<All>(dtype, y, x, outer, n, width, stride);
  }
}

void first_extreme(bool largest, Dtype dtype, int64_t* index, const void* x, int64_t outer, int64_t n, int64_t width,
                   int64_t stride) {
  if (largest)
    first_dtype<Max>(dtype, index, x, outer, n, width, stride);
  else
    first_dtype<Min>(dtype, index, x, outer, n, width, stride);
}

}  // namespace gradus::cpu::GRADUS_ISA
