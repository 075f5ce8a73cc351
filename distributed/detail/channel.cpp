// The life of an operation: numbered, queued, compared with the other ranks', run, ended.
#include <gradus/distributed/detail/channel.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <system_error>
#include <utility>

#include <gradus/core/detail/check.h>
#include <gradus/core/detail/log.h>

namespace gradus::dist::detail {

Channel::Channel(Ref<Job> job, std::string name_, std::vector<int> ranks, int rank)
    : name(std::move(name_)), job_(std::move(job)), ranks_(std::move(ranks)), rank_(rank), pair_seq_(ranks_.size()) {
  job_->add(*this);
}

Ref<Task> Channel::begin(Collective collective, const Tensor& first, const Tensor& second) {
  const std::lock_guard lock(mutex_);
  if (error_)
    throw CommError(
        fmt::format("{}: the group is closed after a failure: {}", detail::name(collective.op), error_->what()),
        CommError::Kind::aborted, error_->rank, detail::name(collective.op));
  if (closing_)
    throw CommError(fmt::format("{}: the group was closed by close()", detail::name(collective.op)),
                    CommError::Kind::aborted, rank_, detail::name(collective.op));
  start_thread();
  const bool pairwise = is_pairwise(collective.op);
  collective.seq = pairwise ? ++pair_seq_[static_cast<size_t>(collective.root)] : ++seq_;
  collective.timeout = job_->timeout;
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
    thread_ = std::thread([self = Ref<Channel>(this)] { self->work(); });
  } catch (const std::system_error& error) {
    throw CommError(fmt::format("the group cannot start a thread: {}", error.what()));
  }
}

void Channel::close() {
  std::unique_lock lock(mutex_);
  closing_ = true;
  changed_.notify_all();
  if (thread_.joinable()) {
    // Every operation has a deadline, so this ends. A failed one may still hang in the engine.
    changed_.wait(lock, [this] { return ended_ || error_; });
    changed_.wait_for(lock, std::chrono::seconds(1), [this] { return ended_; });
    if (ended_) {
      std::thread thread = std::move(thread_);
      lock.unlock();
      thread.join();
    } else {
      thread_.detach();  // it owns this channel, the engine and the tensors
      lock.unlock();
    }
  } else {
    lock.unlock();
  }
  job_->remove(*this);
}

std::string Channel::record() const {
  const std::lock_guard lock(mutex_);
  return recorder_.text();
}

std::optional<Stuck> Channel::overdue() const {
  const std::lock_guard lock(mutex_);
  if (!running_ || !deadline_.passed() || error_) return {};
  return Stuck{name, running_->collective, ranks_};
}

Ref<Task> Channel::lingering() {
  const std::lock_guard lock(mutex_);
  const size_t running = running_ && !error_ ? running_->record + 1 : 0;
  return std::exchange(lingering_, running) == running ? running_ : nullptr;
}

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
  return progress_;
}

void Channel::fail(const CommError& why) {
  std::string text;
  {
    const std::lock_guard lock(mutex_);
    if (error_) return;
    error_.emplace(why.what(), why.kind, rank_in_group(why.rank));
    const auto end = [&](Task& task) {
      const Collective& c = task.collective;
      recorder_.set(task.record, FlightRecorder::State::failed);
      task.fail(
          CommError(fmt::format("{}: {}", describe(c), why.what()), why.kind, error_->rank, detail::name(c.op), c.seq));
    };
    if (running_) end(*running_);
    for (const Ref<Task>& task : queue_) end(*task);
    queue_.clear();
    text = recorder_.text();
    changed_.notify_all();
  }
  {
    const std::lock_guard lock(engine_mutex_);
    if (engine_) engine_->abort();
  }
  write_record(text, why.what());
}

int Channel::rank_in_group(int rank_in_job) const {
  const auto found = std::find(ranks_.begin(), ranks_.end(), rank_in_job);
  return found == ranks_.end() ? -1 : static_cast<int>(found - ranks_.begin());
}

// ---- the thread

void Channel::work() {
  while (const Ref<Task> task = next()) {
    try {
      run(task->collective);
    } catch (const std::exception& error) {
      report(task->collective, error);
      break;
    }
    {
      const std::lock_guard lock(mutex_);
      running_ = nullptr;
      if (!is_pairwise(task->collective.op)) progress_.done = task->collective.seq;
      recorder_.set(task->record, FlightRecorder::State::done);
    }
    task->finish();
  }
  if (!failed()) job_->tell_left(name, progress().done);  // before the connections end
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
  changed_.wait(lock, [this] { return !queue_.empty() || closing_ || error_; });
  if (error_ || queue_.empty()) return nullptr;
  running_ = queue_.front();
  queue_.pop_front();
  const Collective& c = running_->collective;
  deadline_ = Deadline(c.timeout);
  if (!is_pairwise(c.op)) progress_.begun = c.seq;
  recorder_.set(running_->record, FlightRecorder::State::running);
  return running_;
}

void Channel::run(const Collective& collective) {
  if (!engine_) connect();
  if (is_pairwise(collective.op)) check_pair(collective);
  // Ranks that differ cannot harm each other, since their tags differ, too: all wait, until the watch compares.
  const bool compares = collective.checked && !is_pairwise(collective.op);
  const Fingerprint mine = fingerprint(collective);
  if (compares) engine_->post(mine);
  if (collective.op != Op::barrier) engine_->run(collective);
  if (!compares) return;
  const std::vector<Fingerprint> all = engine_->collect(collective.timeout);
  if (!std::all_of(all.begin(), all.end(), [&](const Fingerprint& f) { return f == mine; }))
    throw CommError(describe_difference(all), CommError::Kind::mismatch);
}

void Channel::connect() {
  const Box<Store> store = job_->open_store(name + "/");
  Box<Engine> engine = gloo().make({rank_, size(), job_->address, job_->timeout}, *store);
  store->close();
  const std::lock_guard lock(engine_mutex_);
  engine_ = std::move(engine);
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
                  describe(mine), ranks_[static_cast<size_t>(collective.root)], describe(theirs)),
      CommError::Kind::mismatch);
}

// What went wrong here, for everybody: whom to blame is seen best by the first who notices.
void Channel::report(const Collective& collective, const std::exception& error) {
  const auto* const own = dynamic_cast<const CommError*>(&error);
  const int me = ranks_[static_cast<size_t>(rank_)];
  if (own && own->kind == CommError::Kind::mismatch) return job_->fail(*own);
  if (!engine_) {
    const std::string text = fmt::format("rank {} could not connect to the others of its group: {}", me, error.what());
    return job_->fail(CommError(text, CommError::Kind::setup));
  }
  const std::vector<int> lost = engine_->lost_ranks();
  const int culprit = lost.size() == 1 ? ranks_[static_cast<size_t>(lost.front())] : -1;
  const std::string who = culprit >= 0 ? fmt::format("rank {} is gone", culprit) : "connections were lost";
  job_->fail(CommError(fmt::format("{}: noticed by rank {} in {}: {}", who, me, describe(collective), error.what()),
                       CommError::Kind::peer_lost, culprit));
}

// To GRADUS_FLIGHT_RECORDER, or beside the launcher's error file; one line to the log.
void Channel::write_record(const std::string& text, const std::string& why) const {
  namespace fs = std::filesystem;
  const int me = ranks_[static_cast<size_t>(rank_)];
  fs::path folder;
  if (const char* chosen = std::getenv("GRADUS_FLIGHT_RECORDER")) {
    folder = chosen;
  } else if (const char* error_file = std::getenv("GRADUS_ERROR_FILE")) {
    folder = fs::path(error_file).parent_path();
  }
  std::string where;
  if (!folder.empty()) {
    std::string file = fmt::format("flight-{}-rank{}.txt", name, me);
    std::replace(file.begin(), file.end(), '/', '-');
    std::ofstream(folder / file) << why << '\n' << text;
    where = fmt::format("; its operations: {}", (folder / file).string());
  }
  gradus::detail::log()->error("rank {}, group {} is closed: {}{}", me, name, why, where);
}

}  // namespace gradus::dist::detail
