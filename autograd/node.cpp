// Nodes: making them, saving and fetching tensors, and letting go of long graphs without recursion.
#include <gradus/autograd/node.h>

#include <execinfo.h>

#include <cstring>
#include <new>

#include <gradus/autograd/autograd.h>
#include <gradus/autograd/detail/checkpoint_frame.h>
#include <gradus/autograd/ops.h>
#include <gradus/core/detail/check.h>

namespace gradus {

namespace detail {

bool& grad_mode() {
  thread_local bool enabled = true;
  return enabled;
}

}  // namespace detail

namespace {

thread_local int anomaly_depth = 0;

constexpr size_t aligned(size_t bytes) {
  return (bytes + alignof(std::max_align_t) - 1) & ~(alignof(std::max_align_t) - 1);
}

// The call stack as text, innermost first, without the frames inside this library.
std::string call_place() {
  void* frames[64];
  const int n = backtrace(frames, 64);
  char** names = backtrace_symbols(frames, n);
  std::string text;
  for (int i = 0; names && i < n; ++i)
    if (!std::strstr(names[i], "libgradus")) text += std::string("  ") + names[i] + '\n';
  std::free(names);
  return text;
}

}  // namespace

AnomalyMode::AnomalyMode() { ++anomaly_depth; }
AnomalyMode::~AnomalyMode() { --anomaly_depth; }
bool anomaly_enabled() { return anomaly_depth > 0; }

// ---- one block: the node, its edges, its saved tensors, the lambda's captures
Ref<Node> Node::make(const char* op, const Tensor& y, std::span<const Tensor* const> inputs, size_t saved,
                     detail::Lambda call, const void* captures, size_t captures_size) {
  const size_t edges_at = aligned(sizeof(Node)), saved_at = edges_at + inputs.size() * sizeof(Ref<Node>),
               captures_at = aligned(saved_at + saved * sizeof(detail::SavedTensor)),
               bytes = captures_at + captures_size;
  char* block = static_cast<char*>(small_allocate(bytes));
  Node* node = new (block) Node;
  node->block_bytes_ = static_cast<uint32_t>(bytes);
  node->op_ = op;
  node->call_ = call;
  node->shape_ = y.shape();
  node->dtype_ = y.dtype();
  node->device_ = y.device();
  node->num_edges_ = static_cast<uint32_t>(inputs.size());
  node->num_saved_ = static_cast<uint32_t>(saved);
  node->edges_ = new (block + edges_at) Ref<Node>[inputs.size()];
  for (size_t i = 0; i < inputs.size(); ++i)
    if (inputs[i]->defined() && inputs[i]->requires_grad()) node->edges_[i] = Ref<Node>(Node::of(*inputs[i]));
  node->saved_ = new (block + saved_at) detail::SavedTensor[saved];
  if (captures_size) node->captures_ = std::memcpy(block + captures_at, captures, captures_size);
  if (anomaly_depth > 0) node->extras().where = call_place();
  return Ref<Node>::adopt(node);
}

Ref<Node> Node::make_leaf(const Tensor& leaf) {
  Node* node = new (small_allocate(sizeof(Node))) Node;
  node->block_bytes_ = sizeof(Node);
  node->op_ = "leaf";
  node->shape_ = leaf.shape();
  node->dtype_ = leaf.dtype();
  node->device_ = leaf.device();
  return Ref<Node>::adopt(node);
}

Node::~Node() {
  for (uint32_t i = 0; i < num_saved_; ++i) saved_[i].~SavedTensor();
  for (uint32_t i = 0; i < num_edges_; ++i) edges_[i].~Ref();
  delete extras_;
}

// A node that dies inside the death of another waits in a list, so a chain of a million nodes needs no deep stack.
void Node::destroy() noexcept {
  thread_local Node* waiting = nullptr;
  thread_local bool destroying = false;
  // The captures pointer is not needed any more: it links the list.
  captures_ = waiting;
  waiting = this;
  if (destroying) return;
  destroying = true;
  while (waiting) {
    Node* node = waiting;
    waiting = static_cast<Node*>(const_cast<void*>(node->captures_));
    const size_t bytes = node->block_bytes_;
    node->~Node();
    small_free(node, bytes);
  }
  destroying = false;
}

NodeExtras& Node::extras() {
  if (!extras_) extras_ = new NodeExtras;
  return *extras_;
}

void Node::apply(Grads& out, const Tensor& g) {
  GRADUS_CHECK(
      !freed_, GradError,
      "{}: backward ran through this graph before and freed its saved tensors; pass retain_graph the first time", op_);
  call_(out, captures_, g, Saved(*this));
}

void Node::free_saved() {
  if (is_leaf()) return;
  for (detail::SavedTensor& s : saved()) {
    if (s.replay >= 0) frame->drop(s.replay);
    s.tensor = {};
  }
  freed_ = num_saved_ > 0;
}

// ---- saved tensors
Tensor Saved::operator[](size_t i) const {
  const detail::SavedTensor& s = node_.saved()[i];
  Tensor x = s.replay >= 0 ? node_.frame->get(s.replay) : s.tensor;
  if (!x.defined()) return x;
  GRADUS_CHECK(x.version() == s.version, GradError,
               "{}: a tensor saved for backward was modified in place (version {}, saved at {}); change it after "
               "backward, or use a copy",
               node_.op(), x.version(), s.version);
  if (!s.is_output) return x;
  Tensor output = x.detach();
  output.impl().node = Ref<Node>(&node_);
  output.impl().requires_grad = true;
  output.impl().is_leaf = false;
  return output;
}

bool Saved::needs(size_t i) const { return static_cast<bool>(node_.edges()[i]); }
const Shape& Saved::shape(size_t i) const { return node_.edges()[i]->shape(); }

namespace detail {

bool any_requires_grad(std::span<const Tensor* const> inputs) {
  for (const Tensor* x : inputs)
    if (x->defined() && x->requires_grad()) return true;
  return false;
}

void attach_node(const char* op, const Tensor& y, std::span<const Tensor* const> inputs,
                 std::span<const Tensor* const> saved, Lambda call, const void* captures, size_t captures_size) {
  TensorImpl& impl = y.impl();
  GRADUS_CHECK(!impl.node, GradError,
               "{}: the output handed to record() already has a history; it must be a fresh tensor", op);
  GRADUS_CHECK(is_floating(y.dtype()), DtypeError,
               "{}: an output of {} cannot be differentiated; return it without record()", op, y.dtype());
  Ref<Node> node = Node::make(op, y, inputs, saved.size(), call, captures, captures_size);
  CheckpointFrame* frame = active_frame();
  for (size_t i = 0; i < saved.size(); ++i) {
    if (!saved[i]->defined()) continue;
    SavedTensor& s = node->saved()[i];
    s.is_output = saved[i]->is(y);
    s.version = saved[i]->version();
    const bool replaying = frame && frame->replayed >= 0;
    Tensor kept = s.is_output || (replaying && frame->keep_detached) ? saved[i]->detach() : *saved[i];
    if (frame && !replaying) {
      s.replay = frame->count++;
      continue;
    }
    if (replaying) frame->receive(kept);
    s.tensor = std::move(kept);
  }
  if (frame && frame->replayed < 0) node->frame = Ref<CheckpointFrame>(frame);
  impl.node = std::move(node);
  impl.requires_grad = true;
  impl.is_leaf = false;
}

void attach_no_derivative(const char* op, const Tensor& y, std::span<const Tensor* const> inputs, const char* why) {
  struct Captures {
    const char *op, *why;
  } captures{op, why};
  attach_node(
      op, y, inputs, {},
      [](Grads&, const void* p, const Tensor&, const Saved&) {
        const auto& c = *static_cast<const Captures*>(p);
        throw GradError(fmt::format("{} has no derivative{}{}; use x.detach() before it if none is wanted", c.op,
                                    *c.why ? ": " : "", c.why));
      },
      &captures, sizeof captures);
}

// Differentiates the twin on aliases of the inputs, so that the gradient stops at them even where one input was
// computed from another; the aliases keep the inputs' history for the next order.
Grads differentiate_composite(Composite composite, const void* captures, const Tensor& g, const Saved& saved,
                              size_t n) {
  const bool create_graph = grad_enabled();
  std::vector<Tensor> aliases(n), wanted;
  std::vector<size_t> places;
  Tensor output;
  {
    const EnableGrad record_twin;
    for (size_t i = 0; i < n; ++i) {
      const Tensor x = saved[i];
      if (!x.defined() || !saved.needs(i)) {
        aliases[i] = x.defined() ? x.detach() : x;
        continue;
      }
      aliases[i] = create_graph ? alias(x) : x.detach().requires_grad_();
      wanted.push_back(aliases[i]);
      places.push_back(i);
    }
    output = composite(captures, aliases)[0];
  }
  std::vector<Tensor> result(n);
  if (!output.requires_grad()) return Grads(std::move(result));  // piecewise constant in what is wanted, as relu' is
  const std::vector<Tensor> gradients =
      grad(std::span(&output, 1), wanted, {.grad_outputs = {g}, .create_graph = create_graph, .allow_unused = true});
  for (size_t i = 0; i < places.size(); ++i) result[places[i]] = gradients[i];
  return Grads(std::move(result));
}

}  // namespace detail

}  // namespace gradus
