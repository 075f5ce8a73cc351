// Rows of autograd/ops/matmul.cpp.
#include "op_table/op_table.h"

namespace op_table {

static const auto product = [](In x) { return matmul(x[0], x[1]); };
static const auto affine = [](In x) { return linear(x[0], x[1], x.size() > 2 ? x[2] : Tensor()); };

static const bool added = add({
    {"matmul",
     {{"matrices", {F({3, 4}), F({4, 2})}, product},
      {"dot", {F({5}), F({5})}, product},
      {"matrix_vector", {F({3, 4}), F({4})}, product},
      {"vector_matrix", {F({4}), F({4, 3})}, product},
      {"batch", {F({2, 3, 4}), F({2, 4, 2})}, product},
      {"batch_vector", {F({2, 3, 4}), F({4})}, product},
      {"vector_batch", {F({4}), F({2, 4, 3})}, product},
      {"rows", {F({2, 3, 4}), F({4, 2})}, product},
      {"broadcast", {F({2, 1, 3, 4}), F({3, 4, 2})}, product},
      {"matrix_batch", {F({3, 4}), F({2, 4, 2})}, product},
      {"heads",
       {F({2, 3, 2, 4}), F({2, 3, 2, 4})},
       [](In x) {
         return matmul(x[0].transpose(1, 2), x[1].permute({0, 2, 3, 1}));
       }},
      {"empty_k", {F({3, 0}), F({0, 2})}, product},
      {"empty_batch", {F({0, 3, 4}), F({4, 2})}, product}},
     {bad<ShapeError>(
          "inner",
          [] {
            matmul(zeros({2, 3}), zeros({2, 3}));
          },
          "y wants 2; did you mean y.transpose"),
      bad<ShapeError>(
          "scalar", [] { matmul(zeros({}), zeros({3})); }, "rank 1 or more"),
      bad<ShapeError>(
          "batch",
          [] {
            matmul(zeros({2, 3, 4}), zeros({3, 4, 5}));
          },
          "do not broadcast"),
      bad<DtypeError>(
          "mixed",
          [] {
            matmul(zeros({2, 2}), zeros({2, 2}, {.dtype = float64}));
          },
          "convert one"),
      bad<DtypeError>(
          "integers", [] { matmul(arange(3), arange(3)); }, "want a floating dtype"),
      bad<Error>(
          "undefined",
          [] {
            matmul(zeros({2, 2}), Tensor());
          },
          "y is an undefined tensor")}},
    {"linear",
     {{"bias", {F({3, 4}), F({2, 4}), F({2})}, affine},
      {"plain", {F({3, 4}), F({2, 4})}, affine},
      {"batch", {F({2, 3, 4}), F({5, 4}), F({5})}, affine},
      {"vector", {F({4}), F({2, 4}), F({2})}, affine},
      {"empty", {F({0, 4}), F({2, 4}), F({2})}, affine}},
     {bad<ShapeError>(
          "features",
          [] {
            linear(zeros({3, 4}), zeros({2, 5}));
          },
          "wants 5 features"),
      bad<ShapeError>(
          "weight",
          [] {
            linear(zeros({3, 4}), zeros({4}));
          },
          "want [out, in]"),
      bad<ShapeError>(
          "scalar",
          [] {
            linear(zeros({}), zeros({2, 4}));
          },
          "want [..., in]"),
      bad<ShapeError>(
          "bias",
          [] {
            linear(zeros({3, 4}), zeros({2, 4}), zeros({3}));
          },
          "wants [2]"),
      bad<DtypeError>(
          "integers",
          [] {
            linear(arange(4), zeros({2, 4}, {.dtype = int64}));
          },
          "floating"),
      bad<DtypeError>(
          "bias dtype",
          [] {
            linear(zeros({3, 4}), zeros({2, 4}), zeros({2}, {.dtype = float64}));
          },
          "convert one")}},
    {"outer",
     {{"vectors", {F({3}), F({4})}, [](In x) { return outer(x[0], x[1]); }},
      {"empty", {F({0}), F({4})}, [](In x) { return outer(x[0], x[1]); }}},
     {bad<ShapeError>(
         "matrix",
         [] {
           outer(zeros({2, 2}), zeros({2}));
         },
         "two vectors")}},
});

}  // namespace op_table
