// The smallest program that differentiates something: start-up time and compile time are measured on it.
#include <gradus/gradus.h>

#include <cstdio>

int main() {
  const gradus::Tensor x = gradus::ones({2, 2}, {.requires_grad = true});
  sum(x * x).backward();
  std::printf("{\"id\": \"hello\", \"value\": %g, \"unit\": \"\", \"version\": \"Gradus %s\"}\n",
              sum(x.grad()).item<double>(), GRADUS_VERSION);
}
