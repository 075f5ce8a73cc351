// Rows of autograd/ops/join.cpp.
#include "op_table/op_table.h"

namespace op_table {
namespace {

// The parts weighted and joined again, so that each has a gradient of its own.
Tensor rejoined(const std::vector<Tensor>& parts, int64_t dim) {
  std::vector<Tensor> weighted;
  for (const Tensor& part : parts) weighted.push_back(part * static_cast<double>(weighted.size() + 1));
  return cat(weighted, dim);
}

const bool added = add({
    {"cat",
     {{"rows", {F({2, 3}), F({1, 3}), F({0, 3})}, [](In x) { return cat(x); }},
      {"columns",
       {F({2, 3}), F({2, 1})},
       [](In x) {
         return cat({x[0], x[1]}, -1);
       }},
      {"six", {F({1}), F({2}), F({1}), F({3}), F({1}), F({2})}, [](In x) { return cat(x, 0); }}},
     {bad<ValueError>(
          "none", [] { cat(std::span<const Tensor>()); }, "tensors is empty"),
      bad<Error>(
          "undefined",
          [] {
            cat({ones({2}), Tensor()});
          },
          "tensors[1]"),
      bad<ShapeError>(
          "sizes",
          [] {
            cat({ones({2, 3}), ones({2, 4})});
          },
          "tensors[1] is [2, 4]"),
      bad<ShapeError>(
          "ranks",
          [] {
            cat({ones({2, 3}), ones({3})});
          },
          "tensors[1] is [3]"),
      bad<ShapeError>(
          "rank 0", [] { cat({ones({})}); }, "stack"),
      bad<DtypeError>(
          "dtypes",
          [] {
            cat({ones({2}), ones({2}, {.dtype = int64})});
          },
          "int64"),
      bad<IndexError>(
          "dim", [] { cat({ones({2})}, 1); }, "dim 1")}},
    {"stack",
     {{"front", {F({2, 3}), F({2, 3})}, [](In x) { return stack(x); }},
      {"back",
       {F({2, 3}), F({2, 3})},
       [](In x) {
         return stack({x[0], x[1]}, -1);
       }},
      {"numbers", {F({}), F({})}, [](In x) { return stack(x); }}},
     {bad<ValueError>(
          "none", [] { stack(std::span<const Tensor>()); }, "tensors is empty"),
      bad<ShapeError>(
          "shapes",
          [] {
            stack({ones({2}), ones({3})});
          },
          "tensors[1] is [3]"),
      bad<Error>(
          "undefined", [] { stack({Tensor()}); }, "tensors[0]"),
      bad<IndexError>(
          "dim", [] { stack({ones({2})}, 2); }, "dim 2")}},
    {"split",
     {{"even", {F({6, 2})}, [](In x) { return rejoined(split(x[0], 2), 0); }},
      {"rest", {F({2, 5})}, [](In x) { return rejoined(split(x[0], 2, 1), 1); }},
      {"sizes",
       {F({6, 2})},
       [](In x) {
         return rejoined(split(x[0], Shape({1, 0, 5})), 0);
       }}},
     {bad<ValueError>(
          "size", [] { split(ones({4}), 0); }, "size is 0"),
      bad<ValueError>(
          "negative",
          [] {
            split(ones({4}), Shape({5, -1}));
          },
          "size -1"),
      bad<ShapeError>(
          "total",
          [] {
            split(ones({4}), Shape({2, 1}));
          },
          "add up to 3"),
      bad<ShapeError>(
          "rank 0", [] { split(ones({}), 1); }, "rank 0")}},
    {"chunk",
     {{"three", {F({7, 2})}, [](In x) { return rejoined(chunk(x[0], 3), 0); }},
      {"more_than_there_are", {F({2, 2})}, [](In x) { return rejoined(chunk(x[0], 5, 1), 1); }}},
     {bad<ValueError>(
         "chunks", [] { chunk(ones({4}), 0); }, "chunks is 0")}},
    {"unbind",
     {{"first", {F({3, 2})}, [](In x) { return rejoined(unbind(x[0]), 0); }},
      {"last", {F({3, 2})}, [](In x) { return rejoined(unbind(x[0], -1), 0); }}},
     {bad<IndexError>(
         "dim", [] { unbind(ones({4}), 1); }, "dim 1")}},
    {"pad",
     {{"last",
       {F({2, 3})},
       [](In x) {
         return pad(x[0], {1, 2});
       }},
      {"two",
       {F({2, 3, 4})},
       [](In x) {
         return pad(x[0], {1, 0, 2, 1}, 0.5);
       }},
      {"crop",
       {F({4, 5})},
       [](In x) {
         return pad(x[0], {-1, 2, 1, -2});
       }},
      {"only_crop",
       {F({4, 5})},
       [](In x) {
         return pad(x[0], {-1, -1});
       }},
      {"nothing", {F({4, 5})}, [](In x) { return pad(x[0], {}); }}},
     {bad<ValueError>(
          "odd", [] { pad(ones({4}), {1}); }, "padding has 1"),
      bad<ValueError>(
          "too many",
          [] {
            pad(ones({4}), {1, 1, 1, 1});
          },
          "padding has 4"),
      bad<ShapeError>(
          "crop",
          [] {
            pad(ones({4}), {-3, -2});
          },
          "-3 before"),
      bad<ShapeError>(
          "huge",
          [] {
            pad(ones({4}), {INT64_MAX, INT64_MAX});
          },
          "do not fit"),
      bad<DtypeError>(
          "value",
          [] {
            pad(ones({4}, {.dtype = int64}), {1, 1}, 0.5);
          },
          "int64")}},
    {"flip",
     {{"both",
       {F({2, 3})},
       [](In x) {
         return flip(x[0], {0, 1});
       }},
      {"last", {F({2, 1, 3})}, [](In x) { return flip(x[0], {-1}); }},
      {"none", {F({2, 3})}, [](In x) { return flip(x[0], {}); }},
      {"empty", {F({0, 3})}, [](In x) { return flip(x[0], {0}); }}},
     {bad<IndexError>(
          "dim", [] { flip(ones({2}), {1}); }, "dim 1"),
      bad<ValueError>(
          "twice",
          [] {
            flip(ones({2, 3}), {0, 0});
          },
          "twice")}},
    {"roll",
     {{"forward", {F({5, 2})}, [](In x) { return roll(x[0], 2, 0); }},
      {"backward", {F({2, 5})}, [](In x) { return roll(x[0], -7, 1); }},
      {"empty", {F({0, 2})}, [](In x) { return roll(x[0], 1, 0); }}},
     {bad<IndexError>(
          "dim", [] { roll(ones({2}), 1, 1); }, "dim 1"),
      bad<ShapeError>(
          "rank 0", [] { roll(ones({}), 1, 0); }, "rank 0")}},
    {"tril",
     {{"square", {F({4, 4})}, [](In x) { return tril(x[0]); }},
      {"wide_above", {F({2, 3, 5})}, [](In x) { return tril(x[0], 1); }},
      {"nothing", {F({3, 3})}, [](In x) { return tril(x[0], -3); }}},
     {bad<ShapeError>(
         "vector", [] { tril(ones({3})); }, "[3]")}},
    {"triu",
     {{"square", {F({4, 4})}, [](In x) { return triu(x[0]); }},
      {"tall_below", {F({2, 5, 3})}, [](In x) { return triu(x[0], -1); }},
      {"everything", {F({3, 3})}, [](In x) { return triu(x[0], INT64_MIN); }}},
     {bad<ShapeError>(
         "vector", [] { triu(ones({3})); }, "[3]")}},
});

}  // namespace
}  // namespace op_table
