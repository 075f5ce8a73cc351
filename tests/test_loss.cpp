// Losses as modules: each option reaches the function, weights are state. The values are those of the op table.
#include <gradus/gradus.h>

#include "catch.h"

using namespace gradus;
using Catch::Matchers::ContainsSubstring;

namespace {

struct Classifier : nn::Module {
  nn::Linear fc{4, 3};
  nn::CrossEntropyLoss loss;
  explicit Classifier(const Tensor& weight) : loss({.weight = weight}) {}
  Tensor forward(const Tensor& x) { return fc(x); }
  GRADUS_MODULE(fc, loss)
};

bool same(const Tensor& a, const Tensor& b) { return equal(a.detach(), b.detach()); }

}  // namespace

TEST_CASE("losses between scores and classes hand on every option") {
  manual_seed(1);
  const Tensor logits = randn({6, 3}), y = tensor({0.0, 1.0, 2.0, 1.0, 0.0, 2.0}, {.dtype = int64});
  const Tensor weight = tensor({0.5, 2.0, 1.25});
  CHECK(same(nn::CrossEntropyLoss()(logits, y), cross_entropy(logits, y)));
  nn::CrossEntropyLoss all({.weight = weight, .ignore_index = 1, .label_smoothing = 0.1, .reduction = Reduction::sum});
  CHECK(
      same(all(logits, y),
           cross_entropy(logits, y,
                         {.weight = weight, .ignore_index = 1, .label_smoothing = 0.1, .reduction = Reduction::sum})));
  CHECK(!same(all(logits, y), nn::CrossEntropyLoss({.weight = weight, .reduction = Reduction::sum})(logits, y)));
  CHECK_THROWS_WITH(nn::CrossEntropyLoss({.label_smoothing = 2}), ContainsSubstring("label_smoothing is 2"));

  const Tensor logs = log_softmax(logits, 1);
  nn::NLLLoss nll({.weight = weight, .ignore_index = 2, .reduction = Reduction::none});
  CHECK(same(nll(logs, y), nll_loss(logs, y, {.weight = weight, .ignore_index = 2, .reduction = Reduction::none})));
  CHECK(allclose(nn::NLLLoss()(logs, y), nn::CrossEntropyLoss()(logits, y)));
}

TEST_CASE("losses between two tensors hand on every option") {
  manual_seed(2);
  const Tensor x = randn({3, 4}), y = randn({3, 4});
  const auto sum = Reduction::sum, none = Reduction::none;
  CHECK(same(nn::MSELoss()(x, y), mse_loss(x, y)));
  CHECK(same(nn::MSELoss({.reduction = sum})(x, y), mse_loss(x, y, sum)));
  CHECK(same(nn::L1Loss()(x, y), l1_loss(x, y)));
  CHECK(same(nn::L1Loss({.reduction = none})(x, y), l1_loss(x, y, none)));
  CHECK(same(nn::SmoothL1Loss()(x, y), smooth_l1_loss(x, y)));
  CHECK(same(nn::SmoothL1Loss({.reduction = none, .beta = 0.5})(x, y), smooth_l1_loss(x, y, 0.5, none)));
  CHECK(same(nn::HuberLoss()(x, y), huber_loss(x, y)));
  CHECK(same(nn::HuberLoss({.reduction = sum, .delta = 0.5})(x, y), huber_loss(x, y, 0.5, sum)));
  CHECK_THROWS_AS(nn::SmoothL1Loss({.beta = -1}), ValueError);
  CHECK_THROWS_AS(nn::HuberLoss({.delta = 0}), ValueError);

  const Tensor p = sigmoid(x), t = sigmoid(y), weight = tensor({1.0, 2.0, 3.0, 4.0}), rows = weight.slice(0, 1);
  CHECK(same(nn::BCELoss()(p, t), binary_cross_entropy(p, t)));
  CHECK(same(nn::BCELoss({.weight = weight, .reduction = sum})(p, t), binary_cross_entropy(p, t, sum, weight)));
  CHECK(same(nn::BCEWithLogitsLoss()(x, t), binary_cross_entropy_with_logits(x, t)));
  nn::BCEWithLogitsLoss both({.weight = rows.unsqueeze(1), .reduction = none, .pos_weight = weight});
  CHECK(same(both(x, t), binary_cross_entropy_with_logits(x, t, none, weight, rows.unsqueeze(1))));

  const Tensor a = log_softmax(x, 1), b = log_softmax(y, 1);
  CHECK(same(nn::KLDivLoss()(a, exp(b)), kl_div(a, exp(b))));
  CHECK(allclose(nn::KLDivLoss({.reduction = sum, .log_target = true})(a, b), kl_div(a, exp(b), sum)));
}

TEST_CASE("the weights of a loss are buffers") {
  const Tensor weight = tensor({1.0, 2.0, 3.0});
  Classifier net(weight);
  CHECK(net.num_parameters() == 15);
  CHECK(net.buffers().size() == 1);
  CHECK(find(net.state_dict(), "loss.weight").defined());
  CHECK(nn::CrossEntropyLoss().state_dict().empty());
  net.to(float64);
  const Tensor x = randn({2, 4}, {.dtype = float64}), y = zeros({2}, {.dtype = int64});
  CHECK(net.loss(net(x), y).dtype() == float64);
  CHECK(nn::clone(net).loss.weight.dtype() == float64);
  CHECK(weight.dtype() == float32);
  const nn::Summary summary = nn::summary(net, {2, 4});  // the loss costs nothing that forward does
  CHECK(summary.macs == 2 * 4 * 3);
  CHECK(summary.parameters == 15);
}
