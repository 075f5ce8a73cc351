// Backward: one run over the graph on the calling thread. Every node that is reached belongs to the run until it ends;
// contributions are counted, and a node is applied when its last one has arrived. No map, no recursion.
#include <atomic>
#include <exception>
#include <vector>

#include <gradus/autograd/autograd.h>
#include <gradus/autograd/ops.h>
#include <gradus/core/detail/check.h>
#include <gradus/core/kernels.h>

namespace gradus {

bool anomaly_enabled();  // autograd/node.cpp

namespace {

enum NodeFlag : uint8_t { captured = 1, needed = 2 };

std::atomic<uint64_t> next_run{1};

// Whether nobody else can see the tensor's values, so that they may be changed in place.
bool sole_owner(const Tensor& x) {
  return x.handle()->use_count() == 1 && x.impl().storage->use_count() == 1 && x.is_contiguous() && !x.requires_grad();
}

// sum += x, in place where nobody can notice.
void accumulate(Tensor& sum, Tensor x) {
  if (!sum.defined()) {
    sum = std::move(x);
  } else if (!grad_enabled() && sole_owner(sum)) {
    const Tensor* inputs[] = {&sum, &x};
    kernels::elementwise(sum.device(), Elementwise::add, sum, inputs, {});
  } else {
    sum = sum + x;
  }
}

class Run {
 public:
  Run(bool retain_graph, bool create_graph)
      : retain_graph_(retain_graph || create_graph), mode_(create_graph), outer_(current) {
    current = this;
  }
  ~Run() {
    for (size_t i = 0; i < nodes_.size(); ++i) {
      Node* node = nodes_[i];
      if (i + ahead < nodes_.size()) __builtin_prefetch(&nodes_[i + ahead]->run, 1);
      node->arriving = {};
      node->pending = 0;
      node->flags = 0;
      __atomic_store_n(&node->run, 0, __ATOMIC_RELEASE);
    }
    for (Borrowed& b : borrowed_) {
      __atomic_store_n(&b.node->run, b.run, __ATOMIC_RELEASE);
      b.node->pending = b.pending;
      b.node->flags = b.flags;
      b.node->arriving = std::move(b.arriving);
    }
    current = outer_;
  }
  Run(const Run&) = delete;
  Run& operator=(const Run&) = delete;

  /// Restricts the run to what these tensors depend on nothing else for: only gradients that they need are computed.
  void capture(std::span<const Tensor> inputs) {
    restricted_ = true;
    for (const Tensor& x : inputs) {
      claim(Node::of(x));
      Node::of(x)->flags |= captured;
    }
  }

  void seed(const Tensor& root, Tensor gradient) {
    Node* node = Node::of(root);
    claim(node);
    deliver("backward", node, std::move(gradient));
    roots_.push_back(Ref<Node>(node));
  }

  /// Everything, and then the hooks that asked for the end.
  void execute() {
    try {
      differentiate();
    } catch (...) {
      tell_leaves();
      end(false);
      throw;
    }
    if (const std::exception_ptr failure = end(true)) std::rethrow_exception(failure);
  }

  /// Has the hook called at the end of the run inside which all others run.
  static void call_at_end(BackwardEndHook hook) {
    GRADUS_CHECK(current, GradError, "on_backward_end: no backward is running on this thread; call it from a hook");
    Run* outermost = current;
    while (outermost->outer_) outermost = outermost->outer_;
    outermost->at_end_.push_back(std::move(hook));
  }

  /// The captured gradient of a tensor given to capture().
  Tensor result(const Tensor& x) const {
    for (const auto& [node, gradient] : results_)
      if (node == Node::of(x)) return gradient;
    return {};
  }

 private:
  struct Borrowed {
    Node* node;
    uint64_t run;
    uint32_t pending;
    uint8_t flags;
    Tensor arriving;
  };

  void differentiate() {
    discover();
    for (const Ref<Node>& root : roots_)
      if (root->pending == 0 && !is_ready(root.get())) ready_.push_back(root.get());
    for (size_t unfetched = order_.size(); !ready_.empty();) {
      if (unfetched > ahead) fetch(order_[--unfetched - ahead]);
      Node* node = ready_.back();
      ready_.pop_back();
      Tensor g = std::move(node->arriving);
      node->arriving = {};
      if (g.defined()) visit(node, std::move(g));
      for (const Ref<Node>& next : node->edges())
        if (next && counts(next.get()) && --next->pending == 0) ready_.push_back(next.get());
    }
  }

  // In a handler: that this backward has failed.
  void tell_leaves() {
    for (Node* node : order_) {
      if (restricted_ || !node->is_leaf() || !node->has_extras()) continue;
      for (const BackwardFailedHook& hook : std::vector<BackwardFailedHook>(node->extras().on_failed)) try {
          hook();
        } catch (...) {  // the exception that ended backward goes on
        }
    }
  }

  // Calls the hooks, those too that a hook adds; returns the first of their exceptions.
  std::exception_ptr end(bool completed) {
    std::exception_ptr failure;
    for (size_t i = 0; i < at_end_.size(); ++i) {
      const BackwardEndHook hook = std::move(at_end_[i]);
      try {
        hook(completed);
      } catch (...) {
        if (!failure) failure = std::current_exception();
      }
    }
    return failure;
  }

  bool counts(const Node* node) const { return !restricted_ || (node->flags & needed); }

  bool is_ready(const Node* node) const {
    for (const Node* other : ready_)
      if (other == node) return true;
    return false;
  }

  bool owned_here(uint64_t run) const {
    for (const Run* r = outer_; r; r = r->outer_)
      if (r->id_ == run) return true;
    return false;
  }

  // Makes the node this run's. A run inside another (a hook or an op that differentiates) borrows its nodes and gives
  // them back as they were; a run of another thread is an error. Returns false when the node was ours already.
  bool claim(Node* node) {
    uint64_t owner = 0;
    if (__atomic_compare_exchange_n(&node->run, &owner, id_, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
      nodes_.push_back(node);
      return true;
    }
    if (owner == id_) return false;
    GRADUS_CHECK(
        owned_here(owner), GradError,
        "backward: another thread is differentiating the same graph (at {}); give each thread its own graph and leaves",
        node->op());
    borrowed_.push_back({node, owner, node->pending, node->flags, std::move(node->arriving)});
    node->pending = 0;
    node->flags = 0;
    node->arriving = {};
    __atomic_store_n(&node->run, id_, __ATOMIC_RELEASE);
    nodes_.push_back(node);
    return true;
  }

  // Claims all nodes behind the roots, children before parents, and counts contributions.
  void discover() {
    struct Step {
      Node* node;
      uint32_t next;
    };
    std::vector<Step> path;
    for (const Ref<Node>& root : roots_) {
      if (root->flags & visited) continue;
      root->flags |= visited;
      path.push_back({root.get(), 0});
      while (!path.empty()) {
        Step& step = path.back();
        const std::span<Ref<Node>> edges = step.node->edges();
        if (step.next == edges.size()) {
          order_.push_back(step.node);
          path.pop_back();
          continue;
        }
        Node* child = edges[step.next++].get();
        if (!child) continue;
        fetch(child);
        claim(child);
        if (!restricted_) ++child->pending;
        if (child->flags & visited) continue;
        child->flags |= visited;
        path.push_back({child, 0});
      }
    }
    if (!restricted_) return;
    for (Node* node : order_) {
      bool wanted = node->flags & captured;
      for (const Ref<Node>& next : node->edges()) wanted = wanted || (next && (next->flags & needed));
      if (!wanted) continue;
      node->flags |= needed;
      for (const Ref<Node>& next : node->edges())
        if (next && (next->flags & needed)) ++next->pending;
    }
  }

  // Brings a node, with what lies behind it in its block, into the cache. A graph of 10^5 nodes is larger than that,
  // and its lines are asked for all at once instead of one after the other.
  static void fetch(const Node* node) {
    constexpr size_t line = 64;
    for (size_t at = 0; at < sizeof(Node) + line; at += line)
      __builtin_prefetch(reinterpret_cast<const char*>(node) + at, 1);
  }

  // A node with its whole gradient.
  void visit(Node* node, Tensor g) {
    if (node->has_extras())
      for (const TensorHook& hook : std::vector<TensorHook>(node->extras().hooks))
        if (Tensor replaced = hook(g); replaced.defined()) g = std::move(replaced);
    if (node->flags & captured) results_.emplace_back(node, g);
    if (node->is_leaf()) {
      if (!restricted_) finish_leaf(node, std::move(g));
      return;
    }
    bool wanted = !restricted_;
    for (const Ref<Node>& next : node->edges()) wanted = wanted || (next && counts(next.get()));
    if (!wanted) return;
    Grads gradients;
    node->apply(gradients, g);
    g = {};
    if (!retain_graph_) node->free_saved();
    const std::span<Ref<Node>> edges = node->edges();
    GRADUS_CHECK(gradients.size() == edges.size(), GradError, "{}: backward returned {} gradients for {} inputs",
                 node->op(), gradients.size(), edges.size());
    for (size_t i = 0; i < edges.size(); ++i) {
      if (!edges[i] || !counts(edges[i].get()) || !gradients[i].defined()) continue;
      if (anomaly_enabled()) check_finite(node, gradients[i], i);
      deliver(node->op(), edges[i].get(), std::move(gradients[i]));
    }
  }

  static void check_finite(Node* node, const Tensor& g, size_t i) {
    const NoGrad no_graph;
    if (all(isfinite(g)).item<bool>()) return;
    throw GradError(fmt::format(
        "anomaly: backward of {} gave a NaN or an infinity for input {}; the op was called at\n{}", node->op(), i,
        node->has_extras() ? node->extras().where : "  (recorded outside of AnomalyMode)\n"));
  }

  // Adds a contribution, summed down to the input's shape when the op broadcast it.
  void deliver(const char* op, Node* node, Tensor g) {
    GRADUS_CHECK(g.dtype() == node->dtype(), DtypeError, "{}: backward returned a gradient of {} for an input of {}",
                 op, g.dtype(), node->dtype());
    GRADUS_CHECK(g.device() == node->device(), DeviceError, "{}: backward returned a gradient on {} for an input on {}",
                 op, g.device(), node->device());
    if (!(g.shape() == node->shape())) g = sum_to(g, node->shape());
    accumulate(node->arriving, std::move(g));
  }

  // Where the leaf's gradient belongs, if that is given and a gradient without history can be there.
  static const Tensor* home_of(Node* node) {
    if (!node->has_extras() || grad_enabled()) return nullptr;
    const Tensor& home = node->extras().home;
    return home.defined() && home.device() == node->device() && home.dtype() == node->dtype() ? &home : nullptr;
  }

  // The leaf's gradient is complete: add it to grad(), and tell who waits for it.
  void finish_leaf(Node* node, Tensor g) {
    const Tensor* home = home_of(node);
    if (home && node->gradient.defined() && !node->gradient.is(*home)) node->gradient = copied(*home, node->gradient);
    if (!node->gradient.defined()) {
      node->gradient = home                              ? copied(*home, g)
                       : grad_enabled() || sole_owner(g) ? std::move(g)
                                                         : copied(empty_like(g), g);
    } else if (grad_enabled()) {
      node->gradient = node->gradient + g;
    } else {
      const Tensor* inputs[] = {&node->gradient, &g};
      node->gradient.impl().storage->bump_version();
      kernels::elementwise(g.device(), Elementwise::add, node->gradient, inputs, {});
    }
    if (node->has_extras())
      for (const GradReadyHook& hook : std::vector<GradReadyHook>(node->extras().on_ready)) hook(node->gradient);
  }

  static Tensor copied(Tensor to, const Tensor& from) {
    to.impl().storage->bump_version();
    kernels::copy(to.device(), to, from);
    return to;
  }

  static constexpr uint8_t visited = 4;
  static constexpr size_t ahead = 8;  // how many nodes before its turn one is fetched into the cache
  static thread_local Run* current;

  const uint64_t id_ = next_run.fetch_add(1);
  bool retain_graph_, restricted_ = false;
  GradMode mode_;
  Run* outer_;
  std::vector<Node*> nodes_;
  std::vector<Node*> order_;  // inputs before what is computed from them; about the reverse of how nodes become ready
  std::vector<Borrowed> borrowed_;
  std::vector<Ref<Node>> roots_;
  std::vector<Node*> ready_;
  std::vector<std::pair<Node*, Tensor>> results_;
  std::vector<BackwardEndHook> at_end_;
};
thread_local Run* Run::current = nullptr;

void check_differentiable(const char* op, const Tensor& x) {
  detail::check_defined(op, "the tensor", x);
  GRADUS_CHECK(x.requires_grad(), GradError,
               "{}: the tensor {}{} does not require grad; make a leaf behind it with requires_grad_(), and check for "
               "NoGrad or detach()",
               op, x.dtype(), x.shape());
}

Tensor seed_for(const char* op, const Tensor& root, const Tensor& gradient) {
  if (gradient.defined()) {
    GRADUS_CHECK(gradient.shape() == root.shape(), ShapeError, "{}: the gradient is {}, the tensor {}", op,
                 gradient.shape(), root.shape());
    return gradient;
  }
  GRADUS_CHECK(root.numel() == 1, ShapeError,
               "{}: want a tensor of one element, got {}; take mean() or sum(), or give the gradient", op,
               root.shape());
  return ones_like(root);
}

}  // namespace

void on_backward_end(BackwardEndHook hook) { Run::call_at_end(std::move(hook)); }

void Tensor::backward() const { backward({}); }

void Tensor::backward(const Tensor& gradient, bool retain_graph, bool create_graph) const {
  check_differentiable("backward", *this);
  Run run(retain_graph, create_graph);
  run.seed(*this, seed_for("backward", *this, gradient));
  run.execute();
}

std::vector<Tensor> grad(std::span<const Tensor> outputs, std::span<const Tensor> inputs, const GradOptions& options) {
  GRADUS_CHECK(options.grad_outputs.empty() || options.grad_outputs.size() == outputs.size(), ValueError,
               "grad: {} grad_outputs for {} outputs", options.grad_outputs.size(), outputs.size());
  for (const Tensor& x : outputs) check_differentiable("grad", x);
  for (const Tensor& x : inputs) check_differentiable("grad", x);
  Run run(options.retain_graph, options.create_graph);
  run.capture(inputs);
  for (size_t i = 0; i < outputs.size(); ++i)
    run.seed(outputs[i],
             seed_for("grad", outputs[i], options.grad_outputs.empty() ? Tensor() : options.grad_outputs[i]));
  run.execute();
  std::vector<Tensor> results;
  for (size_t i = 0; i < inputs.size(); ++i) {
    results.push_back(run.result(inputs[i]));
    GRADUS_CHECK(results.back().defined() || options.allow_unused, GradError,
                 "grad: input {} does not matter for the outputs; set allow_unused to get an undefined gradient", i);
  }
  return results;
}

Tensor grad(const Tensor& output, const Tensor& input, const GradOptions& options) {
  return grad(std::span(&output, 1), std::span(&input, 1), options)[0];
}

}  // namespace gradus
