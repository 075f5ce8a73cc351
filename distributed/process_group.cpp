// The face of process groups: checks what the user gives and makes operations of it. Where these are run is in detail/.
#include <gradus/distributed/process_group.h>

#include <csignal>
#include <numeric>

#include <gradus/autograd/detail/inplace.h>
#include <gradus/autograd/grad_mode.h>
#include <gradus/core/detail/check.h>
#include <gradus/core/factories.h>
#include <gradus/distributed/detail/error_file.h>
#include <gradus/distributed/detail/group.h>

namespace gradus::dist {

using detail::Collective;
using detail::Group;
using detail::Op;
using detail::Task;

// ---- handles

Work::Work() = default;
Work::Work(Ref<Task> task) : task_(std::move(task)) {}
Work::Work(const Work&) = default;
Work::Work(Work&&) noexcept = default;
Work& Work::operator=(Work other) noexcept {
  std::swap(task_, other.task_);
  return *this;
}
Work::~Work() = default;
bool Work::done() const { return !task_ || task_->done(); }
void Work::wait() const {
  if (task_) task_->wait();
}

ProcessGroup::ProcessGroup() : group_(make_ref<Group>(Env{})) {}
ProcessGroup::ProcessGroup(Ref<Group> group) : group_(std::move(group)) {}
ProcessGroup::ProcessGroup(const ProcessGroup&) = default;
ProcessGroup::ProcessGroup(ProcessGroup&&) noexcept = default;
ProcessGroup& ProcessGroup::operator=(ProcessGroup other) noexcept {
  std::swap(group_, other.group_);
  return *this;
}
ProcessGroup::~ProcessGroup() = default;

int ProcessGroup::rank() const { return group_->rank; }
int ProcessGroup::size() const { return group_->size; }
Device ProcessGroup::device() const { return group_->env.device(); }
const Env& ProcessGroup::env() const { return group_->env; }
void ProcessGroup::close() const { group_->close(); }

namespace {

// ---- checks

void check_operand(Op op, const char* argument, const Tensor& x) {
  gradus::detail::check_defined(name(op), argument, x);
  GRADUS_CHECK(x.is_contiguous(), ShapeError, "{}: {} of shape {} is not contiguous; give x.contiguous()", name(op),
               argument, x.shape());
}

void check_target(Op op, const char* argument, const Tensor& x) {
  check_operand(op, argument, x);
  gradus::detail::check_in_place(name(op), x);
}

void check_reduction(Op op, Dtype dtype, ReduceOp reduce) {
  GRADUS_CHECK(reduce != ReduceOp::mean || is_floating(dtype), DtypeError,
               "{}: the mean of {} tensors; convert to a floating dtype, or take the sum", name(op), dtype);
  GRADUS_CHECK(dtype != boolean || reduce == ReduceOp::min || reduce == ReduceOp::max, DtypeError,
               "{}: the {} of boolean tensors; take min for «and», max for «or»", name(op), detail::name(reduce));
}

void check_rank(Op op, const char* argument, int rank, const Group& group) {
  GRADUS_CHECK(0 <= rank && rank < group.size, ValueError, "{}: {} is {}; the group has ranks 0 to {}", name(op),
               argument, rank, group.size - 1);
}

void check_timeout(const char* who, double timeout, double least) {
  constexpr double year = 365 * 86400;
  GRADUS_CHECK(least <= timeout && timeout <= year, ValueError, "{}: timeout is {} seconds; want {} to {}", who,
               timeout, least, year);
}

// `all` is n parts like x, one after the other.
void check_parts(Op op, const char* all_name, const Tensor& all, const char* part_name, const Tensor& part, int n) {
  GRADUS_CHECK(all.dtype() == part.dtype(), DtypeError, "{}: {} is {}, {} is {}; want the same", name(op), all_name,
               all.dtype(), part_name, part.dtype());
  GRADUS_CHECK(all.device() == part.device(), DeviceError, "{}: {} is on {}, {} on {}; want the same", name(op),
               all_name, all.device(), part_name, part.device());
  Shape want = part.rank() == 0 ? Shape{1} : part.shape();
  want[0] *= n;
  GRADUS_CHECK(all.shape() == want, ShapeError, "{}: {} has shape {}; for {} of shape {} and {} ranks want {}",
               name(op), all_name, all.shape(), part_name, part.shape(), n, want);
}

// Both are contiguous.
void check_apart(Op op, const char* a_name, const Tensor& a, const char* b_name, const Tensor& b) {
  const auto begin = [](const Tensor& x) { return static_cast<const char*>(x.raw_data()); };
  const auto end = [&](const Tensor& x) { return begin(x) + x.nbytes(); };
  GRADUS_CHECK(end(a) <= begin(b) || end(b) <= begin(a), ValueError,
               "{}: {} and {} share memory, which is read and written at the same time; give one of them a clone()",
               name(op), a_name, b_name);
}

// A part may lie where it belongs in the whole, but nowhere else.
void check_place(Op op, const Tensor& all, const Tensor& x, int rank) {
  if (x.raw_data() != static_cast<const char*>(all.raw_data()) + rank * x.nbytes()) check_apart(op, "all", all, "x", x);
}

// ---- one process

// What a group of one does: its part is the whole.
Work copied(const Tensor& to, const Tensor& from) {
  const NoGrad no_graph;
  to.copy_(reshaped(from, to.shape()));
  return Work();
}

Work begun(Group& group, const Collective& collective, const Tensor& first, const Tensor& second = {}) {
  return Work(group.channel().begin(collective, first, second));
}

Work all_reduce_as(Group& group, const Tensor& x, ReduceOp reduce, bool checked) {
  check_target(Op::all_reduce, "x", x);
  check_reduction(Op::all_reduce, x.dtype(), reduce);
  if (group.alone()) return Work();
  return begun(group,
               {.op = Op::all_reduce,
                .reduce = reduce,
                .dtype = x.dtype(),
                .checked = checked,
                .count = x.numel(),
                .out = x.mutable_raw_data()},
               x);
}

}  // namespace

// ---- operations

Work ProcessGroup::all_reduce(const Tensor& x, ReduceOp op) const { return all_reduce_as(*group_, x, op, true); }

Work detail::all_reduce_unchecked(const ProcessGroup& group, const Tensor& x, ReduceOp op) {
  return all_reduce_as(*group.handle(), x, op, false);
}

Work ProcessGroup::broadcast(const Tensor& x, int root) const {
  check_target(Op::broadcast, "x", x);
  check_rank(Op::broadcast, "root", root, *group_);
  if (group_->alone()) return Work();
  return begun(*group_,
               {.op = Op::broadcast, .dtype = x.dtype(), .root = root, .count = x.numel(), .out = x.mutable_raw_data()},
               x);
}

Work ProcessGroup::reduce(const Tensor& x, int root, ReduceOp op) const {
  check_target(Op::reduce, "x", x);
  check_rank(Op::reduce, "root", root, *group_);
  check_reduction(Op::reduce, x.dtype(), op);
  if (group_->alone()) return Work();
  const bool is_root = rank() == root;
  return begun(*group_,
               {.op = Op::reduce,
                .reduce = op,
                .dtype = x.dtype(),
                .root = root,
                .count = x.numel(),
                .in = x.raw_data(),
                .out = is_root ? x.mutable_raw_data() : nullptr},
               x);
}

Work ProcessGroup::all_gather(const Tensor& all, const Tensor& x) const {
  check_target(Op::all_gather, "all", all);
  check_operand(Op::all_gather, "x", x);
  check_parts(Op::all_gather, "all", all, "x", x, size());
  if (group_->alone()) return copied(all, x);
  check_place(Op::all_gather, all, x, rank());
  return begun(
      *group_,
      {.op = Op::all_gather, .dtype = x.dtype(), .count = x.numel(), .in = x.raw_data(), .out = all.mutable_raw_data()},
      x, all);
}

Work ProcessGroup::reduce_scatter(const Tensor& x, const Tensor& all, ReduceOp op) const {
  check_target(Op::reduce_scatter, "x", x);
  check_operand(Op::reduce_scatter, "all", all);
  check_parts(Op::reduce_scatter, "all", all, "x", x, size());
  check_reduction(Op::reduce_scatter, x.dtype(), op);
  if (group_->alone()) return copied(x, all);
  check_place(Op::reduce_scatter, all, x, rank());
  return begun(*group_,
               {.op = Op::reduce_scatter,
                .reduce = op,
                .dtype = x.dtype(),
                .count = x.numel(),
                .in = all.raw_data(),
                .out = x.mutable_raw_data()},
               x, all);
}

Work ProcessGroup::all_to_all(const Tensor& to, const Tensor& from) const {
  check_target(Op::all_to_all, "to", to);
  check_operand(Op::all_to_all, "from", from);
  check_parts(Op::all_to_all, "to", to, "from", from, 1);
  GRADUS_CHECK(from.rank() > 0 && from.size(0) % size() == 0, ShapeError,
               "all_to_all: from has shape {}; its first size must be a multiple of the {} ranks", from.shape(),
               size());
  if (group_->alone()) return copied(to, from);
  check_apart(Op::all_to_all, "to", to, "from", from);
  return begun(*group_,
               {.op = Op::all_to_all,
                .dtype = to.dtype(),
                .count = to.numel() / size(),
                .in = from.raw_data(),
                .out = to.mutable_raw_data()},
               to, from);
}

Work ProcessGroup::gather(const Tensor& all, const Tensor& x, int root) const {
  check_operand(Op::gather, "x", x);
  check_rank(Op::gather, "root", root, *group_);
  const bool is_root = rank() == root;
  if (is_root) {
    check_target(Op::gather, "all", all);
    check_parts(Op::gather, "all", all, "x", x, size());
  }
  if (group_->alone()) return copied(all, x);
  if (is_root) check_place(Op::gather, all, x, root);
  return begun(*group_,
               {.op = Op::gather,
                .dtype = x.dtype(),
                .root = root,
                .count = x.numel(),
                .in = x.raw_data(),
                .out = is_root ? all.mutable_raw_data() : nullptr},
               x, all);
}

Work ProcessGroup::scatter(const Tensor& x, const Tensor& all, int root) const {
  check_target(Op::scatter, "x", x);
  check_rank(Op::scatter, "root", root, *group_);
  const bool is_root = rank() == root;
  if (is_root) {
    check_operand(Op::scatter, "all", all);
    check_parts(Op::scatter, "all", all, "x", x, size());
  }
  if (group_->alone()) return copied(x, all);
  if (is_root) check_place(Op::scatter, all, x, root);
  return begun(*group_,
               {.op = Op::scatter,
                .dtype = x.dtype(),
                .root = root,
                .count = x.numel(),
                .in = is_root ? all.raw_data() : nullptr,
                .out = x.mutable_raw_data()},
               x, all);
}

Work ProcessGroup::send(const Tensor& x, int to) const {
  check_operand(Op::send, "x", x);
  check_rank(Op::send, "to", to, *group_);
  GRADUS_CHECK(to != rank(), ValueError, "send: to is this rank, {}; copy the tensor instead", to);
  return begun(*group_, {.op = Op::send, .dtype = x.dtype(), .root = to, .count = x.numel(), .in = x.raw_data()}, x);
}

Work ProcessGroup::recv(const Tensor& x, int from) const {
  check_target(Op::recv, "x", x);
  check_rank(Op::recv, "from", from, *group_);
  GRADUS_CHECK(from != rank(), ValueError, "recv: from is this rank, {}; copy the tensor instead", from);
  return begun(*group_,
               {.op = Op::recv, .dtype = x.dtype(), .root = from, .count = x.numel(), .out = x.mutable_raw_data()}, x);
}

void ProcessGroup::barrier() const {
  if (!group_->alone()) begun(*group_, {.op = Op::barrier}, {}).wait();
}

std::vector<std::string> ProcessGroup::all_gather_text(const std::string& text) const {
  const NoGrad no_graph;
  const auto length = static_cast<int64_t>(text.size());
  const Tensor mine = full({1}, length, {.dtype = int64}), lengths = empty({size()}, {.dtype = int64});
  all_gather(lengths, mine).wait();
  const std::span all(lengths.data<int64_t>(), static_cast<size_t>(size()));
  const int64_t longest = *std::max_element(all.begin(), all.end());
  const Tensor padded = zeros({longest}, {.dtype = uint8}), bytes = empty({size() * longest}, {.dtype = uint8});
  std::copy(text.begin(), text.end(), static_cast<char*>(padded.mutable_raw_data()));
  all_gather(bytes, padded).wait();
  std::vector<std::string> texts;
  for (size_t r = 0; r < all.size(); ++r)
    texts.emplace_back(static_cast<const char*>(bytes.raw_data()) + static_cast<int64_t>(r) * longest,
                       static_cast<size_t>(all[r]));
  return texts;
}

ProcessGroup ProcessGroup::split(int color, const SplitOptions& options) const {
  check_timeout("split", options.timeout, 0);
  GRADUS_CHECK(color >= -1, ValueError, "split: color is {}; want 0 or more, or -1 for a group of this process alone",
               color);
  const NoGrad no_graph;
  const Tensor mine = full({1}, color, {.dtype = int64}), colors = empty({size()}, {.dtype = int64});
  all_gather(colors, mine).wait();
  std::vector<int> members;
  int place = 0;
  for (int r = 0; r < size(); ++r) {
    if (colors.data<int64_t>()[r] != color) continue;
    if (r == rank()) place = static_cast<int>(members.size());
    members.push_back(r);
  }
  if (color < 0) members = {rank()};
  return ProcessGroup(group_->subgroup(color, members, place, options.timeout));
}

std::string flight_record(const ProcessGroup& group) {
  return group.handle()->alone() ? std::string() : group.handle()->channel().record();
}

ProcessGroup init(const InitOptions& options) {
  const Env& env = options.env;
  GRADUS_CHECK(env.size >= 1 && 0 <= env.rank && env.rank < env.size, ValueError,
               "init: rank {} of {} processes; want a rank below the number of processes", env.rank, env.size);
  check_timeout("init", options.timeout, 1e-3);
  detail::write_uncaught_errors(env.rank);
  if (env.size == 1) return ProcessGroup(make_ref<Group>(env));
  detail::gloo();  // what is missing is told before anybody waits for others, and once
  // A rank that has died is an error, not a signal. A program's own handler stays.
  struct sigaction present {};
  if (sigaction(SIGPIPE, nullptr, &present) == 0 && present.sa_handler == SIG_DFL) std::signal(SIGPIPE, SIG_IGN);
  std::vector<int> ranks(static_cast<size_t>(env.size));
  std::iota(ranks.begin(), ranks.end(), 0);
  return ProcessGroup(
      make_ref<Group>(make_ref<detail::Job>(env, options.timeout), "world", std::move(ranks), env.rank, 0));
}

}  // namespace gradus::dist
