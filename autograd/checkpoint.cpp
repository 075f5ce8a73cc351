// checkpoint(): the nodes of the function are recorded as ever, but where they would save a tensor they note its
// number. When backward first asks for one, the function runs again and the tensors are collected in the same order.
#include <gradus/autograd/detail/checkpoint_frame.h>
#include <gradus/core/detail/check.h>
#include <gradus/core/random.h>

namespace gradus {
namespace detail {

CheckpointFrame*& active_frame() {
  thread_local CheckpointFrame* frame = nullptr;
  return frame;
}

namespace {

thread_local bool recomputing = false;

// Another value in a variable of the thread, for a scope.
template <class T>
class Replaced {
 public:
  Replaced(T& place, T value) : place_(place), before_(place) { place_ = value; }
  ~Replaced() { place_ = before_; }
  Replaced(const Replaced&) = delete;
  Replaced& operator=(const Replaced&) = delete;

 private:
  T& place_;
  T before_;
};

// Puts the generator where it was for a scope.
class GeneratorScope {
 public:
  GeneratorScope(uint64_t seed, uint64_t offset) : before_(default_generator().state_dict()) {
    default_generator().seek(seed, offset);
  }
  ~GeneratorScope() { default_generator().load_state_dict(before_); }
  GeneratorScope(const GeneratorScope&) = delete;
  GeneratorScope& operator=(const GeneratorScope&) = delete;

 private:
  NamedTensors before_;
};

}  // namespace

Tensor CheckpointFrame::get(int32_t i) {
  if (tensors.empty() || !tensors[static_cast<size_t>(i)].defined()) replay();
  return tensors[static_cast<size_t>(i)];
}

void CheckpointFrame::drop(int32_t i) {
  if (!tensors.empty()) tensors[static_cast<size_t>(i)] = {};
}

void CheckpointFrame::receive(const Tensor& x) {
  GRADUS_CHECK(
      replayed < count, GradError,
      "checkpoint: the function saved more tensors when run again ({} the first time); it must compute the same",
      count);
  tensors[static_cast<size_t>(replayed++)] = x;
}

void CheckpointFrame::replay() {
  keep_detached = !grad_enabled();
  tensors.assign(static_cast<size_t>(count), {});
  replayed = 0;
  struct Done {
    int32_t& replayed;
    ~Done() { replayed = -1; }
  } done{replayed};
  const Replaced<CheckpointFrame*> running(active_frame(), this);
  const Replaced second_run(recomputing, true);
  const GeneratorScope generator(seed, offset);
  const EnableGrad enable;
  function(inputs);
  GRADUS_CHECK(replayed == count, GradError,
               "checkpoint: the function saved {} tensors when run again, {} the first time; it must compute the same",
               replayed, count);
}

}  // namespace detail

bool is_recomputing() { return detail::recomputing; }

Tensor checkpoint(const TensorFunction& function, const std::vector<Tensor>& inputs) {
  if (!grad_enabled()) return function(inputs);
  const auto frame = make_ref<detail::CheckpointFrame>();
  frame->function = function;
  frame->inputs = inputs;
  frame->seed = default_generator().seed();
  frame->offset = default_generator().offset();
  const detail::Replaced running(detail::active_frame(), frame.get());
  return function(inputs);
}

}  // namespace gradus
