// Rows of autograd/ops/arithmetic.cpp.
#include "op_table/op_table.h"

namespace op_table {
namespace {

using Binary = Tensor (*)(const Tensor&, const Tensor&);
using WithScalar = Tensor (*)(const Tensor&, Scalar);
using FromScalar = Tensor (*)(Scalar, const Tensor&);

// Samples of f(x, y) with x and y from the given ranges, in every way of broadcasting.
std::vector<Sample> binary_samples(Binary f, double low, double high, double y_low, double y_high) {
  const auto call = [f](In x) { return f(x[0], x[1]); };
  return {{"same", {F({2, 3}, low, high), F({2, 3}, y_low, y_high)}, call},
          {"row", {F({4, 3}, low, high), F({3}, y_low, y_high)}, call},
          {"both", {F({2, 1, 3}, low, high), F({4, 1}, y_low, y_high)}, call},
          {"number", {F({}, low, high), F({3}, y_low, y_high)}, call},
          {"empty", {F({0, 3}, low, high), F({3}, y_low, y_high)}, call}};
}

std::vector<BadInput> binary_errors(Binary f) {
  return {bad<DtypeError>(
              "dtypes", [f] { f(ones({2}), ones({2}, {.dtype = float64})); }, "float32 and float64"),
          bad<DtypeError>(
              "boolean", [f] { f(ones({2}, {.dtype = boolean}), ones({2}, {.dtype = boolean})); }, "bool"),
          bad<ShapeError>(
              "shapes",
              [f] {
                f(ones({2, 3}), ones({2}));
              },
              "[2, 3] and [2]"),
          bad<Error>(
              "undefined", [f] { f(Tensor(), ones({2})); }, "undefined"),
          bad<Error>(
              "undefined y", [f] { f(ones({2}), Tensor()); }, "undefined")};
}

Row binary(const char* name, Binary f, double low = -2, double high = 2, double y_low = -2, double y_high = 2) {
  return {name, binary_samples(f, low, high, y_low, y_high), binary_errors(f)};
}

Row with_scalar(Row row, WithScalar f) {
  row.samples.push_back({"with_number", {F({2, 3}, 0.5, 2)}, [f](In x) { return f(x[0], 0.75); }});
  row.samples.push_back({"with_integer", {F({2, 3}, 0.5, 2)}, [f](In x) { return f(x[0], 3); }});
  row.bad_inputs.push_back(bad<DtypeError>(
      "floating scalar", [f] { f(ones({2}, {.dtype = int64}), 0.5); }, "int64"));
  return row;
}

Row from_scalar(Row row, FromScalar f) {
  row.samples.push_back({"from_number", {F({2, 3}, 0.5, 2)}, [f](In x) { return f(0.75, x[0]); }});
  return row;
}

// Those that have kernels of their own; 3 is among the samples of with_scalar.
Row with_common_exponents(Row row) {
  const std::pair<const char*, double> exponents[] = {
      {"square", 2}, {"root", 0.5}, {"inverse_root", -0.5}, {"inverse", -1}};
  for (const auto& [label, e] : exponents)
    row.samples.push_back({label, {F({2, 3}, 0.5, 2)}, [e = e](In x) { return pow(x[0], e); }});
  return row;
}

const bool added = add({
    with_scalar(binary("add", gradus::add), gradus::add),
    from_scalar(with_scalar(binary("sub", sub), sub), sub),
    with_scalar(binary("mul", mul), mul),
    from_scalar(with_scalar(binary("div", div, -2, 2, 0.5, 2), div), div),
    // The derivative for y is not defined: its samples have one input.
    Row{"remainder",
        {{"with_number", {F({2, 6}, -3, 3)}, [](In x) { return remainder(x[0], 0.75); }},
         {"negative", {F({2, 6}, -3, 3)}, [](In x) { return remainder(x[0], -0.75); }},
         {"tensor", {F({2, 6}, -3, 3)}, [](In x) { return remainder(x[0], full({6}, 0.75, {.dtype = x[0].dtype()})); }},
         {"integers", {I({20}, -9, 9)}, [](In x) { return remainder(x[0], 4); }},
         {"integers_negative", {I({20}, -9, 9)}, [](In x) { return remainder(x[0], -4); }}},
        {bad<ValueError>(
            "zero", [] { remainder(ones({2}, {.dtype = int64}), 0); }, "0")}}
        .float32_only(),  // a step: 16-bit inputs cross it
    with_common_exponents(with_scalar(binary("pow", pow, 0.5, 2), pow)),
    {"neg", {{"values", {F({2, 3})}, [](In x) { return neg(x[0]); }}, {"empty", {F({0})}, [](In x) { return -x[0]; }}}},
    binary("minimum", minimum),
    binary("maximum", maximum),
    {"clamp",
     {{"both", {F({3, 5}, -2, 2)}, [](In x) { return clamp(x[0], -1, 0.5); }},
      {"low", {F({3, 5}, -2, 2)}, [](In x) { return clamp(x[0], 0.25); }},
      {"high", {F({3, 5}, -2, 2)}, [](In x) { return clamp(x[0], {}, 0.25); }},
      {"integers", {I({20}, -9, 9)}, [](In x) { return clamp(x[0], -3, 4); }}},
     {bad<ValueError>(
          "no bound", [] { clamp(ones({2}), {}); }, "neither"),
      bad<DtypeError>(
          "floating bound", [] { clamp(ones({2}, {.dtype = int32}), 0.5); }, "int32")}},
    {"lerp",
     {{"quarter", {F({2, 3}), F({2, 3})}, [](In x) { return lerp(x[0], x[1], 0.25); }},
      {"row", {F({2, 3}), F({3})}, [](In x) { return lerp(x[0], x[1], 0.75); }}},
     {bad<DtypeError>(
         "integers", [] { lerp(ones({2}, {.dtype = int64}), ones({2}, {.dtype = int64}), 0.5); }, "int64")}},
});

}  // namespace
}  // namespace op_table
