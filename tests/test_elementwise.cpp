// Elementwise kernels and their engine: layouts, broadcasting, dtypes and conversions, arithmetic against a plain
// reference. Threads and instruction sets are in test_same_bits.cpp, the float functions in test_math.cpp.
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include <gradus/autograd/ops.h>
#include <gradus/core/dtype.h>

#include "catch.h"

using namespace gradus;

namespace {

// The elements in row-major order, as doubles.
std::vector<double> values(const Tensor& x) {
  const Tensor flat = dense(x.detach().to(float64));
  return {flat.data<double>(), flat.data<double>() + flat.numel()};
}

// Element `index` of x as broadcast to `shape`, the slow way.
double at(const Tensor& x, const Shape& shape, int64_t position) {
  int64_t offset = 0;
  for (int d = shape.rank(); d-- > 0; position /= shape[d]) {
    const int own = d - (shape.rank() - x.rank());
    if (own >= 0 && x.shape()[own] != 1) offset += position % shape[d] * x.strides()[own];
  }
  const Tensor one = as_strided(x.detach(), {}, {}, x.impl().offset + offset);
  return one.item<double>();
}

void check_sum(const Tensor& x, const Tensor& y) {
  const Tensor z = x + y;
  const std::vector<double> got = values(z);
  for (int64_t i = 0; i < z.numel(); ++i)
    REQUIRE(got[static_cast<size_t>(i)] == at(x, z.shape(), i) + at(y, z.shape(), i));
}

Tensor counting(const Shape& shape, Dtype dtype = float32) {
  return arange(0, shape.numel(), 1, {.dtype = dtype}).reshape(shape);
}

constexpr double infinity = std::numeric_limits<double>::infinity(), nan = std::numeric_limits<double>::quiet_NaN();

template <class T>
constexpr bool is_integer = std::is_integral_v<T> && !std::is_same_v<T, bool>;
// What arithmetic is done in: float for the 16-bit types.
template <class T>
using Computed = std::conditional_t<std::is_arithmetic_v<T>, T, float>;

template <class T>
Tensor of(const std::vector<T>& elements) {
  const Tensor x = empty({static_cast<int64_t>(elements.size())}, {.dtype = dtype_of<T>});
  std::copy(elements.begin(), elements.end(), x.mutable_data<T>());
  return x;
}

// Equal, a NaN being equal to any other.
template <class T>
bool same(T a, T b) {
  const Computed<T> x(a), y(b);
  return x == y || (x != x && y != y);
}

// Values where arithmetic goes wrong first: ends of the range, neighbours of zero, infinities, NaN.
template <class T>
std::vector<T> difficult_values() {
  if constexpr (is_integer<T>) {
    using Limits = std::numeric_limits<T>;
    return {Limits::min(), static_cast<T>(Limits::min() + 1), static_cast<T>(-7), static_cast<T>(-1), 0, 1, 2, 3,
            100,           static_cast<T>(Limits::max() - 1), Limits::max()};
  } else {
    std::vector<T> elements;
    for (const double x : {-infinity, -60000.0, -7.25, -1.0, -0.0, 0.0, 0.5, 1.0, 3.0, 1e-5, 60000.0, infinity, nan})
      elements.push_back(T(static_cast<Computed<T>>(x)));
    return elements;
  }
}

// Python's %, where 0 divides nothing.
template <class T>
T floored_remainder(T x, T y) {
  if constexpr (std::is_integral_v<T>) {
    if (y == 0) return 0;
    const __int128 r = static_cast<__int128>(x) % y;
    return static_cast<T>(r != 0 && (r < 0) != (y < 0) ? r + y : r);
  } else {
    const T r = std::fmod(x, y);
    return r != 0 && (r < 0) != (y < 0) ? r + y : r;
  }
}

// f(x, y) for all pairs of difficult values against `reference`, which computes in Computed<T>, or for integers in 128
// bits of which the low ones count. Repeated, so that vectors and their rests are used.
template <class T, class F, class Reference>
void check_binary(const char* op, F f, Reference reference) {
  std::vector<T> a, b;
  for (int repetition = 0; repetition < 3; ++repetition)
    for (const T x : difficult_values<T>())
      for (const T y : difficult_values<T>()) {
        a.push_back(x);
        b.push_back(y);
      }
  const Tensor z = f(of(a), of(b));
  REQUIRE(z.dtype() == dtype_of<T>);
  for (size_t i = 0; i < a.size(); ++i) {
    using Wide = std::conditional_t<is_integer<T>, __int128, Computed<T>>;
    const T want = T(static_cast<Computed<T>>(reference(static_cast<Wide>(a[i]), static_cast<Wide>(b[i]))));
    INFO(op << " in " << std::string(name(dtype_of<T>)) << ": " << +Computed<T>(a[i]) << ", " << +Computed<T>(b[i])
            << " gives " << +Computed<T>(z.data<T>()[i]) << "; want " << +Computed<T>(want));
    REQUIRE(same(z.data<T>()[i], want));
  }
}

// x as a To: rounded to nearest from floating types, wrapped around from integers; a floating value beyond the range of
// an integer becomes its nearest, NaN becomes 0.
template <class To, class From>
To converted(From x) {
  if constexpr (!std::is_arithmetic_v<From>) {
    return converted<To>(static_cast<float>(x));
  } else if constexpr (!std::is_arithmetic_v<To>) {
    return To(static_cast<float>(x));
  } else if constexpr (std::is_floating_point_v<From> && is_integer<To>) {
    if (std::isnan(x)) return 0;
    const long double whole = std::trunc(static_cast<long double>(x));  // has all digits of int64
    if (whole <= static_cast<long double>(std::numeric_limits<To>::min())) return std::numeric_limits<To>::min();
    if (whole >= static_cast<long double>(std::numeric_limits<To>::max())) return std::numeric_limits<To>::max();
    return static_cast<To>(whole);
  } else {
    return static_cast<To>(x);
  }
}

template <class From, class To>
void check_conversion() {
  std::vector<From> elements;
  if constexpr (std::is_same_v<From, bool>) {
    elements = {false, true, true, false};
  } else {
    elements = difficult_values<From>();
    for (const double x : {-2147483649.0, -2147483648.0, -129.0, -0.75, 0.25, 2.5, 254.5, 255.0, 255.75, 256.0, 65519.0,
                           65520.0, 2147483520.0, 2147483647.0, 2147483648.0, 9223372036854774784.0})
      elements.push_back(converted<From>(x));
    if constexpr (std::is_floating_point_v<From>)
      for (const double x : {-1e19, 9223372036854775808.0, 18446744073709551616.0, 1e30, 1e-30, 3e-8})
        elements.push_back(static_cast<From>(x));
  }
  for (int doubling = 0; doubling < 3; ++doubling) elements.insert(elements.end(), elements.begin(), elements.end());
  const Tensor y = of(elements).to(dtype_of<To>);
  for (size_t i = 0; i < elements.size(); ++i) {
    const To got = y.data<To>()[i], want = converted<To>(elements[i]);
    INFO(std::string(name(dtype_of<From>))
         << " to " << std::string(name(dtype_of<To>)) << ": " << +Computed<From>(elements[i]) << " gives "
         << +Computed<To>(got) << "; want " << +Computed<To>(want));
    REQUIRE(same(got, want));
  }
}

}  // namespace

TEST_CASE("every layout gives the sums that indexing gives") {
  const Tensor x = counting({6, 40, 130});
  SECTION("contiguous") { check_sum(x, x); }
  SECTION("transposed inputs") {
    check_sum(x.transpose(0, 2), x.transpose(0, 2));
    check_sum(x.transpose(1, 2), counting({6, 130, 40}));
    check_sum(x.permute({2, 0, 1}), counting({130, 6, 40}));
  }
  SECTION("rows and columns broadcast") {
    check_sum(x, counting({130}));
    check_sum(x, counting({40, 1}));
    check_sum(counting({6, 1, 1}), x);
    check_sum(counting({40, 1}), counting({1, 30}));
    check_sum(counting({1000, 3}), counting({3}));
  }
  SECTION("one value") {
    check_sum(x, counting({}));
    check_sum(counting({1, 1, 1}), x);
    check_sum(counting({}), counting({}));
  }
  SECTION("slices with steps") {
    check_sum(x.slice(2, 1, 129, 3), x.slice(2, 0, 128, 3));
    check_sum(x.slice(1, 2, 40, 2), counting({130}));
  }
  SECTION("nothing") { CHECK((counting({0, 3}) + counting({3})).shape() == Shape({0, 3})); }
}

TEST_CASE("copies keep every element whatever the layouts and dtypes") {
  const Shape order =
      GENERATE(Shape{0, 1, 2, 3}, Shape{0, 2, 1, 3}, Shape{3, 2, 1, 0}, Shape{0, 3, 1, 2}, Shape{2, 3, 0, 1});
  for (const Dtype from : {float32, float64, bfloat16, float16, int32, int64, uint8, boolean})
    for (const Dtype to : {float32, float64, bfloat16, float16, int32, int64, uint8, boolean}) {
      const Tensor x = (counting({5, 7, 18, 33}, int64)).to(uint8).slice(3, 0, 31).to(from).permute(order);
      const Tensor y = x.to(to).contiguous();
      REQUIRE(y.is_contiguous());
      for (int64_t i = 0; i < y.numel(); i += 13) {
        double want = at(x, x.shape(), i);
        if (to == boolean) want = want != 0;
        if (to == bfloat16) want = static_cast<float>(bf16(static_cast<float>(want)));
        REQUIRE(at(y, y.shape(), i) == want);
      }
    }
}

TEST_CASE("an output may be an input, and may overlap one") {
  const Tensor x = counting({70, 90});
  x.add_(x);
  CHECK(values(x)[4321] == 2 * 4321);
  x.t().mul_(Scalar(2));
  CHECK(values(x)[4321] == 4 * 4321);
  const Tensor line = counting({2000});
  line.slice(0, 1, 2000).add_(line.slice(0, 0, 1999));  // as if read before written
  const std::vector<double> result = values(line);
  for (int64_t i = 1; i < 2000; ++i) REQUIRE(result[static_cast<size_t>(i)] == double(2 * i - 1));
}

TEMPLATE_TEST_CASE("arithmetic is that of a plain reference", "", float, double, f16, bf16, int32_t, int64_t, uint8_t) {
  using T = TestType;
  const auto check = [](const char* op, auto f, auto reference) { check_binary<T>(op, f, reference); };
  using X = const Tensor&;
  check(
      "add", [](X x, X y) { return x + y; }, [](auto x, auto y) { return x + y; });
  check(
      "sub", [](X x, X y) { return x - y; }, [](auto x, auto y) { return x - y; });
  check(
      "mul", [](X x, X y) { return x * y; }, [](auto x, auto y) { return x * y; });
  check(
      "remainder", [](X x, X y) { return remainder(x, y); },
      [](auto x, auto y) { return floored_remainder(Computed<T>(x), Computed<T>(y)); });
  check(
      "minimum", [](X x, X y) { return minimum(x, y); },
      [](auto x, auto y) {
        return x != x ? x : y != y ? y : x < y ? x : y;
      });
  check(
      "maximum", [](X x, X y) { return maximum(x, y); },
      [](auto x, auto y) {
        return x != x ? x : y != y ? y : x < y ? y : x;
      });
  check(
      "add scalar", [](X x, X) { return x + 3; }, [](auto x, auto) { return x + 3; });
  check(
      "sub from scalar", [](X x, X) { return 3 - x; }, [](auto x, auto) { return 3 - x; });
  check(
      "mul scalar", [](X x, X) { return x * 3; }, [](auto x, auto) { return x * 3; });
  check(
      "remainder of scalar", [](X x, X) { return remainder(x, 3); },
      [](auto x, auto) { return floored_remainder(Computed<T>(x), Computed<T>(3)); });
  check(
      "clamp", [](X x, X) { return clamp(x, 1, 3); },
      [](auto x, auto) { return x < 1   ? decltype(x)(1)
                                : x > 3 ? decltype(x)(3)
                                        : x; });
  check(
      "neg", [](X x, X) { return -x; }, [](auto x, auto) { return -x; });
  check(
      "abs", [](X x, X) { return abs(x); }, [](auto x, auto) { return x < 0 ? -x : x; });
  check(
      "sign", [](X x, X) { return sign(x); }, [](auto x, auto) { return (x > 0) - (x < 0); });
  check(
      "square", [](X x, X) { return square(x); }, [](auto x, auto) { return x * x; });
  check(
      "relu", [](X x, X) { return relu(x); }, [](auto x, auto) { return x < 0 ? decltype(x)(0) : x; });
  check(
      "where", [](X x, X y) { return where(x < y, x, y); }, [](auto x, auto y) { return x < y ? x : y; });
  check(
      "eq", [](X x, X y) { return (x == y).to(x.dtype()); }, [](auto x, auto y) { return x == y; });
  check(
      "ne", [](X x, X y) { return (x != y).to(x.dtype()); }, [](auto x, auto y) { return x != y; });
  check(
      "lt", [](X x, X y) { return (x < y).to(x.dtype()); }, [](auto x, auto y) { return x < y; });
  check(
      "le", [](X x, X y) { return (x <= y).to(x.dtype()); }, [](auto x, auto y) { return x <= y; });
  check(
      "gt", [](X x, X y) { return (x > y).to(x.dtype()); }, [](auto x, auto y) { return x > y; });
  check(
      "ge", [](X x, X y) { return (x >= y).to(x.dtype()); }, [](auto x, auto y) { return x >= y; });
  check(
      "lt scalar", [](X x, X) { return (x < 3).to(x.dtype()); }, [](auto x, auto) { return x < 3; });
  check(
      "ge scalar", [](X x, X) { return (x >= 3).to(x.dtype()); }, [](auto x, auto) { return x >= 3; });
  if constexpr (!is_integer<T>) {
    check(
        "div", [](X x, X y) { return x / y; }, [](auto x, auto y) { return x / y; });
    check(
        "div by scalar", [](X x, X) { return x / 3; }, [](auto x, auto) { return x / 3; });
    check(
        "scalar div", [](X x, X) { return 3 / x; }, [](auto x, auto) { return 3 / x; });
    check(
        "reciprocal", [](X x, X) { return reciprocal(x); }, [](auto x, auto) { return 1 / x; });
    check(
        "sqrt", [](X x, X) { return sqrt(x); }, [](auto x, auto) { return std::sqrt(x); });
    check(
        "floor", [](X x, X) { return floor(x); }, [](auto x, auto) { return std::floor(x); });
    check(
        "ceil", [](X x, X) { return ceil(x); }, [](auto x, auto) { return std::ceil(x); });
    check(
        "trunc", [](X x, X) { return trunc(x); }, [](auto x, auto) { return std::trunc(x); });
    check(
        "round", [](X x, X) { return round(x); }, [](auto x, auto) { return std::nearbyint(x); });
    check(
        "isnan", [](X x, X) { return isnan(x).to(x.dtype()); }, [](auto x, auto) { return std::isnan(x); });
    check(
        "isinf", [](X x, X) { return isinf(x).to(x.dtype()); }, [](auto x, auto) { return std::isinf(x); });
    check(
        "isfinite", [](X x, X) { return isfinite(x).to(x.dtype()); }, [](auto x, auto) { return std::isfinite(x); });
    check(
        "leaky_relu", [](X x, X) { return leaky_relu(x, 0.25); },
        [](auto x, auto) { return x > 0 ? x : x * decltype(x)(0.25); });
  }
}

TEMPLATE_TEST_CASE("conversions round, wrap around and saturate as their reference", "", float, double, f16, bf16,
                   int32_t, int64_t, uint8_t, bool) {
  check_conversion<TestType, float>();
  check_conversion<TestType, double>();
  check_conversion<TestType, f16>();
  check_conversion<TestType, bf16>();
  check_conversion<TestType, int32_t>();
  check_conversion<TestType, int64_t>();
  check_conversion<TestType, uint8_t>();
  check_conversion<TestType, bool>();
}

TEST_CASE("every float16 and bfloat16 has its value, and comes back from float32") {
  const auto sixteen_bits = []<class T>(T) {
    const Tensor x = empty({65536}, {.dtype = dtype_of<T>});
    T* elements = x.mutable_data<T>();
    for (int i = 0; i < 65536; ++i) elements[i].bits = static_cast<uint16_t>(i);
    return x;
  };
  const Tensor half = sixteen_bits(f16()), brain = sixteen_bits(bf16());
  const Tensor half_value = half.to(float32), brain_value = brain.to(float32);
  const Tensor half_again = half_value.to(float16), brain_again = brain_value.to(bfloat16);
  for (int i = 0; i < 65536; ++i) {
    const int exponent = i >> 10 & 31, mantissa = i & 1023;
    const float size = exponent == 31  ? mantissa ? NAN : INFINITY
                       : exponent == 0 ? std::ldexp(float(mantissa), -24)
                                       : std::ldexp(float(1024 + mantissa), exponent - 25);
    REQUIRE(same(half_value.data<float>()[i], i & 0x8000 ? -size : size));
    REQUIRE(same(brain_value.data<float>()[i], __builtin_bit_cast(float, static_cast<uint32_t>(i) << 16)));
    if (size == size) REQUIRE(half_again.data<f16>()[i].bits == i);
    if (!std::isnan(brain_value.data<float>()[i])) REQUIRE(brain_again.data<bf16>()[i].bits == i);
  }
}

TEST_CASE("NaN passes through what chooses") {
  const Tensor x = full({100}, NAN), zero = zeros({100});
  for (const Tensor& y : {relu(x), clamp(x, 0, 1), maximum(x, zero), maximum(zero, x), minimum(x, zero),
                          minimum(zero, x), abs(x), leaky_relu(x), elu(x), floor(x), gelu(x), silu(x), softplus(x)})
    CHECK(all(isnan(y)).item<bool>());
  CHECK_FALSE(equal(x, x));
  CHECK_FALSE(allclose(x, x));
  CHECK(allclose(full({2}, INFINITY), full({2}, INFINITY)));
  CHECK_FALSE(allclose(full({2}, 1e30), full({2}, INFINITY)));
}

TEST_CASE("large angles go to the standard library") {
  const Tensor small = arange(0, 2000, 1, {.dtype = float32}) * 0.37 - 300;
  Tensor mixed = small.clone();
  mixed.slice(0, 0, 2000, 97).mul_(1e30);
  for (const Tensor& angle : {small * 1e30, mixed, full({3}, INFINITY)}) {
    const Tensor s = sin(angle), c = cos(angle), t = tan(angle);
    for (int64_t i = 0; i < angle.numel(); ++i) {
      const double a = angle.data<float>()[i];
      if (std::isinf(a)) {
        REQUIRE((std::isnan(s.data<float>()[i]) && std::isnan(c.data<float>()[i]) && std::isnan(t.data<float>()[i])));
        continue;
      }
      REQUIRE(s.data<float>()[i] == Approx(std::sin(a)).margin(1e-7));
      REQUIRE(c.data<float>()[i] == Approx(std::cos(a)).margin(1e-7));
      REQUIRE(t.data<float>()[i] == Approx(std::tan(a)).epsilon(1e-6).margin(1e-7));
    }
  }
}
