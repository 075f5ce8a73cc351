// Meeting, watching, failing.
#include <gradus/distributed/detail/job.h>

#include <algorithm>

#include <nlohmann/json.hpp>

#include <gradus/core/detail/check.h>
#include <gradus/core/detail/log.h>
#include <gradus/distributed/detail/abort_word.h>
#include <gradus/distributed/detail/address.h>
#include <gradus/distributed/detail/channel.h>
#include <gradus/distributed/detail/quiet_thread.h>
#include <gradus/distributed/detail/store_socket.h>
#include <gradus/version.h>

namespace gradus::dist::detail {
namespace {

constexpr double tick = 0.2;  // seconds between two looks at deadlines

// Seconds between two looks into the store: many ranks look less often.
double poll_interval(int size) { return std::max(tick, size * 1e-3); }

// Of calls to the store by the watch, which would miss deadlines otherwise.
constexpr double patience = 2;

std::string list(const std::vector<int>& ranks) { return fmt::format("{}", fmt::join(ranks, ", ")); }

}  // namespace

/// What a rank says in the roll call, of one channel.
struct Job::Answer {
  int64_t begun = 0;          ///< number of the channel's last collective
  int64_t running = 0;        ///< of that which is not over; 0 for none
  uint32_t tag = 0;           ///< its tag
  std::string description{};  ///< in words
};

/// What all say.
struct Job::Roll {
  std::vector<int> silent, late;   // ranks
  std::string text;                // of those that are late
  std::vector<std::string> doing;  // those that have come
  bool differ = false;             // among these
};

Job::Job(const Env& env_, double timeout_) : env(env_), timeout(timeout_), address(own_address(env_)) {
  if (env.hosts_store && env.rank == 0) {
    const Endpoint at = Endpoint::of_url(env.store);
    // This machine's own name may mean loopback here, and its address elsewhere.
    server_.emplace(env.local_size == env.size ? at.host : "", at.port, env.token);
  }
  const Deadline deadline(timeout);
  const auto open = [this](double seconds) {
    return dist::open_store(env.store, {.token = env.token, .prefix = env.job + "/", .timeout = seconds});
  };
  const Box<Store> store = open(timeout);  // it may take long to appear
  store_ = open(std::min(timeout, patience));
  const CommError gone(fmt::format("rank {} is gone: its process ended without closing its groups", env.rank),
                       CommError::Kind::peer_lost, env.rank);
  try {
    store_->leave_will(abort_key(env.attempt), encode_abort(gone));
    meet(*store, deadline);
  } catch (const std::exception&) {
    leave();  // this process says itself what has become of it
    throw;
  }
  store->close();
  watch_ = quiet_thread([this] { watch(); });
}

Job::~Job() {
  end_watch();
  // Others may need the store for longer than this process has work; after a failure, to read what has happened.
  if (server_) server_->finish(error_ ? 2 * poll_interval(env.size) : timeout);
}

Box<Store> Job::open_store(const std::string& prefix) const {
  return dist::open_store(env.store, {.token = env.token, .prefix = env.job + "/" + key(prefix), .timeout = timeout});
}

std::string Job::left_key(const std::string& channel, int rank) const {
  return key(fmt::format("left/{}/{}", channel, rank));
}

// Keys of this attempt, so that a job that was started again finds none of the old ones.
std::string Job::key(const std::string& name) const { return fmt::format("attempt/{}/{}", env.attempt, name); }

void Job::meet(Store& store, const Deadline& deadline) {
  if (store.add(key(fmt::format("here/{}", env.rank)), 1) != 1)
    throw CommError(fmt::format("rank {} has come to the store {} already: two processes have this rank, or the keys "
                                "are left over from an earlier job; give each job a store or a name of its own",
                                env.rank, env.store),
                    CommError::Kind::setup, env.rank);
  const std::string version = store.set_once(key("version"), GRADUS_VERSION);
  if (version != GRADUS_VERSION)
    throw CommError(fmt::format("rank {} has Gradus {}, another rank {}; build all with the same one", env.rank,
                                GRADUS_VERSION, version),
                    CommError::Kind::setup, env.rank);
  if (store.add(key("count"), 1) == env.size) store.set(key("complete"), "");
  while (!store.find(key("complete"))) {
    if (const auto word = store.find(abort_key(env.attempt))) throw decode_abort(*word);
    if (deadline.passed()) name_missing(store);
    try {
      store.get(key("complete"), std::min(deadline.left(), tick));
    } catch (const CommError& error) {
      if (error.kind != CommError::Kind::timeout) throw;
    }
  }
}

void Job::name_missing(Store& store) const {
  std::vector<int> missing;
  for (int rank = 0; rank < env.size; ++rank)
    if (!store.find(key(fmt::format("here/{}", rank)))) missing.push_back(rank);
  throw CommError(fmt::format("{} of {} processes did not come to the store {} within {:g} s: rank {}", missing.size(),
                              env.size, env.store, timeout, list(missing)),
                  CommError::Kind::setup, missing.empty() ? -1 : missing.front());
}

void Job::add(Channel& channel) {
  const std::lock_guard lock(mutex_);
  if (error_) throw CommError(fmt::format("the job has failed: {}", error_->what()), error_->kind, error_->rank);
  channels_.push_back(&channel);
}

void Job::remove(Channel& channel) {
  {
    const std::lock_guard lock(mutex_);
    if (std::erase(channels_, &channel) == 0 || !channels_.empty()) return;
  }
  end_watch();  // it looks into the store
  leave();
}

void Job::tell_left(const std::string& channel, int64_t done) noexcept {
  try {
    store_->set(left_key(channel, env.rank), std::to_string(done));
  } catch (const std::exception&) {  // its server may be gone before us
  }
}

// What is told first counts. Without the store each rank finds out by itself.
CommError Job::tell(const CommError& why) noexcept {
  if (blind_) return why;
  try {
    return decode_abort(store_->set_once(abort_key(env.attempt), encode_abort(why)));
  } catch (const std::exception&) {
    return why;
  }
}

// The word is in the store before the connections end: so the others learn the reason, not only the consequence.
void Job::fail(const CommError& why) noexcept {
  std::unique_lock lock(mutex_);
  // Else a channel's thread that comes late would end, and let go of the running operation before it has failed.
  if (std::exchange(failing_, true)) return changed_.wait(lock, [this] { return error_.has_value(); });
  lock.unlock();
  const CommError first = tell(why);
  std::vector<LastRecord> records;
  lock.lock();
  error_.emplace(first);
  for (Channel* channel : channels_) {
    try {
      if (auto record = channel->fail(first)) records.push_back(std::move(*record));
    } catch (const std::exception&) {  // no memory for the words; the next one is told all the same
    }
  }
  lock.unlock();
  changed_.notify_all();
  for (const LastRecord& record : records) {  // nobody waits for the disk that they go to
    try {
      record.write();
    } catch (const std::exception&) {
    }
  }
}

void Job::leave() noexcept {
  try {
    store_->close();
  } catch (const std::exception&) {  // its server may be gone before us
  }
}

// ---- the watch

void Job::end_watch() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  if (watch_.joinable()) watch_.join();
}

void Job::watch() {
  std::unique_lock lock(mutex_);
  while (!changed_.wait_for(lock, std::chrono::duration<double>(tick), [this] { return stopping_; })) {
    if (failing_) continue;
    lock.unlock();
    poll();
    look_at_channels();
    lock.lock();
  }
}

void Job::poll() {
  if (!next_poll_.passed() || (blind_ && is_any_overdue(patience))) return;
  next_poll_ = Deadline(poll_interval(env.size));
  try {
    if (const auto word = store_->find(abort_key(env.attempt))) return fail(decode_abort(*word));
    if (!answered_ && store_->find(key("roll"))) answer_roll_call();
    blind_ = false;
  } catch (const std::exception& error) {
    next_poll_ = Deadline(patience);  // this one may have taken as long
    // Connections between the ranks still tell of most failures, deadlines of all.
    if (!blind_.exchange(true))
      gradus::detail::log()->warn("rank {} cannot look for failures of other ranks, and tries again: {}", env.rank,
                                  error.what());
  }
}

// Each rank says what it is doing; one that is stopped, or cannot reach the store, says nothing.
void Job::answer_roll_call() {
  nlohmann::json answer = nlohmann::json::object();
  {
    const std::lock_guard lock(mutex_);
    for (const Channel* channel : channels_) {
      const Progress progress = channel->progress();
      nlohmann::json& own = answer[channel->name] = {{"begun", progress.begun}};
      if (const auto& c = progress.running)
        own.update({{"running", c->seq}, {"tag", c->tag}, {"description", describe(*c)}});
    }
  }
  answered_ = true;
  store_->set(key(fmt::format("roll/{}", env.rank)), answer.dump());
}

bool Job::is_any_overdue(double within) {
  const std::lock_guard lock(mutex_);
  return std::any_of(channels_.begin(), channels_.end(), [&](const Channel* c) { return c->overdue(within); });
}

void Job::look_at_channels() {
  std::vector<Stuck> overdue, deserted;
  std::optional<std::string> difference;
  {
    const std::lock_guard lock(mutex_);
    for (Channel* channel : channels_) {
      if (auto stuck = channel->overdue()) overdue.push_back(std::move(*stuck));
      const Ref<Task> task = channel->lingering();
      if (!task) continue;
      if (auto stuck = channel->deserted(task->collective)) deserted.push_back(std::move(*stuck));
      if (auto text = channel->difference(task->collective)) difference = text;
    }
  }
  if (difference) return fail(CommError(*difference, CommError::Kind::mismatch));
  for (const Stuck& stuck : deserted)
    for (const int rank : stuck.ranks)
      if (!has_left(rank, stuck))
        return fail(CommError(
            fmt::format("rank {} is gone, as rank {} found in {}", rank, env.rank, describe(stuck.collective)),
            CommError::Kind::peer_lost, rank));
  if (!overdue.empty()) fail(accusation(overdue.front()));
}

// Whether the rank has done all that it had to for this operation, and then closed the group: what is left to do here
// needs no connection.
bool Job::has_left(int rank, const Stuck& stuck) {
  if (is_pairwise(stuck.collective.op)) return false;
  try {
    const auto done = store_->find(left_key(stuck.channel, rank));
    return done && std::atoll(done->c_str()) >= stuck.collective.seq;
  } catch (const std::exception&) {
    return false;
  }
}

// What the rank says in the roll call; nothing until it has.
std::optional<Job::Answer> Job::heard(int rank, const std::string& channel) {
  const auto text = store_->find(key(fmt::format("roll/{}", rank)));
  if (!text) return {};
  const nlohmann::json all = nlohmann::json::parse(*text), none = nlohmann::json::object();
  const nlohmann::json own = all.value(channel, none);
  return Answer{own.value("begun", int64_t{0}), own.value("running", int64_t{0}), own.value("tag", uint32_t{0}),
                own.value("description", "")};
}

// Asks all members what they are doing.
void Job::call_roll(const Stuck& overdue, Roll& roll) {
  const Collective& c = overdue.collective;
  store_->set_once(key("roll"), "");
  answer_roll_call();  // others may be asking at the same time
  const Deadline last_call(2 * poll_interval(env.size) + 0.1);
  for (const int rank : overdue.ranks) {
    std::optional<Answer> answer = heard(rank, overdue.channel);
    for (; !answer && !last_call.passed(); answer = heard(rank, overdue.channel))
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    if (!answer) {
      roll.silent.push_back(rank);
    } else if (is_pairwise(c.op) || answer->begun < c.seq) {
      roll.late.push_back(rank);
      roll.text += fmt::format("rank {} is alive but has not come, its last operation is #{}; ", rank, answer->begun);
    } else if (answer->running == c.seq) {
      roll.doing.push_back(fmt::format("rank {}: {}", rank, answer->description));
      roll.differ = roll.differ || answer->tag != c.tag;
    }
  }
}

CommError Job::accusation(const Stuck& overdue) {
  const Collective& c = overdue.collective;
  Roll roll;
  try {
    if (blind_) throw CommError(fmt::format("the store {} does not answer", env.store));
    if (const auto word = store_->find(abort_key(env.attempt))) return decode_abort(*word);
    call_roll(overdue, roll);
  } catch (const std::exception& error) {
    roll.text = fmt::format("nobody can be asked, {}; ", error.what());
  }
  if (roll.differ)
    return CommError(fmt::format("ranks differ: {}", fmt::join(roll.doing, ", ")), CommError::Kind::mismatch);
  if (!roll.silent.empty()) {
    roll.text = fmt::format("rank {} did not answer; {}", list(roll.silent), roll.text);
  } else if (roll.text.empty()) {
    roll.text = fmt::format("no rank is missing, the network between them{} may be at fault; ",
                            c.device.is_cuda() ? ", or a kernel that does not end," : "");
  }
  const int culprit = !roll.silent.empty() ? roll.silent.front() : !roll.late.empty() ? roll.late.front() : -1;
  return CommError(fmt::format("{}rank {} waited {:g} s in {}", roll.text, env.rank, c.timeout, describe(c)),
                   CommError::Kind::timeout, culprit);
}

}  // namespace gradus::dist::detail
