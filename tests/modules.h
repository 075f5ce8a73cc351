// Small modules of every kind for the tests of nn, and a few words to ask them with.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "catch.h"

#include <gradus/gradus.h>

using namespace gradus;

struct Net : nn::Module {
  nn::Conv2d conv1{1, 4, 3, {.padding = 1}};
  nn::BatchNorm2d norm{4};
  nn::Linear fc{4 * 4 * 4, 3, {.bias = false}};
  nn::Dropout drop{0.5};
  float slope = 0.1f;
  Tensor forward(const Tensor& x) {                              // (B, 1, 8, 8)
    const Tensor h = max_pool2d(relu(norm(conv1(x))), 2);        // (B, 4, 4, 4)
    return fc(drop(h.flatten(1))) * static_cast<double>(slope);  // (B, 3)
  }
  GRADUS_MODULE(conv1, norm, fc, drop, slope)
};

struct Tied : nn::Module {
  nn::Embedding embedding{5, 3};
  nn::Linear head{3, 5, {.bias = false}};
  nn::Parameter scale{ones({1})};
  nn::Buffer table{arange(4)};
  nn::Buffer scratch{zeros({2}), false};
  Tied() { head.weight = embedding.weight; }
  Tensor forward(const Tensor& index) { return head(embedding(index)) * scale; }
  GRADUS_MODULE(embedding, head, scale, table, scratch)
};

struct Block : nn::Module {
  nn::Linear fc;
  std::optional<nn::Linear> shortcut;
  Block(int64_t n, bool with_shortcut) : fc(n, n) {
    if (with_shortcut) shortcut.emplace(n, n);
  }
  Tensor forward(const Tensor& x) { return relu(fc(x)) + (shortcut ? (*shortcut)(x) : x); }
  GRADUS_MODULE(fc, shortcut)
};

struct Stack : nn::Module {
  nn::ModuleList<Block> blocks{2, [] { return Block(3, false); }};
  nn::Sequential tail{nn::Linear{3, 3}, nn::Tanh{}, nn::Sequential{nn::Linear{3, 2}}};
  Tensor forward(Tensor x) {
    for (Block& block : blocks) x = block(x);
    return tail(x);
  }
  GRADUS_MODULE(blocks, tail)
};

using Names = std::vector<std::string>;
inline Names names(const NamedTensors& tensors) {
  Names found;
  for (const auto& [name, x] : tensors) found.push_back(name);
  return found;
}

inline void set(const Tensor& x, Scalar value) {
  const NoGrad no_graph;
  x.fill_(value);
}

inline double mean_of(const Tensor& x) { return mean(x.detach().to(float64)).item<double>(); }
