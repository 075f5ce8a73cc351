// Rows of autograd/ops/softmax.cpp.
#include "op_table/op_table.h"

namespace op_table {
namespace {

[[maybe_unused]] const bool added = add({
    {"softmax",
     {{"last", {F({3, 5}, -4, 4)}, [](In x) { return softmax(x[0]); }},
      {"first", {F({5, 3}, -4, 4)}, [](In x) { return softmax(x[0], 0); }},
      {"middle", {F({2, 4, 3}, -4, 4)}, [](In x) { return softmax(x[0], -2); }},
      {"wide", {F({2, 37}, -9, 9)}, [](In x) { return softmax(x[0], 1); }},
      {"number", {F({})}, [](In x) { return softmax(x[0]); }},
      {"empty", {F({2, 0})}, [](In x) { return softmax(x[0]); }}},
     {bad<Error>(
          "undefined", [] { softmax(Tensor()); }, "x is an undefined tensor"),
      bad<DtypeError>(
          "integers", [] { softmax(ones({2}, {.dtype = int64})); }, "to(float32)"),
      bad<IndexError>(
          "dim",
          [] {
            softmax(ones({2, 3}), 2);
          },
          "dim 2")}},
    {"log_softmax",
     {{"last", {F({3, 5}, -4, 4)}, [](In x) { return log_softmax(x[0]); }},
      {"first", {F({5, 3}, -4, 4)}, [](In x) { return log_softmax(x[0], 0); }},
      {"middle", {F({2, 4, 3}, -4, 4)}, [](In x) { return log_softmax(x[0], -2); }},
      {"wide", {F({2, 37}, -9, 9)}, [](In x) { return log_softmax(x[0], 1); }},
      {"number", {F({})}, [](In x) { return log_softmax(x[0]); }},
      {"empty", {F({2, 0})}, [](In x) { return log_softmax(x[0]); }}},
     {bad<Error>(
          "undefined", [] { log_softmax(Tensor()); }, "x is an undefined tensor"),
      bad<DtypeError>(
          "boolean", [] { log_softmax(ones({2}, {.dtype = boolean})); }, "to(float32)"),
      bad<IndexError>(
          "dim",
          [] {
            log_softmax(ones({2, 3}), -3);
          },
          "dim -3")}},
});

}  // namespace
}  // namespace op_table
