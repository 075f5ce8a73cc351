// The life of an operation: numbered, queued, compared with the other ranks', run, ended.
#include <gradus/distributed/detail/channel.h>

#include <algorithm>
#include <system_error>
#include <utility>

#include <gradus/core/detail/check.h>
#include <gradus/distributed/detail/quiet_thread.h>

namespace gradus::dist::detail {
namespace {

constexpr std::chrono::milliseconds device_tick{1};  // between two looks at what the device has done

}  // namespace

Channel::Channel(Ref<Job> job, std::string name_, std::vector<int> ranks, int rank, double timeout_)
    : name(std::move(name_)),
      timeout(timeout_),
      job_(std::move(job)),
      ranks_(std::move(ranks)),
      rank_(rank),
      pair_seq_(ranks_.size()) {
  job_->add(*this);
}

Ref<Task> Channel::begin(Collective collective, const Tensor& first, const Tensor& second) {
  const std::lock_guard lock(mutex_);
  if (error_)
    throw CommError(
        fmt::format("{}: the group is closed after a failure: {}", detail::name(collective.op), error_->what()),
        error_->kind, error_->rank, detail::name(collective.op));
  if (closing_)
    throw CommError(fmt::format("{}: the group was closed by close()", detail::name(collective.op)),
                    CommError::Kind::aborted, -1, detail::name(collective.op));
  if (first.defined()) bind(collective.op, collective.device = first.device());
  start_thread();
  const bool pairwise = is_pairwise(collective.op);
  collective.seq = pairwise ? ++pair_seq_[static_cast<size_t>(collective.root)] : ++seq_;
  if (collective.root >= 0) collective.root_in_job = ranks_[static_cast<size_t>(collective.root)];
  collective.timeout = timeout;
  collective.tag = fingerprint(collective).tag;
  auto task = make_ref<Task>(collective, first, second);
  task->record = recorder_.add(collective);
  queue_.push_back(task);
  changed_.notify_all();
  return task;
}

void Channel::start_thread() {
  if (thread_.joinable()) return;
  try {
    thread_ = quiet_thread([self = Ref<Channel>(this)] { self->work(); });
  } catch (const std::system_error& error) {
    throw CommError(fmt::format("the group cannot start a thread: {}", error.what()));
  }
}

// One device for as long as the group lives: a communicator belongs to one.
void Channel::bind(Op op, Device device) {
  if (device.is_cpu()) return;
  if (!bound_) {
    nccl();
    bound_ = device;
  }
  GRADUS_CHECK(*bound_ == device, DeviceError,
               "{}: the tensor is on {}, and this group has worked on {} before; a rank keeps to one device, so use "
               "x.to({}), or a group of its own by split()",
               detail::name(op), device, *bound_, *bound_);
}

void Channel::close() {
  std::unique_lock lock(mutex_);
  closing_ = true;
  changed_.notify_all();
  if (thread_.joinable()) {
    // Every operation has a deadline, so this ends. A failed one may still hang in the engine.
    changed_.wait(lock, [this] { return ended_ || error_; });
    changed_.wait_for(lock, std::chrono::seconds(1), [this] { return ended_; });
  }
  const bool ended = ended_;
  std::thread thread = std::move(thread_);  // of several callers one has it
  lock.unlock();
  if (thread.joinable()) ended ? thread.join() : thread.detach();  // it owns this channel, the engine and the tensors
  job_->remove(*this);
}

std::string Channel::record() const {
  const std::lock_guard lock(mutex_);
  return recorder_.text();
}

std::optional<Stuck> Channel::overdue(double within) const {
  const std::lock_guard lock(mutex_);
  if (error_) return {};
  Ref<Task> late = running_ && deadline_.left() <= within ? running_ : nullptr;
  if (!late && device_queue_) late = device_queue_->overdue(within);
  if (!late) return {};
  const Collective& c = late->collective;
  return Stuck{name, c, is_pairwise(c.op) ? std::vector{c.root_in_job} : ranks_};
}

Ref<Task> Channel::lingering() {
  const std::lock_guard lock(mutex_);
  Ref<Task> task;
  if (!error_) task = current();
  const size_t number = task ? task->record + 1 : 0;
  return std::exchange(lingering_, number) == number ? task : nullptr;
}

// What this rank is doing, or has its device doing.
Ref<Task> Channel::current() const { return running_ || !device_queue_ ? running_ : device_queue_->oldest(); }

std::optional<Stuck> Channel::deserted(const Collective& c) {
  Stuck stuck{name, c, {}};
  const std::lock_guard lock(engine_mutex_);
  if (engine_)
    for (const int rank : engine_->lost_ranks())
      if (!is_pairwise(c.op) || rank == c.root) stuck.ranks.push_back(ranks_[static_cast<size_t>(rank)]);
  if (stuck.ranks.empty()) return {};
  return stuck;
}

std::optional<std::string> Channel::difference(const Collective& c) {
  if (is_pairwise(c.op) || !c.checked) return {};
  std::vector<Fingerprint> all;
  {
    const std::lock_guard lock(engine_mutex_);
    if (engine_) all = engine_->peek();
  }
  const Fingerprint mine = fingerprint(c);
  if (all.empty() || all[static_cast<size_t>(rank_)] != mine) return {};  // another operation's by now
  bool differs = false;
  for (Fingerprint& f : all) {
    if (f.tag != tag_of(f)) f = {};  // has not arrived
    differs = differs || (f.seq != 0 && f != mine);
  }
  if (!differs) return {};
  return describe_difference(all);
}

Progress Channel::progress() const {
  const std::lock_guard lock(mutex_);
  Progress progress{begun_, done_};
  if (const Ref<Task> task = current(); task && !is_pairwise(task->collective.op)) progress.running = task->collective;
  return progress;
}

// Who hears of the failure may use the tensors at once, so the engine lets go of them first. One that is not connected
// yet will find the error.
std::optional<LastRecord> Channel::fail(const CommError& why) {
  const std::lock_guard engine_lock(engine_mutex_);
  if (engine_) engine_->abort();
  const std::lock_guard lock(mutex_);
  if (error_) return {};
  error_.emplace(why.what(), why.kind, rank_in_group(why.rank));
  changed_.notify_all();
  const auto end = [&](Task& task) {
    const Collective& c = task.collective;
    recorder_.set(task.record, FlightRecorder::State::failed);
    task.fail(CommError(fmt::format("{} #{}: {}", detail::name(c.op), c.seq, why.what()), why.kind, error_->rank,
                        detail::name(c.op), c.seq));
  };
  if (running_) end(*running_);
  for (const Ref<Task>& task : queue_) end(*task);
  queue_.clear();
  if (device_queue_) {
    for (const Ref<Task>& task : device_queue_->tasks()) end(*task);
    device_queue_->abort();
  }
  return LastRecord{name, why.what(), ranks_[static_cast<size_t>(rank_)], recorder_};
}

int Channel::rank_in_group(int rank_in_job) const {
  const auto found = std::find(ranks_.begin(), ranks_.end(), rank_in_job);
  return found == ranks_.end() ? -1 : static_cast<int>(found - ranks_.begin());
}

// ---- the thread

void Channel::work() {
  try {
    while (const Ref<Task> task = next()) {
      run(task);
      settle();
    }
  } catch (const std::exception& error) {
    report(error);  // then all channels have failed, this one, too
  }
  if (!failed()) job_->tell_left(name, progress().done);  // before the connections end
  if (device_queue_) device_queue_->close();
  Box<Engine> engine;
  {
    const std::lock_guard lock(engine_mutex_);
    engine = std::move(engine_);
  }
  engine = {};
  const std::lock_guard lock(mutex_);
  running_ = nullptr;
  ended_ = true;
  changed_.notify_all();
}

bool Channel::failed() const {
  const std::lock_guard lock(mutex_);
  return error_.has_value();
}

Ref<Task> Channel::next() {
  std::unique_lock lock(mutex_);
  while (queue_.empty() && !error_ && device_queue_ && !device_queue_->empty()) {
    changed_.wait_for(lock, device_tick, [this] { return !queue_.empty() || error_; });
    lock.unlock();
    settle();
    lock.lock();
  }
  changed_.wait(lock, [this] { return !queue_.empty() || closing_ || error_; });
  if (error_ || queue_.empty()) return nullptr;
  running_ = queue_.front();
  queue_.pop_front();
  const Collective& c = running_->collective;
  deadline_ = Deadline(c.timeout);
  if (!is_pairwise(c.op)) begun_ = c.seq;
  recorder_.set(running_->record, FlightRecorder::State::running);
  return running_;
}

void Channel::run(const Ref<Task>& task) {
  const Collective& c = task->collective;
  if (!engine_) connect();
  if (failed()) return;
  if (is_pairwise(c.op)) check_pair(c);
  if (c.device.is_cpu()) {
    run_on_cpu(c);
    return finish(*task);
  }
  // On a device ranks that differ would harm each other, so they compare first.
  if (c.checked && !is_pairwise(c.op)) {
    const Fingerprint mine = fingerprint(c);
    engine_->post(mine);
    compare(mine, c.timeout);
  }
  if (!device_queue_) connect_device(c.device);
  device_queue_->enqueue(task);
  const std::lock_guard lock(mutex_);
  running_ = nullptr;
}

void Channel::run_on_cpu(const Collective& c) {
  if (c.op == Op::barrier) drain();
  // Ranks that differ cannot harm each other, since their tags differ, too: all wait, until the watch compares.
  const bool compares = c.checked && !is_pairwise(c.op);
  const Fingerprint mine = fingerprint(c);
  if (compares) engine_->post(mine);
  if (c.op != Op::barrier) engine_->run(c);
  if (compares) compare(mine, c.timeout);
}

void Channel::compare(const Fingerprint& mine, double timeout) {
  const std::vector<Fingerprint> all = engine_->collect(timeout);
  if (!std::all_of(all.begin(), all.end(), [&](const Fingerprint& f) { return f == mine; }))
    throw CommError(describe_difference(all), CommError::Kind::mismatch);
}

void Channel::finish(Task& task) {
  {
    const std::lock_guard lock(mutex_);
    if (running_.get() == &task) running_ = nullptr;
    const Collective& c = task.collective;
    if (!is_pairwise(c.op)) done_ = std::max(done_, c.seq);
    recorder_.set(task.record, FlightRecorder::State::done);
  }
  task.finish();
}

// Ends what the device has done meanwhile.
void Channel::settle() {
  if (!device_queue_) return;
  while (const Ref<Task> task = device_queue_->take_finished()) finish(*task);
}

// Waits for all that the device was given.
void Channel::drain() {
  for (; device_queue_ && !device_queue_->empty(); settle()) {
    std::unique_lock lock(mutex_);
    if (changed_.wait_for(lock, device_tick, [this] { return error_.has_value(); })) return;
  }
}

void Channel::connect() {
  const Box<Store> store = job_->open_store(name + "/");
  Box<Engine> engine = gloo().make({rank_, size(), job_->address, timeout}, *store);
  store->close();
  const std::lock_guard lock(engine_mutex_);
  engine_ = std::move(engine);
}

void Channel::connect_device(Device device) {
  const Box<Store> store = job_->open_store(name + "/");
  auto queue = make_box<DeviceQueue>(device, nccl().make({rank_, size(), job_->address, timeout}, device, *store));
  store->close();
  const std::lock_guard lock(mutex_);
  device_queue_ = std::move(queue);
  if (error_) device_queue_->abort();
}

std::string Channel::describe_difference(const std::vector<Fingerprint>& all) const {
  std::string text = "ranks differ";
  const char* separator = ": ";
  for (size_t rank = 0; rank < all.size(); ++rank, separator = ", ")
    if (all[rank].seq != 0) text += fmt::format("{}rank {}: {}", separator, ranks_[rank], describe(all[rank]));
  return text;
}

void Channel::check_pair(const Collective& collective) {
  const Fingerprint mine = fingerprint(collective);
  Fingerprint theirs{};
  engine_->run({.op = Op::exchange,
                .root = collective.root,
                .count = sizeof(Fingerprint),
                .in = &mine,
                .out = &theirs,
                .timeout = collective.timeout});
  if (fits(mine, theirs)) return;
  throw CommError(
      fmt::format("send and receive do not fit: rank {}: {}, rank {}: {}", ranks_[static_cast<size_t>(rank_)],
                  describe(mine), collective.root_in_job, describe(theirs)),
      CommError::Kind::mismatch);
}

// The engine tells those who wait for a connection that has ended one after the other; its own look may come last.
std::vector<int> Channel::lost_ranks(const Deadline& patience) {
  for (;;) {
    {
      const std::lock_guard lock(engine_mutex_);
      if (const std::vector<int> lost = engine_->lost_ranks(); !lost.empty() || patience.passed()) return lost;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

// What went wrong here, for everybody: whom to blame is seen best by the first who notices.
void Channel::report(const std::exception& error) {
  Ref<Task> task;
  {
    const std::lock_guard lock(mutex_);
    task = current();
  }
  const auto* const own = dynamic_cast<const CommError*>(&error);
  const int me = ranks_[static_cast<size_t>(rank_)];
  if (own && own->kind == CommError::Kind::mismatch) return job_->fail(*own);
  if (!engine_ || (own && own->kind == CommError::Kind::setup)) {
    const std::string text = fmt::format("rank {} could not connect to the others of its group: {}", me, error.what());
    return job_->fail(CommError(text, CommError::Kind::setup));
  }
  const bool is_of_device = dynamic_cast<const DeviceError*>(&error);
  const std::vector<int> lost = lost_ranks(Deadline(is_of_device ? 0 : 0.2));
  const bool my_device = lost.empty() && is_of_device;
  const int culprit = lost.size() == 1 ? ranks_[static_cast<size_t>(lost.front())] : my_device ? me : -1;
  const std::string who = my_device      ? fmt::format("the device of rank {} failed", me)
                          : culprit >= 0 ? fmt::format("rank {} is gone", culprit)
                                         : "connections were lost";
  job_->fail(
      CommError(fmt::format("{}: noticed by rank {} in {}: {}", who, me, describe(task->collective), error.what()),
                CommError::Kind::peer_lost, culprit));
}

}  // namespace gradus::dist::detail
