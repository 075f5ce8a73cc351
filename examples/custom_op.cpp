// An op of one's own: forward is any C++ loop, the derivative one lambda of public ops. record() ties them together,
// with no macro, no registration and no class. gradcheck proves both orders; then the op learns something.
#include <cmath>

#include <fmt/format.h>

#include <gradus/fmt.h>
#include <gradus/gradus.h>

using namespace gradus;

namespace {

// swish(x) = x sigmoid(beta x) (Ramachandran et al., arXiv 1710.05941), with a trained beta, 0-dim.
Tensor swish(const Tensor& x, const Tensor& beta) {
  if (x.dtype() != beta.dtype())
    throw DtypeError(fmt::format("swish: x is {}, beta is {}; convert one", x.dtype(), beta.dtype()));
  Tensor y = empty_like(x);
  const auto forward = [&]<class T>(T) {
    const Tensor in = dense(x);  // contiguous, unrecorded
    const T* from = in.data<T>();
    T* to = y.mutable_data<T>();
    const T b = beta.item<T>();
    parallel_for(0, x.numel(), 16384, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) to[i] = from[i] / (T(1) + std::exp(-b * from[i]));
    });
  };
  x.dtype() == float64 ? forward(0.0) : forward(0.0f);
  return record("swish", y, {&x, &beta}, save(x, beta), [](const Tensor& g, const Saved& s) -> Grads {
    const Tensor u = s[1] * s[0], z = sigmoid(u);
    // The gradient of beta is broader than beta: the engine sums it, as for every broadcast input.
    return {g * (z + u * z * (1 - z)), g * square(s[0]) * z * (1 - z)};
  });
}

}  // namespace

int main() {
  manual_seed(1);
  const auto op = [](std::span<const Tensor> in) { return swish(in[0], in[1]); };
  const std::vector<Tensor> inputs = {randn({4, 5}, {.dtype = float64}), full({}, 1.5, {.dtype = float64})};
  for (const int order : {1, 2}) {
    const GradcheckResult result = gradcheck(op, inputs, {.order = order});
    fmt::print("gradcheck, order {}: {}\n", order, result.ok ? "right" : result.message);
    if (!result) return 1;
  }

  fmt::print("\nthe graph of mean(swish(x, beta)), for `dot -Tsvg`:\n");
  const Tensor x = randn({256}, {.requires_grad = true}), beta = full({}, 0.2, {.requires_grad = true});
  fmt::print("{}", graph_dot(mean(swish(x, beta))));

  // Find the beta that makes swish like GELU: the literature says about 1.702.
  fmt::print("\nfitting beta so that swish looks like gelu:\n");
  optim::AdamW opt({{"beta", beta}}, {.lr = 0.05, .weight_decay = 0});
  for (int step = 0; step <= 200; ++step) {
    const Tensor sample = randn({4096});
    const Tensor loss = mse_loss(swish(sample, beta), gelu(sample));
    opt.zero_grad();
    loss.backward();
    opt.step();
    if (step % 50 == 0)
      fmt::print("  step {:3}  loss {:.6f}  beta {:.4f}\n", step, loss.item<double>(), beta.item<double>());
  }
  const bool found = std::fabs(beta.item<double>() - 1.702) < 0.1;
  fmt::print("beta = {:.3f}, {}\n", beta.item<double>(), found ? "as in the literature (1.702)" : "far from 1.702");
  return found ? 0 : 1;
}
