// The ordinary way: hooks of backward fill the buckets, each is sent in its turn, the end of backward waits for all.
#include <gradus/distributed/detail/reducer.h>

#include <algorithm>
#include <utility>

#include <gradus/autograd/ops.h>
#include <gradus/core/detail/check.h>
#include <gradus/distributed/detail/group.h>
#include <gradus/distributed/heartbeat.h>

namespace gradus::dist::detail {
namespace {

std::vector<Tensor> tensors_of(const NamedTensors& named) {
  std::vector<Tensor> tensors;
  for (const NamedTensor& n : named) tensors.push_back(n.tensor);
  return tensors;
}

}  // namespace

Reducer::Reducer(const NamedTensors& parameters, const ProcessGroup& world, const DDPOptions& options)
    : world_(world),
      options_(options),
      alone_(world.size() == 1 && options.determinism == Determinism::run),
      buffers_(tensors_of(options.buffers)),
      packed_buffers_(world.size() == 1 ? std::vector<Tensor>{} : buffers_) {
  Buckets layout;
  layout.places.resize(parameters.size());
  if (!alone_) layout = make_buckets(parameters, options.edge_bucket_bytes, options.bucket_bytes, world.size());
  for (size_t i = 0; i < parameters.size(); ++i)
    parameters_.push_back({parameters[i].name, parameters[i].tensor, layout.places[i]});
  buckets_ = std::move(layout.buckets);
  sending_.resize(buckets_.size());
}

void Reducer::attach() {
  if (alone_) return;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const Parameter& p = parameters_[i];
    keep_grad_in(p.tensor, p.place.view);
    on_grad_ready(p.tensor, [self = Ref<Reducer>(this), i](const Tensor& gradient) { self->on_ready(i, gradient); });
    on_backward_failed(p.tensor, [self = Ref<Reducer>(this)] { self->on_failed(); });
  }
}

// The hooks stay with the parameters, but do nothing any more.
void Reducer::close() {
  closed_ = true;
  for (const Parameter& p : parameters_)
    if (p.tensor.requires_grad()) keep_grad_in(p.tensor, {});
  parameters_.clear();
  buckets_.clear();
  sending_.clear();
}

std::string Reducer::without_gradient(const Parameter& p) const {
  const auto ready = std::count_if(parameters_.begin(), parameters_.end(), [](const Parameter& q) { return q.ready; });
  return fmt::format(
      "DDP: '{}' had no gradient in this backward ({} of {} parameters had one); freeze what is not used before making "
      "DDP, or set .find_unused = true",
      p.name, ready, parameters_.size());
}

void Reducer::check_in_step() const {
  GRADUS_CHECK(fault_.empty(), GradError,
               "DDP: {}; the ranks are out of step since then, so start again from a checkpoint", fault_);
}

// ---- one backward
void Reducer::on_ready(size_t index, const Tensor& gradient) {
  if (closed_) return;
  if (round_ == Round::none) begin();
  Parameter& p = parameters_[index];
  GRADUS_CHECK(
      gradient.is(p.place.view), GradError,
      "DDP: the gradient of '{}' is not in its bucket; backward with create_graph is not supported, and DDP is "
      "to be made after net.to(...)",
      p.name);
  if (round_ == Round::communicate) {
    GRADUS_CHECK(!p.ready, GradError, "DDP: '{}' got a gradient twice in one backward; keep inner ones in no_sync()",
                 p.name);
    --sending_[p.place.bucket].missing;
  }
  p.ready = true;
  if (round_ == Round::communicate) send_full_buckets();
}

// Perhaps before any gradient was ready. The others wait for these, and would take this rank's next ones for them.
void Reducer::on_failed() {
  if (!closed_ && syncing && options_.determinism == Determinism::run) fall_out_of_step_by_exception();
}

void Reducer::begin() {
  GRADUS_CHECK(options_.determinism == Determinism::run || collecting_, GradError,
               "DDP: with Determinism::world_size the gradients are those of ddp.backward(x, y, loss)");
  if (!collecting_ && syncing) check_in_step();
  heartbeat("backward");
  on_backward_end([self = Ref<Reducer>(this)](bool completed) { self->end(completed); });
  start_round();
}

void Reducer::start_round() {
  ++rounds_;
  round_ = collecting_ ? Round::collect : syncing ? Round::communicate : Round::accumulate;
  for (Parameter& p : parameters_) p.ready = false;
  for (size_t b = 0; b < buckets_.size(); ++b) sending_[b].missing = buckets_[b].members.size();
  sent_ = 0;
}

// In the order of the buckets, whichever is full first: every rank sends in the same order.
void Reducer::send_full_buckets() {
  while (sent_ < buckets_.size() && sending_[sent_].missing == 0) send(sent_++);
}

void Reducer::send(size_t bucket) {
  if (bucket == 0 && !buffers_.empty()) {
    if (world_.rank() == 0) packed_buffers_.pack();
    for (const Tensor& flat : packed_buffers_.flats()) buffer_work_.push_back(world_.broadcast(flat, 0));
  }
  Sending& s = sending_[bucket];
  const Tensor& flat = buckets_[bucket].flat;
  s.wire = options_.wire && *options_.wire != flat.dtype() ? flat.to(*options_.wire) : flat;
  s.work = all_reduce_unchecked(world_, s.wire, ReduceOp::mean);
}

void Reducer::end(bool completed) {
  if (std::exchange(round_, Round::none) != Round::communicate) return;
  if (completed) return finish(options_.find_unused);
  fall_out_of_step_by_exception();
}

// In a handler.
void Reducer::fall_out_of_step_by_exception() {
  try {
    throw;
  } catch (const std::exception& e) {
    fall_out_of_step(fmt::format("a backward was ended by an exception on this rank: {}", e.what()));
  } catch (...) {
    fall_out_of_step("a backward was ended by an exception on this rank");
  }
}

// It ends what the ranks do together; the others need not wait to find out.
void Reducer::fall_out_of_step(const std::string& why) {
  if (!fault_.empty() || world_.size() == 1) return;
  fault_ = why;
  world_.handle()->fail(why);
}

// No gradient came, but the other ranks wait for this one's.
void Reducer::finish_without_backward(bool may_miss) {
  start_round();
  round_ = Round::none;
  finish(may_miss || options_.find_unused);
}

// Sends what is left, waits for all, and gives every parameter its gradient.
void Reducer::finish(bool may_miss) {
  const NoGrad no_graph;
  const auto missing =
      std::find_if(parameters_.begin(), parameters_.end(), [](const Parameter& p) { return !p.ready; });
  if (missing != parameters_.end() && !may_miss) {
    fall_out_of_step(fmt::format("'{}' had no gradient in a backward", missing->name));
    throw GradError(without_gradient(*missing));
  }
  for (const Parameter& p : parameters_)
    if (!p.ready) settle(p);
  for (Sending& s : sending_) s.missing = 0;
  send_full_buckets();
  heartbeat("all_reduce");
  const std::vector<bool> used = options_.find_unused ? used_anywhere() : std::vector<bool>(parameters_.size(), true);
  receive();
  for (size_t i = 0; i < parameters_.size(); ++i)
    parameters_[i].tensor.set_grad(used[i] ? parameters_[i].place.view : Tensor());
}

// The bucket's values for a parameter that this backward did not reach: what was there before, or zeros.
void Reducer::settle(const Parameter& p) const {
  const Tensor gradient = p.tensor.grad();
  if (!gradient.defined())
    p.place.view.zero_();
  else if (!gradient.is(p.place.view))
    p.place.view.copy_(gradient);
}

void Reducer::receive() {
  for (size_t b = 0; b < buckets_.size(); ++b) {
    sending_[b].work.wait();
    if (!sending_[b].wire.is(buckets_[b].flat)) buckets_[b].flat.copy_(sending_[b].wire);
    sending_[b].wire = {};
  }
  for (const Work& work : buffer_work_) work.wait();
  if (!buffer_work_.empty() && world_.rank() != 0) packed_buffers_.unpack();
  buffer_work_.clear();
}

std::vector<bool> Reducer::used_anywhere() {
  std::vector<int64_t> flags;
  for (const Parameter& p : parameters_) flags.push_back(p.tensor.grad().defined());
  const Tensor here = tensor(std::span<const int64_t>(flags)).to(device());
  world_.all_reduce(here, ReduceOp::max).wait();
  const Tensor all = here.to(Device::cpu());
  const int64_t* anywhere = all.data<int64_t>();
  return std::vector<bool>(anywhere, anywhere + all.numel());
}

}  // namespace gradus::dist::detail
