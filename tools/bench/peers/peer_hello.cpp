// The smallest LibTorch program that differentiates something: start-up time and compile time are measured on it.
#include <torch/torch.h>

#include <cstdio>

int main() {
  const torch::Tensor x = torch::ones({2, 2}, torch::requires_grad());
  (x * x).sum().backward();
  std::printf("{\"id\": \"hello\", \"value\": %g, \"unit\": \"\", \"version\": \"LibTorch %s\"}\n",
              x.grad().sum().item<double>(), TORCH_VERSION);
}
