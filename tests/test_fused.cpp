// Fused kernels against plain loops in double: softmax, log-softmax, cross entropy, optimizer steps. What the op table
// does not ask: extreme values, sizes around the vector length, equal bits for any number of threads.
#include <algorithm>
#include <array>
#include <limits>
#include <numeric>

#include <gradus/core/kernels.h>

#include "fused_reference.h"

using namespace gradus;
using Catch::Matchers::ContainsSubstring;

namespace {

constexpr double inf = std::numeric_limits<double>::infinity();

double log_sum_exp(const double* x, size_t n) {
  const double top = *std::max_element(x, x + n), shift = std::isfinite(top) ? top : 0;
  double sum = 0;
  for (size_t i = 0; i < n; ++i) sum += std::exp(x[i] - shift);
  return shift + std::log(sum);
}

std::vector<double> reference_log_softmax(const std::vector<double>& x, size_t n) {
  std::vector<double> y(x.size());
  for (size_t row = 0; row < x.size(); row += n) {
    const double lse = log_sum_exp(&x[row], n);
    for (size_t i = 0; i < n; ++i) y[row + i] = x[row + i] - lse;
  }
  return y;
}

std::vector<double> exp_of(std::vector<double> x) {
  for (double& v : x) v = std::exp(v);
  return x;
}

}  // namespace

TEST_CASE("softmax and log_softmax of every width and dtype") {
  for (Dtype dtype : floating_dtypes)
    for (int64_t n : {1, 2, 7, 15, 16, 17, 33, 64, 1000, 5001}) {
      INFO(name(dtype) << ", n = " << n);
      const Tensor x = sample({5, n}, dtype);
      const std::vector<double> logs = reference_log_softmax(values(x), static_cast<size_t>(n));
      check_close(softmax(x), exp_of(logs), 4 * epsilon(dtype));
      check_close(log_softmax(x), logs, 4 * epsilon(dtype));
    }
}

TEST_CASE("softmax along another dim, of a scalar and of nothing") {
  const Tensor x = sample({4, 5, 6}, float32);
  check_close(softmax(x, 0), values(softmax(x.permute({1, 2, 0})).permute({2, 0, 1})), 1e-6);
  check_close(log_softmax(x, -2), values(log_softmax(x.transpose(1, 2)).transpose(1, 2)), 1e-6);
  CHECK(softmax(full({}, 3.f)).item<float>() == 1.f);
  CHECK(softmax(zeros({3, 0})).numel() == 0);
  CHECK(softmax(zeros({0, 3}), 0).numel() == 0);
}

TEST_CASE("softmax of extreme values") {
  const double largest = std::numeric_limits<float>::max(), nan = std::nan("");
  const auto row = [](std::initializer_list<double> x) { return tensor(x, {.dtype = float32}); };
  check_close(softmax(row({1e4, 0, -1e4})), {1, 0, 0}, 0);
  check_close(softmax(row({1e4, 1e4, 1e4, 1e4})), {0.25, 0.25, 0.25, 0.25}, 0);
  check_close(softmax(row({largest, -largest})), {1, 0}, 0);
  check_close(softmax(row({-inf, 0, -inf, 0})), {0, 0.5, 0, 0.5}, 0);
  check_close(softmax(row({-inf, -inf})), {nan, nan}, 0);
  check_close(softmax(row({inf, 0})), {nan, nan}, 0);
  check_close(softmax(row({nan, 0})), {nan, nan}, 0);
  check_close(log_softmax(row({1e4, 0})), {0, -1e4}, 0);
  check_close(log_softmax(row({-inf, 0})), {-inf, 0}, 0);
  // A row must not disturb its neighbour.
  check_close(softmax(tensor({-inf, -inf, 0, 0}, {.dtype = float32}).reshape({2, 2})), {nan, nan, 0.5, 0.5}, 0);
}

TEST_CASE("derivatives of softmax and log_softmax") {
  for (Dtype dtype : floating_dtypes)
    for (int64_t n : {1, 16, 37, 1000}) {
      INFO(name(dtype) << ", n = " << n);
      const Tensor x = sample({3, n}, dtype).requires_grad_(), g = sample({3, n}, dtype, 2);
      const Tensor y = softmax(x), l = log_softmax(x);
      const std::vector<double> p = values(y), logs = values(l), gs = values(g);
      std::vector<double> want(p.size()), want_log(p.size());
      const size_t width = static_cast<size_t>(n);
      for (size_t row = 0; row < p.size(); row += width) {
        double dot = 0, sum = 0;
        for (size_t i = row; i < row + width; ++i) dot += gs[i] * p[i], sum += gs[i];
        for (size_t i = row; i < row + width; ++i) {
          want[i] = (gs[i] - dot) * p[i];
          want_log[i] = gs[i] - std::exp(logs[i]) * sum;
        }
      }
      y.backward(g);
      check_close(x.grad(), want, 8 * epsilon(dtype));
      x.set_grad({});
      l.backward(g);
      check_close(x.grad(), want_log, 32 * epsilon(dtype));
    }
}

namespace {

struct CrossEntropyCase {
  Tensor logits, target, weight;  // (rows, C), (rows), (C) or undefined
  double smoothing = 0;
};

// Row losses, their derivatives for a gradient of ones, and the weights of the rows that count.
struct CrossEntropyReference {
  std::vector<double> losses, gradient;
  double weights = 0;
};

CrossEntropyReference reference_cross_entropy(const CrossEntropyCase& c) {
  const size_t classes = static_cast<size_t>(c.logits.size(1));
  const std::vector<double> x = values(c.logits), targets = values(c.target);
  const std::vector<double> w = c.weight.defined() ? values(c.weight) : std::vector<double>(classes, 1.0);
  CrossEntropyReference r{{}, std::vector<double>(x.size(), 0.0)};
  for (size_t row = 0; row < targets.size(); ++row) {
    if (targets[row] == -100) {
      r.losses.push_back(0);
      continue;
    }
    const size_t t = static_cast<size_t>(targets[row]);
    const double lse = log_sum_exp(&x[row * classes], classes);
    double loss = 0;
    for (size_t k = 0; k < classes; ++k) {
      const double share = (k == t ? (1 - c.smoothing) * w[t] : 0) + c.smoothing / static_cast<double>(classes) * w[k];
      loss += share * (lse - x[row * classes + k]);
      r.gradient[row * classes + k] -= share;
      for (size_t j = 0; j < classes; ++j)
        r.gradient[row * classes + j] += share * std::exp(x[row * classes + j] - lse);
    }
    r.losses.push_back(loss);
    r.weights += w[t];
  }
  return r;
}

}  // namespace

TEST_CASE("cross_entropy: weights, smoothing, ignored rows, every reduction and dtype") {
  for (Dtype dtype : floating_dtypes)
    for (int64_t classes : {2, 10, 37})
      for (bool weighted : {false, true})
        for (double smoothing : {0.0, 0.1})
          for (bool ignoring : {false, true}) {
            INFO(name(dtype) << ", " << classes << " classes, weighted " << weighted << ", smoothing " << smoothing
                             << ", ignoring " << ignoring);
            CrossEntropyCase c{
                .logits = sample({9, classes}, dtype), .target = {}, .weight = {}, .smoothing = smoothing};
            c.target = empty({9}, {.dtype = int64});
            for (int64_t i = 0; i < 9; ++i)
              c.target.mutable_data<int64_t>()[i] = ignoring && i % 4 == 1 ? -100 : (i * 7) % classes;
            if (weighted) c.weight = (sample({classes}, float64, 3) + 3).to(dtype);
            const CrossEntropyReference r = reference_cross_entropy(c);
            const double sum = std::accumulate(r.losses.begin(), r.losses.end(), 0.0), tolerance = 16 * epsilon(dtype);

            CrossEntropyParams params{.weight = c.weight, .label_smoothing = smoothing, .reduction = Reduction::none};
            check_close(cross_entropy(c.logits, c.target, params), r.losses, tolerance);
            params.reduction = Reduction::mean;
            check_close(cross_entropy(c.logits, c.target, params), {sum / r.weights}, tolerance);
            params.reduction = Reduction::sum;
            const Tensor x = c.logits.detach().requires_grad_();
            const Tensor loss = cross_entropy(x, c.target, params);
            check_close(loss, {sum}, tolerance);
            CHECK(loss.dtype() == dtype);
            loss.backward();
            check_close(x.grad(), r.gradient, tolerance);
          }
}

TEST_CASE("cross_entropy of images, of one sample, of probabilities") {
  const Tensor logits = sample({2, 5, 3, 4}, float64);
  const Tensor target = (arange(24) * 3).reshape({2, 3, 4});
  for (int64_t i = 0; i < 24; ++i) target.mutable_data<int64_t>()[i] %= 5;
  const Tensor rows = logits.permute({0, 2, 3, 1}).reshape({24, 5}), flat = target.reshape({24});
  const CrossEntropyParams none{.reduction = Reduction::none}, smooth{.label_smoothing = 0.3};
  CHECK(cross_entropy(logits, target, none).shape() == Shape({2, 3, 4}));
  check_close(cross_entropy(logits, target, none), values(cross_entropy(rows, flat, none)), 0);
  check_close(nll_loss(log_softmax(logits, 1), target), values(cross_entropy(logits, target)), 1e-14);

  const Tensor one = cross_entropy(rows[0], flat[0]);
  CHECK(one.rank() == 0);
  check_close(one, {values(cross_entropy(rows, flat, none))[0]}, 1e-14);

  const Tensor certain = one_hot(target, 5).permute({0, 3, 1, 2}).to(float64);
  check_close(cross_entropy(logits, certain), values(cross_entropy(logits, target)), 1e-14);
  check_close(cross_entropy(logits, certain, smooth), values(cross_entropy(logits, target, smooth)), 1e-14);
}

TEST_CASE("cross_entropy reads a strided weight") {
  const Tensor logits = sample({4, 3}, float32), target = tensor(std::vector<int64_t>{0, 2, 1, 2});
  const Tensor plain = tensor({1, 2, 3}), strided = stack({plain, zeros({3})}, 1).select(1, 0);
  CHECK_FALSE(strided.is_contiguous());
  check_close(cross_entropy(logits, target, {.weight = strided}),
              values(cross_entropy(logits, target, {.weight = plain})), 0);
}

TEST_CASE("cross_entropy of extreme logits and of ignored rows") {
  const Tensor far = tensor({1e4, -1e4, 0, -1e4, 1e4, 0}, {.dtype = float32}).reshape({2, 3}).requires_grad_();
  const Tensor target = tensor(std::vector<int64_t>{0, 0});
  const Tensor loss = cross_entropy(far, target, {.reduction = Reduction::sum});
  CHECK(loss.item<float>() == 2e4f);
  loss.backward();
  check_close(far.grad(), {0, 0, 0, -1, 1, 0}, 0);

  // An ignored row counts for nothing, whatever its logits are.
  const Tensor wild = tensor({std::nan(""), inf, 0, 0}, {.dtype = float32}).reshape({2, 2}).requires_grad_();
  const Tensor padded = cross_entropy(wild, tensor(std::vector<int64_t>{-100, 1}));
  CHECK(padded.item<float>() == Approx(std::log(2.0)));
  padded.backward();
  check_close(wild.grad(), {0, 0, 0.5, -0.5}, 1e-7);
  // A padding index among the classes is ignored too. All rows ignored: 0 / 0, as in PyTorch.
  const Tensor plain = zeros({2, 3});
  CHECK(cross_entropy(plain, tensor(std::vector<int64_t>{0, 1}), {.ignore_index = 0, .reduction = Reduction::sum})
            .item<float>() == Approx(std::log(3.0)));
  CHECK(std::isnan(cross_entropy(plain, full({2}, -100, {.dtype = int64})).item<float>()));
}

TEST_CASE("cross_entropy refuses targets outside the classes by value and position") {
  const Tensor logits = zeros({2, 3, 2}), target = zeros({2, 2}, {.dtype = int64});
  target[1].slice(0, 1).fill_(7);
  CHECK_THROWS_WITH(cross_entropy(logits, target), ContainsSubstring("target 7 at [1, 1] is outside [0, 3)"));
  CHECK_THROWS_AS(nll_loss(logits, target), IndexError);
  target.fill_(-1);
  CHECK_THROWS_AS(cross_entropy(logits, target), IndexError);
  CHECK_NOTHROW(cross_entropy(logits, target, {.ignore_index = -1}));
}

TEST_CASE("a class weight that learns has its gradient") {
  const Tensor logits = sample({4, 3}, float64), target = tensor(std::vector<int64_t>{0, 2, 1, 2});
  const auto loss = [&](std::span<const Tensor> in) {
    return cross_entropy(in[0], target, {.weight = in[1], .label_smoothing = 0.2});
  };
  const GradcheckResult result = gradcheck(loss, {logits, tensor({1, 2, 3}, {.dtype = float64})}, {.order = 2});
  INFO(result.message);
  CHECK(result.ok);
}

TEST_CASE("rows give the same bits for any number of threads") {
  for (Dtype dtype : {float32, bfloat16}) {
    const Tensor x = sample({300, 333}, dtype), g = sample({300, 333}, dtype, 2);
    const Tensor target = empty({300}, {.dtype = int64});
    for (int64_t i = 0; i < 300; ++i) target.mutable_data<int64_t>()[i] = i;
    check_threads([&] {
      const Tensor leaf = x.detach().requires_grad_();
      const Tensor y = softmax(leaf), l = log_softmax(leaf), loss = cross_entropy(leaf, target);
      y.backward(g);
      l.backward(g);
      loss.backward();
      return std::vector<Tensor>{y, l, loss, leaf.grad()};
    });
  }
}

// ---- optimizers

namespace {

// Which of the three states a rule keeps.
using States = std::array<bool, 3>;

// Several parameters whose sizes straddle the pieces of the kernels, with gradients and states.
struct Parameters {
  std::vector<Tensor> parameter, gradient;
  std::vector<std::array<Tensor, 3>> states;  // undefined where the rule keeps none

  explicit Parameters(Dtype dtype, const States& kept = {}) {
    uint64_t seed = 1;
    for (int64_t n : {5, 0, 16384, 1, 40001}) {
      parameter.push_back(sample({n}, dtype, seed++));
      gradient.push_back(sample({n}, dtype, seed++));
      states.emplace_back();
      for (size_t s = 0; s < kept.size(); ++s)
        if (kept[s]) states.back()[s] = zeros({n}, {.dtype = dtype});
    }
  }
  std::vector<OptimizerSlice> slices() const {
    std::vector<OptimizerSlice> list;
    const auto data = [](const Tensor& x) { return x.defined() ? x.mutable_raw_data() : nullptr; };
    for (size_t i = 0; i < parameter.size(); ++i)
      list.push_back({data(parameter[i]), gradient[i].raw_data(), data(states[i][0]), data(states[i][1]),
                      data(states[i][2]), parameter[i].numel(), parameter[i].dtype()});
    return list;
  }
};

// What one step does to one element, in double.
struct Element {
  double p, g, s1, s2, s3;
};

// Runs three steps of a kernel beside a plain loop of `update`.
template <class Update>
void check_optimizer(const std::function<void(std::span<const OptimizerSlice>, int step)>& kernel, const States& states,
                     Update update) {
  for (Dtype dtype : {float64, float32}) {
    INFO(name(dtype));
    const Parameters have(dtype, states);
    std::vector<std::vector<Element>> want;
    for (size_t i = 0; i < have.parameter.size(); ++i) {
      const std::vector<double> p = values(have.parameter[i]), g = values(have.gradient[i]);
      want.emplace_back();
      for (size_t j = 0; j < p.size(); ++j) want[i].push_back({p[j], g[j], 0, 0, 0});
    }
    for (int step = 1; step <= 3; ++step) {
      kernel(have.slices(), step);
      for (auto& elements : want)
        for (Element& e : elements) update(e, step);
    }
    for (size_t i = 0; i < want.size(); ++i) {
      std::vector<double> p;
      for (const Element& e : want[i]) p.push_back(e.p);
      check_close(have.parameter[i], p, 8 * epsilon(dtype));
    }
  }
}

}  // namespace

TEST_CASE("adam_step is AdamW and Adam") {
  for (const auto& [decoupled, amsgrad] : {std::pair(true, false), {false, false}, {true, true}}) {
    // The gradient fades, so that the largest second moment is the first.
    const auto scale = [](int step) { return step == 1 ? 0.5 : 0.01; };
    const auto args = [&, decoupled = decoupled](int step) {
      return AdamArgs{.lr = 0.01,
                      .beta1 = 0.9,
                      .beta2 = 0.99,
                      .eps = 1e-8,
                      .weight_decay = 0.1,
                      .bias_correction1 = 1 - std::pow(0.9, step),
                      .bias_correction2 = 1 - std::pow(0.99, step),
                      .gradient_scale = scale(step),
                      .decoupled = decoupled};
    };
    check_optimizer(
        [&](auto slices, int step) { kernels::adam_step(Device::cpu(), slices, args(step)); }, {true, true, amsgrad},
        [&, decoupled = decoupled, amsgrad = amsgrad](Element& e, int step) {
          const double g = e.g * scale(step) + (decoupled ? 0 : 0.1 * e.p);
          if (decoupled) e.p *= 1 - 0.01 * 0.1;
          e.s1 = 0.9 * e.s1 + 0.1 * g;
          e.s2 = 0.99 * e.s2 + 0.01 * g * g;
          e.s3 = std::max(e.s3, e.s2);
          const double m = e.s1 / (1 - std::pow(0.9, step)), v = (amsgrad ? e.s3 : e.s2) / (1 - std::pow(0.99, step));
          e.p -= 0.01 * m / (std::sqrt(v) + 1e-8);
        });
  }
}

TEST_CASE("sgd_step: plain, momentum, dampening, Nesterov") {
  struct Options {
    double momentum, dampening;
    bool nesterov;
  };
  for (const Options& o :
       {Options{0, 0, false}, Options{0.9, 0, false}, Options{0.9, 0.3, false}, Options{0.9, 0, true}})
    check_optimizer(
        [&](auto slices, int step) {
          kernels::sgd_step(Device::cpu(), slices,
                            SgdArgs{.lr = 0.1,
                                    .momentum = o.momentum,
                                    .dampening = o.dampening,
                                    .weight_decay = 0.01,
                                    .gradient_scale = 2,
                                    .nesterov = o.nesterov,
                                    .first_step = step == 1});
        },
        {o.momentum != 0, false, false},
        [&](Element& e, int step) {
          double g = e.g * 2 + 0.01 * e.p;
          if (o.momentum != 0) {
            e.s1 = step == 1 ? g : o.momentum * e.s1 + (1 - o.dampening) * g;
            g = o.nesterov ? g + o.momentum * e.s1 : e.s1;
          }
          e.p -= 0.1 * g;
        });
}

TEST_CASE("rmsprop_step with and without momentum, centred and not") {
  for (const auto& [momentum, centered] : {std::pair(0.0, false), {0.8, false}, {0.0, true}, {0.8, true}})
    check_optimizer(
        [&, momentum = momentum](auto slices, int) {
          kernels::rmsprop_step(Device::cpu(), slices,
                                RmspropArgs{.lr = 0.01,
                                            .alpha = 0.9,
                                            .eps = 1e-6,
                                            .weight_decay = 0.1,
                                            .momentum = momentum,
                                            .gradient_scale = 1});
        },
        {true, momentum != 0, centered},
        [&, momentum = momentum, centered = centered](Element& e, int) {
          const double g = e.g + 0.1 * e.p;
          e.s1 = 0.9 * e.s1 + 0.1 * g * g;
          e.s3 = 0.9 * e.s3 + 0.1 * g;
          const double step = g / (std::sqrt(e.s1 - (centered ? e.s3 * e.s3 : 0)) + 1e-6);
          e.s2 = momentum * e.s2 + step;
          e.p -= 0.01 * (momentum != 0 ? e.s2 : step);
        });
}

TEST_CASE("squared_norm and scale_gradients") {
  const Parameters have(float32);
  double want = 0;
  for (const Tensor& g : have.gradient)
    for (double v : values(g)) want += v * v;
  CHECK(kernels::squared_norm(Device::cpu(), have.slices()) == Approx(want).epsilon(1e-12));
  kernels::scale_gradients(Device::cpu(), have.slices(), 0.5);
  CHECK(kernels::squared_norm(Device::cpu(), have.slices()) == Approx(want / 4).epsilon(1e-12));
  CHECK(kernels::squared_norm(Device::cpu(), std::vector<OptimizerSlice>()) == 0);

  // A norm beyond float32's range is still a number.
  have.gradient[4].fill_(1e30f);
  CHECK(kernels::squared_norm(Device::cpu(), have.slices()) == Approx(40001e60).epsilon(1e-6));
}

TEST_CASE("a norm has the same bits for any number of threads") {
  const Parameters have(float32);
  check_threads([&] {
    return std::vector<Tensor>{full({}, kernels::squared_norm(Device::cpu(), have.slices()), {.dtype = float64})};
  });
}
