// Rows of autograd/ops/view.cpp.
#include "op_table/op_table.h"

namespace op_table {

static const bool added = add({
    Row{"alias", {{"matrix", {F({2, 3})}, [](In x) { return alias(x[0]); }}}}.not_recorded(),
    {"reshape",
     {{"merge",
       {F({2, 3, 4})},
       [](In x) {
         return reshape(x[0], {6, -1});
       }},
      {"split",
       {F({6, 4})},
       [](In x) {
         return reshape(x[0], {2, 3, 2, 2});
       }},
      {"empty",
       {F({0, 4})},
       [](In x) {
         return reshape(x[0], {2, 0});
       }},
      {"scalar",
       {F({})},
       [](In x) {
         return reshape(x[0], {1, 1});
       }}},
     {bad<ShapeError>(
          "count",
          [] {
            reshape(zeros({2, 3}), {4});
          },
          "[4]"),
      bad<ShapeError>(
          "two holes",
          [] {
            reshape(zeros({2, 3}), {-1, -1});
          },
          "more than one -1"),
      bad<ShapeError>(
          "negative",
          [] {
            reshape(zeros({2, 3}), {-2, 3});
          },
          "size -2")}},
    {"transpose",
     {{"01", {F({2, 3, 4})}, [](In x) { return transpose(x[0], 0, 1); }},
      {"last", {F({2, 3, 4})}, [](In x) { return transpose(x[0], -1, -2); }}},
     {bad<IndexError>(
         "dim",
         [] {
           transpose(zeros({2, 3}), 0, 2);
         },
         "dim 2")}},
    {"permute",
     {{"rotate",
       {F({2, 3, 4})},
       [](In x) {
         return permute(x[0], {2, 0, 1});
       }}},
     {bad<ShapeError>(
          "rank",
          [] {
            permute(zeros({2, 3}), {0});
          },
          "[0]"),
      bad<IndexError>(
          "twice",
          [] {
            permute(zeros({2, 3}), {0, 0});
          },
          "twice")}},
    {"unsqueeze",
     {{"front", {F({2, 3})}, [](In x) { return unsqueeze(x[0], 0); }},
      {"back", {F({2, 3})}, [](In x) { return unsqueeze(x[0], -1); }}},
     {bad<IndexError>(
         "dim",
         [] {
           unsqueeze(zeros({2, 3}), 4);
         },
         "dim 4")}},
    {"squeeze",
     {{"middle", {F({2, 1, 3})}, [](In x) { return squeeze(x[0], 1); }},
      {"kept", {F({2, 1, 3})}, [](In x) { return squeeze(x[0], 0); }}}},
    {"flatten",
     {{"all", {F({2, 3, 4})}, [](In x) { return flatten(x[0]); }},
      {"tail", {F({2, 3, 4})}, [](In x) { return flatten(x[0], 1); }}},
     {bad<IndexError>(
         "order",
         [] {
           flatten(zeros({2, 3}), 1, 0);
         },
         "start_dim")}},
    {"broadcast_to",
     {{"rows",
       {F({3})},
       [](In x) {
         return broadcast_to(x[0], {2, 3});
       }},
      {"column",
       {F({2, 1})},
       [](In x) {
         return broadcast_to(x[0], {2, 4});
       }}}},
    Row{"slice_backward",
        {{"step",
          {F({2, 2})},
          [](In x) {
            return slice_backward(x[0], {2, 5}, 1, 1, 5, 2);
          }}}}
        .not_recorded(),
});

}  // namespace op_table
