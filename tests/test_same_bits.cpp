// What a result may not depend on: the number of threads (no bit), and the instruction set (no bit of exact arithmetic
// and random numbers, a few units in the last place of what is rounded on the way).
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include <gradus/autograd/ops.h>
#include <gradus/core/dtype.h>
#include <gradus/core/parallel.h>
#include <gradus/core/random.h>

#include "scratch.h"

using namespace gradus;

namespace {

using Results = std::map<std::string, Tensor>;

constexpr Dtype dtypes[] = {float32, float64, float16, bfloat16, int32, int64, uint8, boolean};

// Long enough for several tasks of the thread pool; the sizes leave a rest in every vector and block.
const Shape wide{431, 517};

// [431, 517] without random numbers: the fractions of i times the golden ratio, from `low` to `high`.
Tensor spread(const Shape& shape, double low, double high) {
  const Tensor turns = arange(0, shape.numel(), 1, {.dtype = float64}) * 0.6180339887498949;
  return ((turns - floor(turns)) * (high - low) + low).to(float32).reshape(shape);
}

// One rounding at most, or none: the same bits from every instruction set.
Results exact_results() {
  const Tensor x = spread(wide, -3, 3), row = spread({517}, 0.5, 2), column = spread({431, 1}, 0.5, 2);
  const Tensor small = spread({40000, 5}, -1, 1), integers = (x * 1e5).to(int32);
  Results results{{"add", x + row},
                  {"mul", x * column},
                  {"div", x / row},
                  {"transposed add", x.t() + 1},
                  {"transposed mul", x.t() * x.t()},
                  {"short rows", small + spread({5}, -1, 1)},
                  {"bfloat16 mul", x.to(bfloat16) * x.to(bfloat16)},
                  {"sqrt", sqrt(abs(x))},
                  {"round", round(x) + floor(x) * 8 + ceil(x) * 64 + trunc(x) * 512},
                  {"compare", x < row},
                  {"where", where(x > 0, x, column)},
                  {"clamp", clamp(x, -1, 0.5)},
                  {"relu", relu(x)},
                  {"integer mul", integers * integers},
                  {"integer remainder", remainder(integers, integers - 7)}};
  for (const Dtype from : dtypes)
    for (const Dtype to : dtypes)
      results[std::string(name(from)) + " to " + std::string(name(to))] = (x * 400).to(from).to(to);
  return results;
}

Results random_results() {
  manual_seed(7);
  Results results;
  for (const Dtype dtype : {float32, float64, float16, bfloat16}) {
    const std::string in = " in " + std::string(name(dtype));
    results["uniform" + in] = uniform({100'001}, -1, 2, {.dtype = dtype});
    results["normal" + in] = normal({100'001}, -1, 2, {.dtype = dtype});
    results["dropout" + in] = dropout(spread(wide, -3, 3).to(dtype), 0.3);
  }
  results["randint"] = randint(-5, 1'000'000, {100'001});
  return results;
}

// Functions, in float32.
Results rounded_results() {
  const Tensor x = spread(wide, -3, 3), positive = spread(wide, 0.01, 30), unit = spread(wide, -1, 1);
  return {{"exp", exp(x)},
          {"expm1", expm1(x)},
          {"log", log(positive)},
          {"log1p", log1p(positive)},
          {"log2", log2(positive)},
          {"tanh", tanh(x)},
          {"erf", erf(x)},
          {"sin", sin(x * 10)},
          {"cos", cos(x * 10)},
          {"tan", tan(x * 0.4)},
          {"asin", asin(unit)},
          {"acos", acos(unit)},
          {"atan", atan(x)},
          {"sinh", sinh(x)},
          {"cosh", cosh(x)},
          {"pow", pow(positive, unit)},
          {"cube", pow(x, 3)},
          {"sigmoid", sigmoid(x)},
          {"silu", silu(x.t())},
          {"softplus", softplus(x)},
          {"gelu", gelu(x)},
          {"gelu_tanh", gelu(x, GeluApproximation::tanh)},
          {"lerp", lerp(x, unit, 0.3)},
          {"rsqrt", rsqrt(positive)}};
}

Results all_results() {
  Results results = exact_results();
  results.merge(random_results());
  results.merge(rounded_results());
  return results;
}

std::string bytes(const Tensor& x) {
  const Tensor flat = dense(x.detach());
  return {static_cast<const char*>(flat.raw_data()), static_cast<size_t>(flat.nbytes())};
}

bool same_bytes(const Tensor& x, const std::string& other) { return bytes(x) == other; }

// The largest difference in units in the last place of the larger of 1 and the value.
double worst_difference(const Tensor& x, const std::string& other) {
  REQUIRE(other.size() == static_cast<size_t>(x.nbytes()));
  const Tensor flat = dense(x.detach());
  double worst = 0;
  for (int64_t i = 0; i < flat.numel(); ++i) {
    float value;
    std::memcpy(&value, other.data() + i * 4, 4);
    const double unit = 0x1p-23 * std::exp2(std::floor(std::log2(std::max(1.f, std::fabs(value)))));
    worst = std::max(worst, std::fabs(static_cast<double>(flat.data<float>()[i]) - value) / unit);
  }
  return worst;
}

struct Threads {
  explicit Threads(int n) : before(num_threads()) { set_num_threads(n); }
  ~Threads() { set_num_threads(before); }
  int before;
};

}  // namespace

TEST_CASE("the number of threads changes no bit") {
  std::map<std::string, std::string> alone;
  {
    const Threads one(1);
    for (const auto& [what, x] : all_results()) alone[what] = bytes(x);
  }
  for (const int n : {2, 3}) {
    const Threads several(n);
    for (const auto& [what, x] : all_results()) {
      INFO(what << ", " << n << " threads");
      CHECK(same_bytes(x, alone.at(what)));
    }
  }
}

// Run by the next test in processes of their own, where GRADUS_ISA is set: each result becomes a file.
TEST_CASE("write all results", "[.write]") {
  const char* folder = std::getenv("GRADUS_TEST_FOLDER");
  REQUIRE(folder);
  for (const auto& [what, x] : all_results()) write_file(folder + ("/" + what), bytes(x));
}

TEST_CASE("instruction sets agree") {
  const std::string isa = GENERATE("baseline", "avx2", "avx512");
  const Scratch scratch;
  const std::string self = std::filesystem::read_symlink("/proc/self/exe").string();
  const std::string command =
      "GRADUS_ISA=" + isa + " GRADUS_TEST_FOLDER='" + scratch.path() + "' '" + self + "' '[.write]' > /dev/null";
  REQUIRE(std::system(command.c_str()) == 0);

  Results same = exact_results();
  same.merge(random_results());
  for (const auto& [what, x] : same) {
    INFO(what << " on " << isa);
    CHECK(same_bytes(x, read_file(scratch / what)));
  }
  for (const auto& [what, x] : rounded_results()) {
    INFO(what << " on " << isa);
    CHECK(worst_difference(x, read_file(scratch / what)) <= 4);
  }
}
