// The graph behind a tensor as text for Graphviz.
#include <fmt/format.h>

#include <unordered_map>

#include <gradus/autograd/autograd.h>
#include <gradus/core/detail/check.h>

namespace gradus {

std::string graph_dot(const Tensor& x) {
  detail::check_defined("graph_dot", "x", x);
  std::string nodes, edges;
  std::unordered_map<Node*, size_t> numbers;
  std::vector<Node*> open;
  const auto number = [&](Node* node) {
    const auto [it, fresh] = numbers.try_emplace(node, numbers.size());
    if (fresh) {
      open.push_back(node);
      nodes += fmt::format("  n{} [label=\"{}\\n{}{}\"{}];\n", it->second, node->op(), node->dtype(), node->shape(),
                           node->is_leaf() ? ", style=filled, fillcolor=lightblue" : "");
    }
    return it->second;
  };
  if (Node* root = Node::of(x)) number(root);
  while (!open.empty()) {
    Node* node = open.back();
    open.pop_back();
    const size_t to = numbers.at(node);
    for (const Ref<Node>& input : node->edges())
      if (input) edges += fmt::format("  n{} -> n{};\n", number(input.get()), to);
  }
  return fmt::format("digraph gradus {{\n  node [shape=box, fontname=monospace];\n{}{}}}\n", nodes, edges);
}

}  // namespace gradus
