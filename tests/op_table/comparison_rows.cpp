// Rows of autograd/ops/comparison.cpp.
#include "op_table/op_table.h"

namespace op_table {
namespace {

using Binary = Tensor (*)(const Tensor&, const Tensor&);
using WithScalar = Tensor (*)(const Tensor&, Scalar);
using Unary = Tensor (*)(const Tensor&);

// Integers of a small range, so that equal ones meet.
Row comparison(const char* name, Binary f, WithScalar g) {
  return Row{name,
             {{"floats", {F({4, 3}), F({3})}, [f](In x) { return f(x[0], x[1]); }},
              {"integers", {I({30}, 0, 4), I({30}, 0, 4)}, [f](In x) { return f(x[0], x[1]); }},
              {"booleans", {B({9}), B({9})}, [f](In x) { return f(x[0], x[1]); }},
              {"number", {I({30}, 0, 4)}, [g](In x) { return g(x[0], 2); }},
              {"empty", {F({0, 2})}, [g](In x) { return g(x[0], 0.5); }}},
             {bad<DtypeError>(
                  "dtypes", [f] { f(ones({2}), ones({2}, {.dtype = int64})); }, "float32 and int64"),
              bad<DtypeError>(
                  "floating scalar", [g] { g(ones({2}, {.dtype = int64}), 0.5); }, "int64"),
              bad<ValueError>(
                  "range", [g] { g(ones({2}, {.dtype = uint8}), 300); }, "300"),
              bad<ShapeError>(
                  "shapes", [f] { f(ones({2}), ones({3})); }, "[2] and [3]")}}
      .no_derivative();  // boolean
}

Row logical(const char* name, Binary f) {
  return Row{name,
             {{"same", {B({9}), B({9})}, [f](In x) { return f(x[0], x[1]); }},
              {"row", {B({4, 3}), B({3})}, [f](In x) { return f(x[0], x[1]); }}},
             {bad<DtypeError>(
                 "floats", [f] { f(ones({2}), ones({2})); }, "float32")}}
      .no_derivative();  // boolean
}

// x / y has a NaN, infinities and finite values where y is 0 in places.
Row classify(const char* name, Unary f) {
  return Row{
      name,
      {{"quotients", {I({12}, -1, 2), I({12}, -1, 2)}, [f](In x) { return f(x[0].to(float64) / x[1].to(float64)); }},
       {"integers", {I({5}, -2, 2)}, [f](In x) { return f(x[0]); }}},
      {bad<Error>(
          "undefined", [f] { f(Tensor()); }, "undefined")}}
      .no_derivative();  // boolean
}

const bool added = add({
    comparison("eq", eq, eq),
    comparison("ne", ne, ne),
    comparison("lt", lt, lt),
    comparison("le", le, le),
    comparison("gt", gt, gt),
    comparison("ge", ge, ge),
    logical("logical_and", logical_and),
    logical("logical_or", logical_or),
    logical("logical_xor", logical_xor),
    Row{"logical_not",
        {{"values", {B({9})}, [](In x) { return logical_not(x[0]); }}},
        {bad<DtypeError>(
            "floats", [] { logical_not(ones({2})); }, "float32")}}
        .no_derivative(),  // boolean
    classify("isnan", isnan),
    classify("isinf", isinf),
    classify("isfinite", isfinite),
});

}  // namespace
}  // namespace op_table
