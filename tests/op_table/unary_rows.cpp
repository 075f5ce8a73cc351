// Rows of autograd/ops/unary.cpp and activation.cpp.
#include "op_table/op_table.h"

namespace op_table {
namespace {

// Samples of f over a range in which it is defined and smooth.
Row unary(const char* name, Tensor (*f)(const Tensor&), double low = -2, double high = 2) {
  const auto call = [f](In x) { return f(x[0]); };
  return {name,
          {{"values", {F({3, 7}, low, high)}, call},
           {"number", {F({}, low, high)}, call},
           {"empty", {F({0, 3}, low, high)}, call}},
          {bad<DtypeError>(
               "boolean", [f] { f(ones({2}, {.dtype = boolean})); }, "boolean"),
           bad<Error>(
               "undefined", [f] { f(Tensor()); }, "undefined")}};
}

Row integers_too(Row row, Tensor (*f)(const Tensor&)) {
  row.samples.push_back({"integers", {I({9}, -3, 4)}, [f](In x) { return f(x[0]); }});
  return row;
}

// Steps: a value rounded to 16 bits may lie on the other side of one.
Row step(Row row) { return row.float32_only(); }

const bool added = add({
    integers_too(unary("abs", abs), abs),
    integers_too(unary("sign", sign), sign),
    integers_too(unary("square", square), square),
    unary("exp", exp),
    unary("expm1", expm1),
    unary("log", log, 0.25, 4),
    unary("log1p", log1p, -0.75, 3),
    unary("log2", log2, 0.25, 4),
    unary("sqrt", sqrt, 0.25, 4),
    unary("rsqrt", rsqrt, 0.25, 4),
    unary("reciprocal", reciprocal, 0.5, 2),
    unary("sin", sin, -6, 6),
    unary("cos", cos, -6, 6),
    unary("tan", tan, -1.2, 1.2),
    unary("asin", asin, -0.9, 0.9),
    unary("acos", acos, -0.9, 0.9),
    unary("atan", atan, -3, 3),
    unary("sinh", sinh),
    unary("cosh", cosh),
    unary("tanh", tanh, -3, 3),
    unary("erf", erf, -3, 3),
    step(unary("floor", floor, -3, 3)),
    step(unary("ceil", ceil, -3, 3)),
    step(unary("round", round, -3, 3)),
    step(unary("trunc", trunc, -3, 3)),

    // ---- activation.cpp
    unary("sigmoid", sigmoid, -4, 4),
    unary("log_sigmoid", log_sigmoid, -4, 4),
    integers_too(unary("relu", relu), relu),
    unary("silu", silu, -4, 4),
    unary("softplus", softplus, -4, 4),
    {"leaky_relu",
     {{"default", {F({3, 7})}, [](In x) { return leaky_relu(x[0]); }},
      {"steep", {F({3, 7})}, [](In x) { return leaky_relu(x[0], 0.3); }}},
     {bad<DtypeError>(
         "integers", [] { leaky_relu(ones({2}, {.dtype = int64})); }, "int64")}},
    {"elu",
     {{"default", {F({3, 7}, -3, 3)}, [](In x) { return elu(x[0]); }},
      {"alpha", {F({3, 7}, -3, 3)}, [](In x) { return elu(x[0], 0.5); }}},
     {bad<DtypeError>(
         "integers", [] { elu(ones({2}, {.dtype = int64})); }, "int64")}},
    {"gelu",
     {{"erf", {F({3, 7}, -4, 4)}, [](In x) { return gelu(x[0]); }},
      {"tanh", {F({3, 7}, -4, 4)}, [](In x) { return gelu(x[0], GeluApproximation::tanh); }}},
     {bad<DtypeError>(
         "integers", [] { gelu(ones({2}, {.dtype = int64})); }, "int64")}},
    {"hardtanh",
     {{"default", {F({3, 7}, -3, 3)}, [](In x) { return hardtanh(x[0]); }},
      {"bounds", {F({3, 7}, -3, 3)}, [](In x) { return hardtanh(x[0], -0.5, 2); }}},
     {bad<ValueError>(
         "order", [] { hardtanh(ones({2}), 1, -1); }, "above")}},
    {"where",
     {{"same", {B({2, 3}), F({2, 3}), F({2, 3})}, [](In x) { return where(x[0], x[1], x[2]); }},
      {"broadcast", {B({2, 1}), F({3}), F({4, 1, 1})}, [](In x) { return where(x[0], x[1], x[2]); }},
      {"number", {B({2, 3}), F({2, 3})}, [](In x) { return where(x[0], x[1], 0.5); }},
      {"integers", {B({9}), I({9}, 0, 5), I({9}, 5, 9)}, [](In x) { return where(x[0], x[1], x[2]); }}},
     {bad<DtypeError>(
          "condition", [] { where(ones({2}), ones({2}), ones({2})); }, "condition"),
      bad<DtypeError>(
          "dtypes", [] { where(ones({2}, {.dtype = boolean}), ones({2}), ones({2}, {.dtype = float64})); },
          "float32 and float64"),
      bad<ShapeError>(
          "shapes", [] { where(ones({2}, {.dtype = boolean}), ones({3}), ones({3})); }, "[2]")}},
    {"masked_fill",
     {{"same", {F({2, 3}), B({2, 3})}, [](In x) { return masked_fill(x[0], x[1], -1); }},
      {"row", {F({4, 3}), B({3})}, [](In x) { return masked_fill(x[0], x[1], 0.5); }}},
     {bad<ValueError>(
         "range", [] { masked_fill(ones({2}, {.dtype = uint8}), ones({2}, {.dtype = boolean}), -1); }, "-1")}},
    // Other random numbers than PyTorch's, and another mask at each call: what it does is in test_elementwise.cpp.
    Row{"dropout",
        {{"identity", {F({3, 4})}, [](In x) { return dropout(x[0], 0.5, false); }},
         {"all", {F({3, 4})}, [](In x) { return dropout(x[0], 1); }}},
        {bad<ValueError>(
             "p", [] { dropout(ones({2}), 1.5); }, "1.5"),
         bad<DtypeError>(
             "integers", [] { dropout(ones({2}, {.dtype = int64}), 0.5); }, "int64")}}
        .not_recorded(),
});

}  // namespace
}  // namespace op_table
