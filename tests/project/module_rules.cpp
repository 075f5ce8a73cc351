// What must not compile in a user's module; tests/project/module_rules_test compiles it once for each CASE. Case 0
// must.
#include <gradus/nn/containers.h>
#include <gradus/nn/layers.h>

using namespace gradus;

struct Net : nn::Module {
  nn::Linear fc1{4, 4}, fc2{4, 2};
  float slope = 0.1f;
  bool flag = false;
  std::optional<nn::Linear> extra;
#if CASE == 2
  Tensor table;
#elif CASE == 3
  std::vector<nn::Linear> list;
#elif CASE == 4
  nn::Linear* borrowed = nullptr;
#endif
  Tensor forward(const Tensor& x) { return fc2(fc1(x)); }

#if CASE == 0 || CASE > 5
  GRADUS_MODULE(fc1, fc2, slope, flag, extra)
#elif CASE == 1
  GRADUS_MODULE(fc1, slope, flag, extra)
#elif CASE == 2
  GRADUS_MODULE(fc1, fc2, slope, flag, extra, table)
#elif CASE == 3
  GRADUS_MODULE(fc1, fc2, slope, flag, extra, list)
#elif CASE == 4
  GRADUS_MODULE(fc1, fc2, slope, flag, extra, borrowed)
#endif
};

int main() {
  Net net, other;
#if CASE == 6
  other = net;
#elif CASE == 7
  nn::Linear layer{4, 4};
  nn::Sequential sequential{layer, nn::ReLU{}};
#else
  other = std::move(net);
#endif
}
