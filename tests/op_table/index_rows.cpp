// Rows of autograd/ops/index.cpp and gather.cpp.
#include "op_table/op_table.h"

namespace op_table {
namespace {

Tensor some() { return tensor({0, 2, 1}, {.dtype = int64}); }
Tensor beyond() { return tensor({0, 3}, {.dtype = int64}); }
Tensor below() { return tensor({0, -1}, {.dtype = int64}); }

const bool added = add({
    {"index",
     {{"numbers",
       {F({3, 4})},
       [](In x) {
         return index(x[0], {1, -1});
       }},
      {"slices",
       {F({5, 6})},
       [](In x) {
         return index(x[0], {Slice{1, -1}, Slice{{}, {}, 2}});
       }},
      {"new_dim",
       {F({3, 4})},
       [](In x) {
         return index(x[0], {NewDim{}, 1, NewDim{}});
       }},
      {"nothing", {F({3, 4})}, [](In x) { return index(x[0], {}); }},
      {"rows", {F({3, 4}), I({5}, -3, 3)}, [](In x) { return index(x[0], {x[1]}); }},
      {"brackets", {F({3, 4}), I({2, 2}, 0, 3)}, [](In x) { return x[0][x[1]]; }},
      {"column",
       {F({3, 4}), I({2, 3}, 0, 4)},
       [](In x) {
         return index(x[0], {Slice{}, x[1]});
       }},
      {"pairs",
       {F({3, 4}), I({5}, 0, 3), I({5}, 0, 4)},
       [](In x) {
         return index(x[0], {x[1], x[2]});
       }},
      {"outer",
       {F({3, 4}), I({5, 1}, 0, 3), I({2}, 0, 4)},
       [](In x) {
         return index(x[0], {x[1], x[2]});
       }},
      {"apart",
       {F({3, 2, 4}), I({5}, 0, 3), I({5}, 0, 4)},
       [](In x) {
         return index(x[0], {x[1], Slice{}, x[2]});
       }},
      {"mask", {F({3, 4}), B({3, 4})}, [](In x) { return index(x[0], {x[1]}); }},
      {"mask_rows",
       {F({5, 4}), B({5})},
       [](In x) {
         return index(x[0], {x[1], Slice{1, 3}});
       }},
      {"mask_last",
       {F({2, 3, 4}), B({3, 4})},
       [](In x) {
         return index(x[0], {Slice{}, x[1]});
       }},
      {"none", {F({3, 4}), I({0}, 0, 1)}, [](In x) { return index(x[0], {x[1]}); }}},
     {bad<Error>(
          "undefined", [] { index(Tensor(), {1}); }, "x is an undefined tensor"),
      bad<Error>(
          "undefined index", [] { index(ones({3}), {Tensor()}); }, "undefined"),
      bad<IndexError>(
          "too many",
          [] {
            index(ones({3}), {Index(0), Index(0)});
          },
          "2 indices"),
      bad<IndexError>(
          "beyond",
          [] {
            index(ones({3, 4}), {beyond()});
          },
          "[1] is 3"),
      bad<IndexError>(
          "below",
          [] {
            index(ones({3, 4}), {tensor({-4}, {.dtype = int64})});
          },
          "is -4"),
      bad<DtypeError>(
          "floating",
          [] {
            index(ones({3, 4}), {ones({2})});
          },
          "float32"),
      bad<ShapeError>(
          "broadcast",
          [] {
            index(ones({3, 4}), {zeros({2}, {.dtype = int64}), zeros({3}, {.dtype = int64})});
          },
          "[2] and [3]"),
      bad<IndexError>(
          "mask",
          [] {
            index(ones({3, 4}), {ones({4}, {.dtype = boolean})});
          },
          "mask is [4]")}},
    {"index_select",
     {{"rows", {F({3, 4}), I({5}, 0, 3)}, [](In x) { return index_select(x[0], 0, x[1]); }},
      {"columns", {F({3, 4}), I({5}, 0, 4)}, [](In x) { return index_select(x[0], -1, x[1]); }},
      {"middle", {F({2, 3, 4}), I({5}, 0, 3)}, [](In x) { return index_select(x[0], 1, x[1]); }},
      {"none", {F({3, 4}), I({0}, 0, 1)}, [](In x) { return index_select(x[0], 0, x[1]); }}},
     {bad<Error>(
          "undefined", [] { index_select(Tensor(), 0, some()); }, "x is an undefined tensor"),
      bad<Error>(
          "undefined index", [] { index_select(ones({3}), 0, Tensor()); }, "index is an undefined tensor"),
      bad<IndexError>(
          "rank 0", [] { index_select(ones({}), 0, some()); }, "rank 0"),
      bad<IndexError>(
          "dim", [] { index_select(ones({3}), 1, some()); }, "dim 1"),
      bad<IndexError>(
          "beyond", [] { index_select(ones({3}), 0, beyond()); }, "index[1] is 3; want 0 to 2"),
      bad<IndexError>(
          "negative", [] { index_select(ones({3}), 0, below()); }, "index[1] is -1"),
      bad<DtypeError>(
          "floating", [] { index_select(ones({3}), 0, ones({1})); }, "float32"),
      bad<ShapeError>(
          "matrix",
          [] {
            index_select(ones({3}), 0, zeros({2, 2}, {.dtype = int64}));
          },
          "[2, 2]")}},
    {"index_add",
     {{"rows", {F({3, 4}), I({5}, 0, 3), F({5, 4})}, [](In x) { return index_add(x[0], 0, x[1], x[2]); }},
      {"columns", {F({3, 4}), I({5}, 0, 4), F({3, 5})}, [](In x) { return index_add(x[0], 1, x[1], x[2]); }},
      {"none", {F({3, 4}), I({0}, 0, 1), F({0, 4})}, [](In x) { return index_add(x[0], 0, x[1], x[2]); }}},
     {bad<IndexError>(
          "beyond", [] { index_add(ones({3}), 0, beyond(), ones({2})); }, "is 3"),
      bad<ShapeError>(
          "source",
          [] {
            index_add(ones({3, 2}), 0, some(), ones({2, 2}));
          },
          "source is [2, 2]; want [3, 2]"),
      bad<DtypeError>(
          "dtypes", [] { index_add(ones({3}), 0, some(), ones({3}, {.dtype = float64})); }, "float64"),
      bad<DtypeError>(
          "boolean", [] { index_add(ones({3}, {.dtype = boolean}), 0, some(), ones({3}, {.dtype = boolean})); },
          "bool"),
      bad<Error>(
          "undefined", [] { index_add(ones({3}), 0, some(), Tensor()); }, "source is an undefined tensor")}},
    {"masked_select",
     {{"same", {F({3, 4}), B({3, 4})}, [](In x) { return masked_select(x[0], x[1]); }},
      {"broadcast", {F({3, 1}), B({4})}, [](In x) { return masked_select(x[0], x[1]); }}},
     {bad<DtypeError>(
          "integers", [] { masked_select(ones({3}), some()); }, "int64"),
      bad<ShapeError>(
          "shapes", [] { masked_select(ones({3}), ones({2}, {.dtype = boolean})); }, "[3] and [2]"),
      bad<Error>(
          "undefined", [] { masked_select(ones({3}), Tensor()); }, "mask is an undefined tensor")}},
    Row{"nonzero",
        {{"mask", {B({3, 4})}, [](In x) { return nonzero(x[0]); }},
         {"values", {I({2, 3, 4}, -1, 2)}, [](In x) { return nonzero(x[0]); }},
         {"empty", {F({0, 3})}, [](In x) { return nonzero(x[0]); }}},
        {bad<Error>(
            "undefined", [] { nonzero(Tensor()); }, "x is an undefined tensor")}}
        .no_derivative(),  // positions
    {"gather",
     {{"last", {F({3, 4}), I({3, 2}, 0, 4)}, [](In x) { return gather(x[0], 1, x[1]); }},
      {"first", {F({3, 4}), I({5, 4}, 0, 3)}, [](In x) { return gather(x[0], 0, x[1]); }},
      {"smaller", {F({3, 4, 2}), I({2, 5, 1}, 0, 4)}, [](In x) { return gather(x[0], 1, x[1]); }},
      {"empty", {F({3, 4}), I({3, 0}, 0, 1)}, [](In x) { return gather(x[0], 1, x[1]); }}},
     {bad<IndexError>(
          "beyond", [] { gather(ones({3}), 0, beyond()); }, "index[1] is 3"),
      bad<ShapeError>(
          "rank", [] { gather(ones({3, 3}), 0, some()); }, "[3]"),
      bad<ShapeError>(
          "size", [] { gather(ones({3, 3}), 0, zeros({1, 4}, {.dtype = int64})); }, "[1, 4]"),
      bad<DtypeError>(
          "floating", [] { gather(ones({3}), 0, ones({3})); }, "float32")}},
    {"scatter_add",
     {{"last", {F({3, 4}), I({3, 2}, 0, 4), F({3, 2})}, [](In x) { return scatter_add(x[0], 1, x[1], x[2]); }},
      {"first", {F({3, 4}), I({5, 4}, 0, 3), F({5, 4})}, [](In x) { return scatter_add(x[0], 0, x[1], x[2]); }},
      {"smaller",
       {F({3, 4, 2}), I({2, 5, 1}, 0, 4), F({3, 6, 2})},
       [](In x) { return scatter_add(x[0], 1, x[1], x[2]); }}},
     {bad<IndexError>(
          "beyond", [] { scatter_add(ones({3}), 0, beyond(), ones({2})); }, "is 3"),
      bad<ShapeError>(
          "source", [] { scatter_add(ones({3}), 0, some(), ones({2})); }, "[2]"),
      bad<DtypeError>(
          "dtypes", [] { scatter_add(ones({3}), 0, some(), ones({3}, {.dtype = float64})); }, "float64")}},
    Row{"one_hot",
        {{"vector", {I({5}, 0, 3)}, [](In x) { return one_hot(x[0], 4); }},
         {"matrix", {I({2, 3}, 0, 3)}, [](In x) { return one_hot(x[0], 3); }}},
        {bad<ValueError>(
             "classes", [] { one_hot(some(), 0); }, "num_classes is 0"),
         bad<IndexError>(
             "beyond", [] { one_hot(some(), 2); }, "index[1] is 2"),
         bad<DtypeError>(
             "floating", [] { one_hot(ones({2}), 2); }, "float32")}}
        .no_derivative(),  // of integers
    {"embedding",
     {{"vector", {I({5}, 0, 4), F({4, 3})}, [](In x) { return embedding(x[0], x[1]); }},
      {"matrix", {I({2, 5}, 0, 4), F({4, 3})}, [](In x) { return embedding(x[0], x[1]); }}},
     {bad<IndexError>(
          "beyond", [] { embedding(some(), ones({2, 3})); }, "index[1] is 2"),
      bad<IndexError>(
          "padding", [] { embedding(some(), ones({3, 3}), 3); }, "padding_idx is 3"),
      bad<ShapeError>(
          "weight", [] { embedding(some(), ones({3})); }, "[3]"),
      bad<DtypeError>(
          "floating", [] { embedding(ones({2}), ones({2, 3})); }, "float32"),
      bad<Error>(
          "undefined", [] { embedding(some(), Tensor()); }, "weight is an undefined tensor")}},
});

}  // namespace
}  // namespace op_table
