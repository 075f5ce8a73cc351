// Optimizer steps and norms of gradients on a device, beside the CPU's.
#include "beside_cpu.h"

using namespace beside_cpu;

namespace {

// Parameters with gradients and states, on either device. `shift` of them are not aligned.
struct Parameters {
  std::vector<std::array<Tensor, 5>> tensors;

  Parameters(const std::vector<std::pair<int64_t, Dtype>>& sizes, int64_t shift) {
    for (const auto& [n, dtype] : sizes) {
      const auto some = [&, n = n, dtype = dtype] { return shifted(mul(values({n}, dtype), 0.01), shift); };
      // The first two may be means of squares; a variance that is nearly zero would magnify rounding.
      const Tensor first = some(), second = some();
      tensors.push_back({some(), some(), add(mul(first, first), 0.2), mul(second, second), abs(some())});
    }
  }
  Parameters on(Device device, int64_t shift) const {
    Parameters there = *this;
    for (auto& group : there.tensors)
      for (Tensor& t : group) t = shifted(t.to(device), shift);
    return there;
  }
  // Which states a slice has, as bits.
  std::vector<OptimizerSlice> slices(int states) const {
    std::vector<OptimizerSlice> result;
    for (const auto& [parameter, gradient, s1, s2, s3] : tensors) {
      const auto state = [&](int i, const Tensor& s) { return states >> i & 1 ? s.mutable_raw_data() : nullptr; };
      result.push_back({parameter.mutable_raw_data(), gradient.raw_data(), state(0, s1), state(1, s2), state(2, s3),
                        parameter.numel(), parameter.dtype()});
    }
    return result;
  }
};

// Values around 1 that are sums of a few products, which compilers may fuse.
bool are_near(const Tensor& a, const Tensor& b) {
  const double scale = a.dtype() == float32 ? 1e-6 : 1e-14;
  const Tensor difference = abs(sub(a.to(cpu), b)).to(float64), bound = mul(add(abs(b).to(float64), 1), scale);
  return all(le(difference, bound)).item<bool>();
}
void check_near(const Parameters& there, const Parameters& here) {
  for (size_t i = 0; i < here.tensors.size(); ++i)
    for (size_t k = 0; k < here.tensors[i].size(); ++k) {
      CAPTURE(i, k);
      CHECK(are_near(there.tensors[i][k], here.tensors[i][k]));
    }
}

// Sizes around a pack and a chunk, both dtypes, an empty one, and more slices than a launch takes.
std::vector<std::pair<int64_t, Dtype>> sizes() {
  std::vector<std::pair<int64_t, Dtype>> all = {{1, float32},    {5000, float32}, {0, float32},   {4096, float64},
                                                {4097, float32}, {7, float64},    {8192, float32}};
  for (int i = 0; i < 130; ++i) all.push_back({i % 9, float32});
  for (int i = 0; i < 70; ++i) all.push_back({3, float64});
  return all;
}

template <class Step>
void check_step(int states, Step step) {
  for (const int64_t shift : {0, 1}) {
    CAPTURE(states, shift);
    const Parameters here(sizes(), 0);
    std::vector<Parameters> there;
    for (int i = 0; i < 3; ++i) there.push_back(here.on(gpu, shift));
    step(cpu, here.slices(states));
    size_t order = 0;
    under_seeds([&] {
      step(gpu, there[order].slices(states));
      check_near(there[order++], here);
    });
  }
}

}  // namespace

TEST_CASE("Adam's step is the CPU's") {
  for (const bool decoupled : {false, true})
    for (const int states : {3, 7})
      check_step(states, [&](Device device, std::span<const OptimizerSlice> slices) {
        kernels::adam_step(device, slices, {1e-2, 0.9, 0.99, 1e-3, 0.1, 0.5, 0.7, 1.5, decoupled});
      });
}

TEST_CASE("SGD's step is the CPU's") {
  for (const int states : {0, 1})
    for (const bool nesterov : {false, true})
      for (const bool first : {false, true})
        check_step(states, [&](Device device, std::span<const OptimizerSlice> slices) {
          kernels::sgd_step(device, slices, {1e-2, 0.9, nesterov ? 0 : 0.2, 0.1, 1.5, nesterov, first});
        });
}

TEST_CASE("RMSprop's step is the CPU's") {
  for (const int states : {1, 3, 5, 7})
    check_step(states, [&](Device device, std::span<const OptimizerSlice> slices) {
      kernels::rmsprop_step(device, slices, {1e-2, 0.9, 1e-3, 0.1, 0.8, 1.5});
    });
}

TEST_CASE("a step takes slices with and without a state") {
  const Parameters here({{3, float32}, {3, float32}}, 0), there = here.on(gpu, 0);
  const auto mixed = [](const Parameters& p) {
    std::vector<OptimizerSlice> slices = p.slices(7);
    slices[1].state3 = nullptr;
    return slices;
  };
  const AdamArgs args = {1e-2, 0.9, 0.99, 1e-3, 0.1, 0.5, 0.7, 1.5, true};
  kernels::adam_step(cpu, mixed(here), args);
  kernels::adam_step(gpu, mixed(there), args);
  check_near(there, here);
}

TEST_CASE("gradients are scaled and measured together") {
  const Parameters here(sizes(), 0), there = here.on(gpu, 1);
  const double want = kernels::squared_norm(cpu, here.slices(0));
  CHECK(want > 0);
  std::vector<double> got;
  under_seeds([&] { got.push_back(kernels::squared_norm(gpu, there.slices(0))); });
  CHECK(std::abs(got[0] - want) <= 1e-13 * want);
  for (const double again : got) CHECK(again == got[0]);  // whatever the order of blocks and threads
  CHECK(kernels::squared_norm(gpu, {}) == 0);
  const Tensor large = full({3}, 1e30, {.device = gpu});
  const OptimizerSlice slice = {nullptr, large.raw_data(), nullptr, nullptr, nullptr, 3, float32};
  CHECK(kernels::squared_norm(gpu, {&slice, 1}) == Approx(3e60));

  kernels::scale_gradients(cpu, here.slices(0), 0.3);
  kernels::scale_gradients(gpu, there.slices(0), 0.3);
  for (size_t i = 0; i < here.tensors.size(); ++i) CHECK(same_bits(there.tensors[i][1], here.tensors[i][1]));
}
