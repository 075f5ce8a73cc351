// Attention on a CUDA device, against the CPU's.
#include "beside_cpu.h"

using namespace gradus;
using namespace beside_cpu;

namespace {

// The output of op(inputs) and the gradients of all inputs for the output's gradient g.
template <class Op>
std::vector<Tensor> with_gradients(Device device, const std::vector<Tensor>& inputs, const Tensor& g, Op op) {
  std::vector<Tensor> on, results;
  for (const Tensor& x : inputs) {
    on.push_back(x.detach().clone().to(device));
    on.back().requires_grad_();
  }
  const Tensor y = op(on);
  results.push_back(y.detach());
  y.backward(g.to(device));
  for (const Tensor& x : on) results.push_back(x.grad());
  return results;
}

template <class Op>
void check(const std::vector<Tensor>& inputs, std::initializer_list<uint64_t> seeds, Op op) {
  const Tensor g = randn(op(inputs).shape()).to(inputs[0].dtype());
  const std::vector<Tensor> here = with_gradients(cpu, inputs, g, op);
  for (const uint64_t seed : orders(seeds)) {
    const emulated::Seed order(seed);
    const std::vector<Tensor> there = with_gradients(gpu, inputs, g, op);
    for (size_t i = 0; i < here.size(); ++i) {
      INFO(name(g.dtype()) << ", seed " << seed << ", " << (i == 0 ? "output" : "gradient of input ") << i);
      CHECK(difference(there[i], here[i]) == "");
    }
  }
}

struct Sizes {
  int64_t batches, heads, queries, keys, width;
};
void check_attention(Dtype dtype, const Sizes& s, bool causal, std::initializer_list<uint64_t> seeds = {0, 7, 23}) {
  INFO("[" << s.batches << ", " << s.heads << ", " << s.queries << " x " << s.keys << ", " << s.width << "], causal "
           << causal);
  const auto heads = [&](int64_t length) { return randn({s.batches, s.heads, length, s.width}).to(dtype); };
  check({heads(s.queries), heads(s.keys), heads(s.keys)}, seeds, [causal](const std::vector<Tensor>& in) {
    return scaled_dot_product_attention(in[0], in[1], in[2], {.causal = causal});
  });
}

}  // namespace

TEST_CASE("attention and its derivative") {
  for (const Dtype dtype : floating)
    for (const Sizes& sizes :
         {Sizes{2, 3, 5, 5, 4}, {1, 1, 1, 1, 1}, {3, 2, 7, 33, 6}, {1, 2, 40, 9, 8}, {2, 1, 3, 70, 5}})
      for (const bool causal : {false, true}) check_attention(dtype, sizes, causal);
}

TEST_CASE("attention of views, as projections leave them") {
  for (const Dtype dtype : floating)
    for (const bool causal : {false, true}) {
      check({randn({2, 6, 3 * 2 * 5}).to(dtype)}, {0, 7, 23},
            [causal](const std::vector<Tensor>& in) { return self_attention(in[0], 2, {.causal = causal}); });
      check({randn({2, 6, 3, 4}).to(dtype), randn({2, 3, 8, 4}).to(dtype), randn({2, 3, 4, 8}).to(dtype)}, {0},
            [causal](const std::vector<Tensor>& in) {
              return scaled_dot_product_attention(in[0].transpose(1, 2), in[1], in[2].transpose(-1, -2),
                                                  {.causal = causal, .scale = 0.7});
            });
    }
}

// The scores of one call take 32 MiB at most.
TEST_CASE("heads whose scores are too many come one after another") {
  check_attention(float64, {2, 3, 1000, 1000, 2}, false, {0});  // a batch at a time
  check_attention(float64, {1, 3, 1400, 1400, 1}, false, {0});  // two heads, and the third
}
TEST_CASE("a head whose scores are too many takes its queries in parts") {
  check_attention(float64, {1, 1, 3000, 2000, 1}, true, {0});
  check_attention(bfloat16, {1, 1, 4500, 2000, 1}, true, {0});
}

TEST_CASE("scores far from zero") {
  const auto heads = [](int64_t length, double size) { return randn({1, 1, length, 8}).to(float64) * size; };
  check({heads(4, 100), heads(6, 100), heads(6, 1)}, {0},
        [](const std::vector<Tensor>& in) { return scaled_dot_product_attention(in[0], in[1], in[2]); });
}

TEST_CASE("a NaN stays in its row") {
  Tensor q = randn({1, 1, 3, 4});
  q.slice(2, 1, 2).fill_(std::nan(""));
  const Tensor k = randn({1, 1, 5, 4}), v = randn({1, 1, 5, 4});
  CHECK(difference(scaled_dot_product_attention(q.to(gpu), k.to(gpu), v.to(gpu)),
                   scaled_dot_product_attention(q, k, v)) == "");
}
