// Rows of autograd/ops/norm.cpp.
#include <cmath>

#include "op_table/op_table.h"

namespace op_table {
namespace {

[[maybe_unused]] const bool added = add({
    {"layer_norm",
     {{"plain", {F({3, 5})}, [](In x) { return layer_norm(x[0], {5}); }},
      {"affine", {F({2, 3, 4}), F({4}), F({4})}, [](In x) { return layer_norm(x[0], {4}, x[1], x[2]); }},
      {"two_dims",
       {F({2, 3, 4}), F({3, 4}), F({3, 4})},
       [](In x) {
         return layer_norm(x[0], {3, 4}, x[1], x[2], 1e-3);
       }},
      {"no_bias", {F({3, 17}), F({17})}, [](In x) { return layer_norm(x[0], {17}, x[1]); }},
      {"empty", {F({0, 4}), F({4})}, [](In x) { return layer_norm(x[0], {4}, x[1]); }}},
     {bad<Error>(
          "undefined", [] { layer_norm(Tensor(), {2}); }, "x is an undefined tensor"),
      bad<DtypeError>(
          "integers",
          [] {
            layer_norm(ones({2, 3}, {.dtype = int32}), {3});
          },
          "to(float32)"),
      bad<ShapeError>(
          "normalized",
          [] {
            layer_norm(ones({2, 3}), {2});
          },
          "normalized dims [2]"),
      bad<ShapeError>(
          "no dims",
          [] {
            layer_norm(ones({2, 3}), Shape());
          },
          "normalized dims []"),
      bad<ShapeError>(
          "weight",
          [] {
            layer_norm(ones({2, 3}), {3}, ones({2}));
          },
          "weight is [2]"),
      bad<DtypeError>(
          "bias dtype",
          [] {
            layer_norm(ones({2, 3}), {3}, ones({3}), ones({3}, {.dtype = float64}));
          },
          "bias is float64"),
      bad<ValueError>(
          "eps",
          [] {
            layer_norm(ones({2, 3}), {3}, {}, {}, -1);
          },
          "eps is -1")}},
    {"rms_norm",
     {{"plain", {F({3, 5})}, [](In x) { return rms_norm(x[0], {5}); }},
      {"weight", {F({2, 3, 4}), F({4})}, [](In x) { return rms_norm(x[0], {4}, x[1], 1e-3); }},
      {"two_dims",
       {F({2, 3, 4}), F({3, 4})},
       [](In x) {
         return rms_norm(x[0], {3, 4}, x[1]);
       }}},
     {bad<Error>(
          "undefined", [] { rms_norm(Tensor(), {2}); }, "x is an undefined tensor"),
      bad<ShapeError>(
          "normalized",
          [] {
            rms_norm(ones({2, 3}), {2, 2, 3});
          },
          "normalized dims [2, 2, 3]"),
      bad<ShapeError>(
          "weight",
          [] {
            rms_norm(ones({2, 3}), {3}, ones({2}));
          },
          "weight is [2]"),
      bad<ValueError>(
          "eps",
          [] {
            rms_norm(ones({2, 3}), {3}, {}, std::nan(""));
          },
          "eps is nan")}},
    {"group_norm",
     {{"images", {F({2, 4, 3, 3}), F({4}), F({4})}, [](In x) { return group_norm(x[0], 2, x[1], x[2]); }},
      {"plain", {F({2, 6, 5})}, [](In x) { return group_norm(x[0], 3); }},
      {"layer", {F({3, 4}), F({4})}, [](In x) { return group_norm(x[0], 1, x[1]); }}},
     {bad<Error>(
          "undefined", [] { group_norm(Tensor(), 2); }, "x is an undefined tensor"),
      bad<ShapeError>(
          "rank", [] { group_norm(ones({4}), 2); }, "[N, C, ...]"),
      bad<ValueError>(
          "groups",
          [] {
            group_norm(ones({2, 4, 3}), 3);
          },
          "3 groups"),
      bad<ValueError>(
          "no groups",
          [] {
            group_norm(ones({2, 4, 3}), 0);
          },
          "0 groups"),
      bad<ShapeError>(
          "bias",
          [] {
            group_norm(ones({2, 4, 3}), 2, {}, ones({3}));
          },
          "bias is [3]")}},
    {"batch_norm",
     {{"images", {F({3, 2, 4, 5}), F({2}), F({2})}, [](In x) { return batch_norm(x[0], {}, {}, x[1], x[2]); }},
      {"vectors", {F({5, 3}), F({3}), F({3})}, [](In x) { return batch_norm(x[0], {}, {}, x[1], x[2]); }},
      {"plain", {F({3, 2, 3})}, [](In x) { return batch_norm(x[0], {}, {}, {}, {}, true, 0.1, 1e-3); }},
      {"frozen",
       {F({2, 3, 4}), F({3}), F({3})},
       [](In x) {
         const Tensor mean = tensor({-0.5, 0.25, 2}, {.dtype = x[0].dtype()});  // PyTorch does not differentiate for it
         return batch_norm(x[0], mean, mean + 1, x[1], x[2], false);
       }}},
     {bad<Error>(
          "undefined", [] { batch_norm(Tensor(), {}, {}); }, "x is an undefined tensor"),
      bad<Error>(
          "frozen without statistics",
          [] {
            batch_norm(ones({2, 3}), {}, {}, {}, {}, false);
          },
          "running_mean is an undefined tensor"),
      bad<ShapeError>(
          "rank", [] { batch_norm(ones({4}), {}, {}); }, "[N, C, ...]"),
      bad<ShapeError>(
          "one value",
          [] {
            batch_norm(ones({1, 4}), {}, {});
          },
          "larger batch"),
      bad<ShapeError>(
          "running_var",
          [] {
            batch_norm(ones({2, 4}), ones({4}), ones({3}));
          },
          "running_var is [3]"),
      bad<DtypeError>(
          "weight",
          [] {
            batch_norm(ones({2, 4}), {}, {}, ones({4}, {.dtype = float16}));
          },
          "weight is float16"),
      bad<ValueError>(
          "momentum",
          [] {
            batch_norm(ones({2, 4}), {}, {}, {}, {}, true, 2);
          },
          "momentum is 2")}},
});

}  // namespace
}  // namespace op_table
