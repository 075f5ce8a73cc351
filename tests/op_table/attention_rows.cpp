// Rows of autograd/ops/attention.cpp.
#include "op_table/op_table.h"

namespace op_table {
namespace {

[[maybe_unused]] const bool added = add({
    {"scaled_dot_product_attention",
     {{"plain",
       {F({2, 2, 3, 4}), F({2, 2, 5, 4}), F({2, 2, 5, 4})},
       [](In x) { return scaled_dot_product_attention(x[0], x[1], x[2]); }},
      {"causal",
       {F({1, 2, 5, 3}), F({1, 2, 5, 3}), F({1, 2, 5, 3})},
       [](In x) { return scaled_dot_product_attention(x[0], x[1], x[2], {.causal = true}); }},
      {"scale",
       {F({1, 1, 3, 4}), F({1, 1, 2, 4}), F({1, 1, 2, 4})},
       [](In x) { return scaled_dot_product_attention(x[0], x[1], x[2], {.scale = 1.5}); }},
      {"additive_mask",
       {F({1, 2, 3, 4}), F({1, 2, 5, 4}), F({1, 2, 5, 4}), F({3, 5})},
       [](In x) { return scaled_dot_product_attention(x[0], x[1], x[2], {.mask = x[3]}); }},
      {"wider_values",
       {F({1, 1, 3, 2}), F({1, 1, 4, 2}), F({1, 1, 4, 5})},
       [](In x) { return scaled_dot_product_attention(x[0], x[1], x[2]); }}},
     {bad<Error>(
          "undefined",
          [] {
            scaled_dot_product_attention(Tensor(), ones({1, 1, 2, 3}), ones({1, 1, 2, 3}));
          },
          "q is an undefined tensor"),
      bad<ShapeError>(
          "rank",
          [] {
            scaled_dot_product_attention(ones({1, 2, 3}), ones({1, 2, 3}), ones({1, 2, 3}));
          },
          "[B, H, T, D]"),
      bad<ShapeError>(
          "heads",
          [] {
            scaled_dot_product_attention(ones({1, 4, 2, 3}), ones({1, 2, 2, 3}), ones({1, 2, 2, 3}));
          },
          "k [1, 2, 2, 3]"),
      bad<DtypeError>(
          "dtypes",
          [] {
            scaled_dot_product_attention(ones({1, 1, 2, 3}), ones({1, 1, 2, 3}, {.dtype = float64}),
                                         ones({1, 1, 2, 3}));
          },
          "float32 and float64"),
      bad<ShapeError>(
          "mask",
          [] {
            scaled_dot_product_attention(ones({1, 1, 2, 3}), ones({1, 1, 2, 3}), ones({1, 1, 2, 3}),
                                         {.mask = ones({3, 3})});
          },
          "[3, 3]"),
      bad<DtypeError>(
          "mask dtype",
          [] {
            scaled_dot_product_attention(ones({1, 1, 2, 3}), ones({1, 1, 2, 3}), ones({1, 1, 2, 3}),
                                         {.mask = ones({2, 2}, {.dtype = int64})});
          },
          "mask is int64"),
      bad<ValueError>(
          "dropout",
          [] {
            scaled_dot_product_attention(ones({1, 1, 2, 3}), ones({1, 1, 2, 3}), ones({1, 1, 2, 3}), {.dropout = 1.5});
          },
          "dropout is 1.5")}},
    // PyTorch has no such op; test_attention compares it with the one above.
    Row{"self_attention",
        {{"plain", {F({2, 4, 12})}, [](In x) { return self_attention(x[0], 2); }},
         {"causal", {F({1, 5, 9})}, [](In x) { return self_attention(x[0], 3, {.causal = true}); }},
         {"mask", {F({2, 3, 12}), F({3, 3})}, [](In x) { return self_attention(x[0], 2, {.mask = x[1]}); }},
         {"empty", {F({0, 3, 12})}, [](In x) { return self_attention(x[0], 2); }}},
        {bad<Error>(
             "undefined", [] { self_attention(Tensor(), 1); }, "qkv is an undefined tensor"),
         bad<ShapeError>(
             "heads",
             [] {
               self_attention(ones({1, 2, 12}), 3);
             },
             "3 heads"),
         bad<ShapeError>(
             "no heads",
             [] {
               self_attention(ones({1, 2, 12}), 0);
             },
             "0 heads"),
         bad<ShapeError>(
             "rank",
             [] {
               self_attention(ones({2, 12}), 2);
             },
             "[B, T, 3 H D]")}}
        .not_recorded(),
});

}  // namespace
}  // namespace op_table
