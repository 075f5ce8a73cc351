// The smallest program of a user: a gradient, an error caught by its type across the library's border, the version.
#include <gradus/gradus.h>
#include <gradus/version.h>

#include <cstdio>

int main() {
  gradus::Tensor x = gradus::full({2, 3}, 2.0, {.requires_grad = true});
  gradus::Tensor loss = gradus::sum(x * x);
  loss.backward();
  bool caught = false;
  try {
    gradus::matmul(x, x);
  } catch (const gradus::ShapeError& error) {
    caught = true;
  }
  std::printf("gradus %s: loss %g, gradient %g, error %s\n", GRADUS_VERSION, static_cast<double>(loss.item<float>()),
              static_cast<double>(x.grad()[0][0].item<float>()), caught ? "caught" : "missed");
}
