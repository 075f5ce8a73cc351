// Rows of autograd/ops/pool.cpp.
#include "op_table/op_table.h"

namespace op_table {

static auto max_pool(Pair kernel, Pool2dParams params = {}) {
  return [=](In x) { return max_pool2d(x[0], kernel, params); };
}
static auto avg_pool(Pair kernel, Pool2dParams params = {}) {
  return [=](In x) { return avg_pool2d(x[0], kernel, params); };
}
static auto adaptive_max(Pair output) {
  return [=](In x) { return adaptive_max_pool2d(x[0], output); };
}
static auto adaptive_avg(Pair output) {
  return [=](In x) { return adaptive_avg_pool2d(x[0], output); };
}

static const bool added = add({
    // 16-bit inputs have ties, where the first maximum gets all of the gradient in either precision.
    {"max_pool2d",
     {{"two", {F({2, 2, 4, 6})}, max_pool(2)},
      {"odd", {F({1, 2, 5, 7})}, max_pool(2)},
      {"three", {F({1, 2, 5, 6})}, max_pool(3, {.stride = 2, .padding = 1})},
      {"overlap", {F({1, 1, 4, 5})}, max_pool({2, 3}, {.stride = 1})},
      {"dilation", {F({1, 1, 6, 6})}, max_pool(2, {.stride = 1, .padding = 1, .dilation = 2})},
      {"empty_batch", {F({0, 2, 4, 4})}, max_pool(2)}},
     {bad<ShapeError>(
          "rank",
          [] {
            max_pool2d(zeros({3, 4, 4}), 2);
          },
          "x.unsqueeze(0)"),
      bad<ShapeError>(
          "small",
          [] {
            max_pool2d(zeros({1, 1, 1, 4}), 2);
          },
          "dim 2"),
      bad<ShapeError>(
          "stepped over",
          [] {
            max_pool2d(zeros({1, 1, 1, 9}), 2, {.padding = 2, .dilation = 4});
          },
          "steps over"),
      bad<ValueError>(
          "kernel",
          [] {
            max_pool2d(zeros({1, 1, 4, 4}), 0);
          },
          "kernel"),
      bad<ValueError>(
          "stride",
          [] {
            max_pool2d(zeros({1, 1, 4, 4}), 2, {.stride = 0});
          },
          "stride"),
      bad<ValueError>(
          "padding",
          [] {
            max_pool2d(zeros({1, 1, 4, 4}), 2, {.padding = 2});
          },
          "half"),
      bad<ValueError>(
          "dilation",
          [] {
            max_pool2d(zeros({1, 1, 4, 4}), 2, {.dilation = 0});
          },
          "dilation"),
      bad<DtypeError>(
          "integers",
          [] {
            max_pool2d(zeros({1, 1, 4, 4}, {.dtype = int64}), 2);
          },
          "x.to(float32)")}},
    {"avg_pool2d",
     {{"two", {F({2, 2, 4, 6})}, avg_pool(2)},
      {"padding", {F({1, 2, 5, 6})}, avg_pool(3, {.stride = 2, .padding = 1})},
      {"uncounted", {F({1, 2, 5, 6})}, avg_pool(3, {.stride = Pair{2, 1}, .padding = 1, .count_include_pad = false})},
      {"wide", {F({1, 1, 2, 21})}, avg_pool({2, 17}, {.stride = 1})},
      {"empty_batch", {F({0, 2, 4, 4})}, avg_pool(2)}},
     {bad<ShapeError>(
          "rank",
          [] {
            avg_pool2d(zeros({4, 4}), 2);
          },
          "[N, C, H, W]"),
      bad<ValueError>(
          "dilation",
          [] {
            avg_pool2d(zeros({1, 1, 4, 4}), 2, {.dilation = 2});
          },
          "a mean has none"),
      bad<ValueError>(
          "padding",
          [] {
            avg_pool2d(zeros({1, 1, 4, 4}), 2, {.padding = -1});
          },
          "padding")}},
    {"adaptive_avg_pool2d",
     {{"global", {F({2, 3, 4, 5})}, adaptive_avg(1)},
      {"uneven", {F({1, 2, 5, 7})}, adaptive_avg({3, 4})},
      {"larger", {F({1, 1, 2, 3})}, adaptive_avg({3, 5})}},
     {bad<ValueError>(
          "output",
          [] {
            adaptive_avg_pool2d(zeros({1, 1, 4, 4}), 0);
          },
          "output"),
      bad<ShapeError>(
          "empty",
          [] {
            adaptive_avg_pool2d(zeros({1, 1, 0, 4}), 1);
          },
          "may not be empty")}},
    {"adaptive_max_pool2d",
     {{"global", {F({2, 3, 4, 5})}, adaptive_max(1)},
      {"uneven", {F({1, 2, 5, 7})}, adaptive_max({3, 4})},
      {"larger", {F({1, 1, 2, 3})}, adaptive_max({3, 5})}},
     {bad<ValueError>(
         "output",
         [] {
           adaptive_max_pool2d(zeros({1, 1, 4, 4}), {1, -1});
         },
         "output")}},
});

}  // namespace op_table
