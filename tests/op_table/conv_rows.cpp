// Rows of autograd/ops/conv.cpp.
#include "op_table/op_table.h"

namespace op_table {

static Tensor bias_of(In x) { return x.size() > 2 ? x[2] : Tensor(); }
static auto conv(Conv2dParams params = {}) {
  return [params](In x) { return conv2d(x[0], x[1], bias_of(x), params); };
}
static auto transposed(ConvTranspose2dParams params = {}) {
  return [params](In x) { return conv_transpose2d(x[0], x[1], bias_of(x), params); };
}

static const bool added = add({
    {"conv2d",
     {{"plain", {F({2, 2, 4, 5}), F({3, 2, 3, 2})}, conv()},
      {"bias_padding", {F({1, 2, 4, 4}), F({2, 2, 3, 3}), F({2})}, conv({.padding = 1})},
      {"stride", {F({1, 2, 5, 6}), F({2, 2, 2, 3}), F({2})}, conv({.stride = {2, 3}, .padding = {0, 1}})},
      {"dilation", {F({1, 1, 5, 6}), F({2, 1, 2, 3})}, conv({.padding = 1, .dilation = {2, 2}})},
      {"groups", {F({1, 4, 3, 3}), F({6, 2, 2, 2}), F({6})}, conv({.groups = 2})},
      {"depthwise", {F({2, 3, 4, 4}), F({3, 1, 3, 3})}, conv({.stride = 2, .padding = 1, .groups = 3})},
      {"pointwise", {F({2, 3, 2, 2}), F({2, 3, 1, 1}), F({2})}, conv()},
      {"empty_batch", {F({0, 2, 4, 4}), F({3, 2, 3, 3}), F({3})}, conv()}},
     {bad<ShapeError>(
          "unbatched",
          [] {
            conv2d(zeros({3, 8, 8}), zeros({4, 3, 3, 3}));
          },
          "x.unsqueeze(0)"),
      bad<ShapeError>(
          "channels",
          [] {
            conv2d(zeros({1, 3, 8, 8}), zeros({4, 2, 3, 3}));
          },
          "wants 2"),
      bad<ShapeError>(
          "large kernel",
          [] {
            conv2d(zeros({1, 1, 2, 8}), zeros({1, 1, 3, 3}));
          },
          "dim 2"),
      bad<ShapeError>(
          "weight rank",
          [] {
            conv2d(zeros({1, 1, 8, 8}), zeros({3, 3}));
          },
          "weight is [3, 3]"),
      bad<ShapeError>(
          "bias",
          [] {
            conv2d(zeros({1, 1, 8, 8}), zeros({2, 1, 3, 3}), zeros({3}));
          },
          "wants [2]"),
      bad<ShapeError>(
          "no channels",
          [] {
            conv2d(zeros({1, 0, 8, 8}), zeros({2, 0, 3, 3}));
          },
          "may be empty"),
      bad<ValueError>(
          "stride",
          [] {
            conv2d(zeros({1, 1, 8, 8}), zeros({2, 1, 3, 3}), {}, {.stride = 0});
          },
          "stride"),
      bad<ValueError>(
          "padding",
          [] {
            conv2d(zeros({1, 1, 8, 8}), zeros({2, 1, 3, 3}), {}, {.padding = -1});
          },
          "padding"),
      bad<ValueError>(
          "huge padding",
          [] {
            conv2d(zeros({1, 1, 8, 8}), zeros({2, 1, 3, 3}), {}, {.padding = int64_t{1} << 62});
          },
          "padding"),
      bad<ValueError>(
          "dilation",
          [] {
            conv2d(zeros({1, 1, 8, 8}), zeros({2, 1, 3, 3}), {}, {.dilation = 0});
          },
          "dilation"),
      bad<ValueError>(
          "groups",
          [] {
            conv2d(zeros({1, 4, 8, 8}), zeros({3, 2, 3, 3}), {}, {.groups = 2});
          },
          "groups"),
      bad<DtypeError>(
          "mixed",
          [] {
            conv2d(zeros({1, 1, 8, 8}), zeros({2, 1, 3, 3}, {.dtype = float64}));
          },
          "convert one"),
      bad<DtypeError>(
          "integers",
          [] {
            conv2d(zeros({1, 1, 8, 8}, {.dtype = int64}), zeros({2, 1, 3, 3}));
          },
          "x.to(float32)")}},
    {"conv_transpose2d",
     {{"plain", {F({2, 2, 3, 2}), F({2, 3, 2, 3})}, transposed()},
      {"bias_stride",
       {F({1, 2, 3, 3}), F({2, 2, 3, 3}), F({2})},
       transposed({.stride = 2, .padding = 1, .output_padding = 1})},
      {"dilation", {F({1, 1, 3, 3}), F({1, 2, 2, 2})}, transposed({.padding = 1, .dilation = 2})},
      {"groups", {F({1, 4, 2, 2}), F({4, 1, 2, 2}), F({2})}, transposed({.stride = {2, 1}, .groups = 2})},
      {"empty_batch", {F({0, 2, 3, 3}), F({2, 1, 2, 2}), F({1})}, transposed()}},
     {bad<ShapeError>(
          "channels",
          [] {
            conv_transpose2d(zeros({1, 3, 4, 4}), zeros({2, 3, 2, 2}));
          },
          "wants 2"),
      bad<ShapeError>(
          "padding",
          [] {
            conv_transpose2d(zeros({1, 1, 1, 1}), zeros({1, 1, 2, 2}), {}, {.padding = 1});
          },
          "leaves nothing"),
      bad<ValueError>(
          "output_padding",
          [] {
            conv_transpose2d(zeros({1, 1, 4, 4}), zeros({1, 1, 2, 2}), {}, {.output_padding = 1});
          },
          "output_padding"),
      bad<ShapeError>(
          "bias",
          [] {
            conv_transpose2d(zeros({1, 1, 4, 4}), zeros({1, 2, 2, 2}), zeros({1}));
          },
          "wants [2]")}},
});

}  // namespace op_table
