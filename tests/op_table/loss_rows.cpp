// Rows of autograd/ops/cross_entropy.cpp and loss.cpp.
#include "op_table/op_table.h"

namespace op_table {
namespace {

Tensor classes(std::initializer_list<double> values) { return tensor(values, {.dtype = int64}); }

// PyTorch does not differentiate for them, so they are no input.
Tensor class_weights(const Tensor& logits) { return tensor({0.5, 2, 1.25}, {.dtype = logits.dtype()}); }

// The two tensors that every loss of a pair refuses.
std::vector<BadInput> bad_pairs(Tensor (*loss)(const Tensor&, const Tensor&, Reduction)) {
  return {bad<Error>(
              "undefined target", [=] { loss(ones({2}), Tensor(), Reduction::mean); }, "target is an undefined tensor"),
          bad<DtypeError>(
              "integers", [=] { loss(ones({2}, {.dtype = int64}), ones({2}, {.dtype = int64}), Reduction::mean); },
              "to(float32)"),
          bad<DtypeError>(
              "two dtypes", [=] { loss(ones({2}), ones({2}, {.dtype = float64}), Reduction::mean); },
              "float32 and float64"),
          bad<ShapeError>(
              "shapes",
              [=] {
                loss(ones({4, 1}), ones({4}), Reduction::mean);
              },
              "[4, 1] and target [4]")};
}

Tensor huber_of_one(const Tensor& x, const Tensor& target, Reduction reduction) {
  return huber_loss(x, target, 1, reduction);
}
Tensor smooth_l1_of_one(const Tensor& x, const Tensor& target, Reduction reduction) {
  return smooth_l1_loss(x, target, 1, reduction);
}
Tensor bce_of_probabilities(const Tensor& x, const Tensor& target, Reduction reduction) {
  return binary_cross_entropy(x, target, reduction);
}
Tensor kl_of_probabilities(const Tensor& x, const Tensor& target, Reduction reduction) {
  return kl_div(x, target, reduction);
}
Tensor bce_unweighted(const Tensor& x, const Tensor& target, Reduction reduction) {
  return binary_cross_entropy_with_logits(x, target, reduction);
}

std::vector<BadInput> with(std::vector<BadInput> list, const BadInput& another) {
  list.push_back(another);
  return list;
}

[[maybe_unused]] const bool added = add({
    {"cross_entropy",
     {{"mean", {F({4, 5}, -3, 3), I({4}, 0, 5)}, [](In x) { return cross_entropy(x[0], x[1]); }},
      {"sum",
       {F({4, 5}, -3, 3), I({4}, 0, 5)},
       [](In x) { return cross_entropy(x[0], x[1], {.reduction = Reduction::sum}); }},
      {"none",
       {F({4, 5}, -3, 3), I({4}, 0, 5)},
       [](In x) { return cross_entropy(x[0], x[1], {.reduction = Reduction::none}); }},
      {"one_sample", {F({5}, -3, 3), I({}, 0, 5)}, [](In x) { return cross_entropy(x[0], x[1]); }},
      {"images", {F({2, 3, 2, 2}, -3, 3), I({2, 2, 2}, 0, 3)}, [](In x) { return cross_entropy(x[0], x[1]); }},
      {"weight",
       {F({4, 3}, -3, 3), I({4}, 0, 3)},
       [](In x) { return cross_entropy(x[0], x[1], {.weight = class_weights(x[0])}); }},
      {"smoothing",
       {F({4, 3}, -3, 3), I({4}, 0, 3)},
       [](In x) { return cross_entropy(x[0], x[1], {.label_smoothing = 0.2}); }},
      {"ignore", {F({6, 3}, -3, 3), I({6}, 0, 3)}, [](In x) { return cross_entropy(x[0], x[1], {.ignore_index = 1}); }},
      {"everything",
       {F({6, 3}, -3, 3), I({6}, 0, 3)},
       [](In x) {
         return cross_entropy(x[0], x[1], {.weight = class_weights(x[0]), .ignore_index = 1, .label_smoothing = 0.1});
       }},
      {"probabilities", {F({4, 3}, -3, 3), F({4, 3}, 0, 1)}, [](In x) { return cross_entropy(x[0], x[1]); }},
      {"probabilities_everything",
       {F({2, 3, 2}, -3, 3), F({2, 3, 2}, 0, 1)},
       [](In x) { return cross_entropy(x[0], x[1], {.weight = class_weights(x[0]), .label_smoothing = 0.1}); }}},
     {bad<Error>(
          "undefined logits", [] { cross_entropy(Tensor(), classes({1})); }, "logits is an undefined tensor"),
      bad<Error>(
          "undefined target",
          [] {
            cross_entropy(ones({1, 2}), Tensor());
          },
          "target is an undefined tensor"),
      bad<DtypeError>(
          "integer logits",
          [] {
            cross_entropy(ones({1, 2}, {.dtype = int64}), classes({1}));
          },
          "to(float32)"),
      bad<DtypeError>(
          "boolean target",
          [] {
            cross_entropy(ones({1, 2}), ones({1}, {.dtype = boolean}));
          },
          "int64"),
      bad<ShapeError>(
          "scalar", [] { cross_entropy(ones({}), classes({1})); }, "[N, C, ...]"),
      bad<ShapeError>(
          "target shape",
          [] {
            cross_entropy(ones({2, 3}), classes({1}));
          },
          "target is [1]"),
      bad<ShapeError>(
          "probability shape",
          [] {
            cross_entropy(ones({2, 3}), ones({2, 2}));
          },
          "[2, 2]"),
      bad<ShapeError>(
          "no classes",
          [] {
            cross_entropy(ones({2, 0}), classes({0, 0}));
          },
          "no classes"),
      bad<ShapeError>(
          "weight",
          [] {
            cross_entropy(ones({1, 3}), classes({0}), {.weight = ones({2})});
          },
          "weight is [2]"),
      bad<DtypeError>(
          "weight dtype",
          [] {
            cross_entropy(ones({1, 3}), classes({0}), {.weight = ones({3}, {.dtype = float64})});
          },
          "weight is float64"),
      bad<IndexError>(
          "target",
          [] {
            cross_entropy(ones({2, 3}), classes({0, 3}));
          },
          "target 3 at [1]"),
      bad<ValueError>(
          "smoothing",
          [] {
            cross_entropy(ones({1, 3}), classes({0}), {.label_smoothing = 1.5});
          },
          "label_smoothing is 1.5"),
      bad<ValueError>(
          "ignored probabilities",
          [] {
            cross_entropy(ones({1, 3}), ones({1, 3}), {.ignore_index = 1});
          },
          "ignore_index 1")}},
    {"nll_loss",
     {{"mean", {F({4, 5}, -3, 0), I({4}, 0, 5)}, [](In x) { return nll_loss(x[0], x[1]); }},
      {"images",
       {F({2, 3, 2, 2}, -3, 0), I({2, 2, 2}, 0, 3)},
       [](In x) { return nll_loss(x[0], x[1], {.reduction = Reduction::none}); }},
      {"everything",
       {F({6, 3}, -3, 0), I({6}, 0, 3)},
       [](In x) { return nll_loss(x[0], x[1], {.weight = class_weights(x[0]), .ignore_index = 1}); }}},
     {bad<Error>(
          "undefined", [] { nll_loss(Tensor(), classes({1})); }, "log_probabilities is an undefined tensor"),
      bad<IndexError>(
          "target",
          [] {
            nll_loss(ones({2, 3}), classes({-1, 0}));
          },
          "target -1 at [0]"),
      bad<ValueError>(
          "smoothing",
          [] {
            nll_loss(ones({1, 3}), classes({0}), {.label_smoothing = 0.5});
          },
          "only cross_entropy")}},
    {"mse_loss",
     {{"mean", {F({3, 4}), F({3, 4})}, [](In x) { return mse_loss(x[0], x[1]); }},
      {"sum", {F({3}), F({3})}, [](In x) { return mse_loss(x[0], x[1], Reduction::sum); }},
      {"none", {F({3}), F({3})}, [](In x) { return mse_loss(x[0], x[1], Reduction::none); }},
      {"number", {F({}), F({})}, [](In x) { return mse_loss(x[0], x[1]); }}},
     bad_pairs(mse_loss)},
    {"l1_loss",
     {{"mean", {F({3, 4}), F({3, 4})}, [](In x) { return l1_loss(x[0], x[1]); }},
      {"none", {F({3}), F({3})}, [](In x) { return l1_loss(x[0], x[1], Reduction::none); }}},
     bad_pairs(l1_loss)},
    {"huber_loss",
     {{"mean", {F({3, 4}, -2, 2), F({3, 4}, -2, 2)}, [](In x) { return huber_loss(x[0], x[1]); }},
      {"delta",
       {F({3, 4}, -2, 2), F({3, 4}, -2, 2)},
       [](In x) { return huber_loss(x[0], x[1], 0.5, Reduction::none); }}},
     with(bad_pairs(huber_of_one), bad<ValueError>(
                                       "delta", [] { huber_loss(ones({2}), ones({2}), 0); }, "delta is 0"))},
    {"smooth_l1_loss",
     {{"mean", {F({3, 4}, -2, 2), F({3, 4}, -2, 2)}, [](In x) { return smooth_l1_loss(x[0], x[1]); }},
      {"beta",
       {F({3, 4}, -2, 2), F({3, 4}, -2, 2)},
       [](In x) { return smooth_l1_loss(x[0], x[1], 0.5, Reduction::none); }},
      {"beta_0", {F({3, 4}), F({3, 4})}, [](In x) { return smooth_l1_loss(x[0], x[1], 0, Reduction::sum); }}},
     with(bad_pairs(smooth_l1_of_one), bad<ValueError>(
                                           "beta", [] { smooth_l1_loss(ones({2}), ones({2}), -1); }, "beta is -1"))},
    {"binary_cross_entropy",
     {{"mean", {F({3, 4}, 0.1, 0.9), F({3, 4}, 0, 1)}, [](In x) { return binary_cross_entropy(x[0], x[1]); }},
      {"none",
       {F({5}, 0.1, 0.9), F({5}, 0, 1)},
       [](In x) { return binary_cross_entropy(x[0], x[1], Reduction::none); }},
      {"weight",
       {F({3, 4}, 0.1, 0.9), F({3, 4}, 0, 1), F({3, 1}, 0.5, 3)},
       [](In x) { return binary_cross_entropy(x[0], x[1], Reduction::mean, x[2]); }}},
     with(with(bad_pairs(bce_of_probabilities), bad<ValueError>(
                                                    "logits", [] { binary_cross_entropy(tensor({0.5, 2}), ones({2})); },
                                                    "binary_cross_entropy_with_logits")),
          bad<ShapeError>(
              "weight", [] { binary_cross_entropy(ones({2}), ones({2}), Reduction::mean, ones({3, 2})); },
              "weight [3, 2]"))},
    {"binary_cross_entropy_with_logits",
     {{"mean", {F({3, 4}, -4, 4), F({3, 4}, 0, 1)}, [](In x) { return binary_cross_entropy_with_logits(x[0], x[1]); }},
      {"pos_weight",
       {F({3, 4}, -4, 4), F({3, 4}, 0, 1), F({4}, 0.5, 3)},
       [](In x) { return binary_cross_entropy_with_logits(x[0], x[1], Reduction::none, x[2]); }},
      {"weight",
       {F({3, 4}, -4, 4), F({3, 4}, 0, 1), F({4}, 0.5, 3), F({3, 1}, 0.5, 3)},
       [](In x) { return binary_cross_entropy_with_logits(x[0], x[1], Reduction::mean, x[2], x[3]); }}},
     with(bad_pairs(bce_unweighted),
          bad<ShapeError>(
              "pos_weight", [] { binary_cross_entropy_with_logits(ones({2}), ones({2}), Reduction::mean, ones({3})); },
              "[3]"))},
    {"kl_div",
     {{"batch_mean", {F({3, 4}, -3, 0), F({3, 4}, 0.1, 1)}, [](In x) { return kl_div(x[0], x[1]); }},
      {"sum", {F({3, 4}, -3, 0), F({3, 4}, 0.1, 1)}, [](In x) { return kl_div(x[0], x[1], Reduction::sum); }},
      {"none", {F({3, 4}, -3, 0), F({3, 4}, 0.1, 1)}, [](In x) { return kl_div(x[0], x[1], Reduction::none); }},
      {"log_target",
       {F({3, 4}, -3, 0), F({3, 4}, -3, 0)},
       [](In x) { return kl_div(x[0], x[1], Reduction::mean, true); }}},
     with(bad_pairs(kl_of_probabilities), bad<ShapeError>(
                                              "scalar", [] { kl_div(ones({}), ones({})); }, "batch dim"))},
});

}  // namespace
}  // namespace op_table
