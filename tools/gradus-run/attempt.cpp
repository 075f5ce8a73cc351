// The supervision of an attempt: a loop over what can happen. Signals (a child's end is one), the end of the attempt on
// another machine, and deadlines.
#include "attempt.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include <fmt/format.h>

#include <gradus/core/error.h>

#include "console.h"
#include "cores.h"

namespace gradus::run {
namespace {

/// Seconds in which a failure that looks like the consequence of another waits for that one.
constexpr double second_thoughts = 1;
/// Seconds within which another signal that asks to stop is the same request: some schedulers send two.
constexpr double same_request = 0.5;
/// EX_TEMPFAIL: the program was told to stop, has saved, and wants to go on when its place is its own again.
constexpr int queue_again = 75;

using dist::detail::Failure;
using Kind = CommError::Kind;

/// Whether a worker only noticed that another one was gone, or hung: that one is to blame.
bool tells_of_another(const Failure& words) {
  return words.kind == Kind::peer_lost || words.kind == Kind::aborted || words.kind == Kind::timeout;
}

}  // namespace

Attempt::Attempt(const Options& options, const Plan& plan, const Meeting& meeting, const Guardian& guardian,
                 const Signals& signals)
    : options_(options),
      plan_(plan),
      meeting_(meeting),
      guardian_(guardian),
      signals_(signals),
      store_(meeting.open_store()),
      hangs_(options, plan, *store_) {}

Verdict Attempt::run() {
  EndWatch watch(meeting_, plan_);
  std::vector<Source> sources(static_cast<size_t>(options_.nproc));
  try {
    start(sources);
  } catch (const std::exception& error) {
    declare({1, -1, fmt::format("cannot start on {}: {}", plan_.nodes[plan_.node].host, error.what()), false, ""});
  }
  const Output output(std::move(sources));
  while (is_any_running() || !verdict_) step(watch);
  return *verdict_;
}

void Attempt::start(std::vector<Source>& sources) {
  workers_.reserve(sources.size());
  for (int i = 0; i < options_.nproc; ++i) {
    const int rank = plan_.first_rank() + i;
    workers_.emplace_back(rank, fmt::format("{}/{}-{}", guardian_.scratch(), plan_.round, rank));
  }
  const bool has_prefix = options_.prefix.value_or(plan_.world_size() > 1);
  for (size_t i = 0; i < workers_.size(); ++i) {
    Worker& worker = workers_[i];
    if (has_prefix) sources[i].prefix = fmt::format("[rank{}]: ", worker.rank());
    if (const std::string log = log_of(worker); !log.empty()) {
      std::filesystem::create_directories(std::filesystem::path(log).parent_path());
      sources[i].log = dist::detail::Fd(::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
      if (!sources[i].log) throw IoError(fmt::format("{}: {}", log, std::strerror(errno)));
      sources[i].to_terminal = options_.tee;
    }
    const int error = worker.start(launch_of(worker), sources[i]);
    if (worker.pid() > 0) guardian_.protect(worker.pid());
    if (error == 0) continue;
    declare({error == ENOENT ? 127 : 126, worker.rank(),
             fmt::format("cannot start {}: {}", options_.command[0], std::strerror(error)), false, ""});
    return;
  }
}

Launch Attempt::launch_of(const Worker& worker) const {
  const int local_rank = worker.rank() - plan_.first_rank();
  const std::vector<int> cores = usable_cores();
  Launch launch{options_.command, {}, {}};
  if (options_.bind_cores) launch.cores = share_of(cores, local_rank, options_.nproc);
  const auto set = [&launch](const char* name, const auto& value) {
    launch.variables.emplace_back(name, fmt::format("{}", value));
  };
  set("RANK", worker.rank());
  set("LOCAL_RANK", local_rank);
  set("GROUP_RANK", plan_.node);
  set("WORLD_SIZE", plan_.world_size());
  set("LOCAL_WORLD_SIZE", options_.nproc);
  set("MASTER_ADDR", plan_.master_addr);
  set("MASTER_PORT", plan_.master_port);
  set("GRADUS_RUN_ID", options_.job);
  set("GRADUS_RESTART_COUNT", plan_.round);
  set("GRADUS_MAX_RESTARTS", plan_.max_restarts);
  set("GRADUS_STORE", meeting_.url());
  set("GRADUS_STORE_TOKEN", meeting_.token());
  set("GRADUS_ERROR_FILE", worker.error_file());
  set("GRADUS_HEARTBEAT_FILE", worker.heartbeat_file());
  if (const std::string log = log_of(worker); !log.empty() && !std::getenv("GRADUS_FLIGHT_RECORDER"))
    set("GRADUS_FLIGHT_RECORDER", std::filesystem::absolute(log).parent_path().string());
  const size_t threads = std::max<size_t>(1, cores.size() / static_cast<size_t>(options_.nproc));
  for (const char* name : {"GRADUS_NUM_THREADS", "OMP_NUM_THREADS"})
    if (!std::getenv(name)) set(name, threads);
  return launch;
}

std::string Attempt::log_of(const Worker& worker) const {
  if (options_.redirect.empty()) return "";
  return fmt::format("{}/{}/rank{}.log", options_.redirect, plan_.round, worker.rank());
}

void Attempt::step(EndWatch& watch) {
  pollfd polled[] = {{signals_.fd(), POLLIN, 0}, {verdict_ ? -1 : watch.fd(), POLLIN, 0}};
  if (poll(polled, 2, Deadline(next_event()).poll_ms()) < 0 && errno != EINTR) return;
  try {
    handle_signals();
    judge();
    if (!verdict_ && polled[1].revents) accept(watch.verdict());
    finish_well();
    look_for_hangs();
  } catch (const CommError& error) {
    accept(lost_store(error));
  }
  if (kill_ && kill_->passed()) {
    for (const Worker& worker : workers_) worker.signal(SIGKILL);
    kill_.reset();
  }
}

/// Seconds until something is to be done though nothing happens.
double Attempt::next_event() const {
  double seconds = hangs_.next_look(workers_);
  if (kill_) seconds = std::min(seconds, kill_->left());
  if (judgement_ && !verdict_) seconds = std::min(seconds, judgement_->left());
  return seconds;
}

void Attempt::handle_signals() {
  while (const auto signal = signals_.next()) {
    if (*signal == SIGCHLD) {
      reap();
    } else if (!asks_to_stop(*signal)) {
      for (const Worker& worker : workers_) worker.signal(*signal);
    } else if (!asked_to_stop_) {
      asked_to_stop_.emplace(same_request);
      kill_.emplace(options_.stop_timeout);
      for (const Worker& worker : workers_) worker.signal(*signal);
    } else if (asked_to_stop_->passed()) {
      for (const Worker& worker : workers_) worker.signal(SIGKILL);
    }
  }
}

/// Takes note of all children that ended. What is left of a worker's process group ends with it: while the worker is
/// not waited for, its number cannot belong to another group.
void Attempt::reap() {
  siginfo_t info{};
  while (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid != 0) {
    const auto worker =
        std::find_if(workers_.begin(), workers_.end(), [&](const Worker& w) { return w.pid() == info.si_pid; });
    if (worker != workers_.end()) kill(-info.si_pid, SIGKILL);
    int status = 0;
    waitpid(info.si_pid, &status, 0);
    info.si_pid = 0;
    if (worker == workers_.end()) continue;
    guardian_.release(worker->pid());
    worker->ended(status);
    if (worker->has_failed()) failed_.push_back(&*worker);
  }
}

/// The first failure counts. But one that only tells of another gives that one a moment to show, here or on another
/// machine; and whom the workers' groups agreed on, is to blame.
void Attempt::judge() {
  if (verdict_ || failed_.empty()) return;
  if (!judgement_) judgement_.emplace(second_thoughts);
  const bool must_decide = judgement_->passed() || (!is_any_running() && plan_.nodes.size() == 1);
  const auto word = abort_word();
  const bool accuses = word && word->rank >= 0;
  const auto accused = std::find_if(workers_.begin(), workers_.end(),
                                    [&](const Worker& worker) { return accuses && worker.rank() == word->rank; });
  if (accused != workers_.end()) {
    if (accused->has_failed()) return blame_end_of(*accused);
    if (!must_decide) return;
    accused->signal(SIGKILL);  // it hangs, and would not hear SIGTERM
    return blame(*accused, word->message, failed_.front()->exit_code());
  }
  const auto cause = std::find_if(failed_.begin(), failed_.end(), [](const Worker* worker) {
    const auto words = worker->last_words();
    return !words || !tells_of_another(*words);
  });
  if (!accuses && cause != failed_.end()) return blame_end_of(**cause);
  if (must_decide) blame_end_of(*failed_.front());
}

/// What the workers' groups agreed on when they failed: what happened, and which rank is to blame if they know.
std::optional<Failure> Attempt::abort_word() const {
  const auto word = store_->find(dist::detail::abort_key(plan_.round));
  return word ? Failure::parse(*word) : std::nullopt;
}

void Attempt::blame_end_of(const Worker& worker) {
  blame(worker, fmt::format("rank {} failed: {}", worker.rank(), worker.ending()), worker.exit_code());
}

void Attempt::blame(const Worker& worker, std::string message, int code) {
  Verdict verdict{code, worker.rank(), std::move(message), !asked_to_stop_ && code != queue_again, ""};
  verdict.words = words_about(worker, verdict.message);
  declare(verdict);
}

/// What the worker said itself; else why its groups failed: it may have caught the error that told it so. That a
/// process is gone is no news.
std::string Attempt::words_about(const Worker& worker, const std::string& known) const {
  if (const auto own = worker.last_words()) return fmt::format("rank {} said: {}", worker.rank(), own->message);
  const auto word = abort_word();
  if (!word || word->kind == Kind::peer_lost || word->message == known) return "";
  return fmt::format("the groups failed: {}", word->message);
}

/// Tells everybody that the attempt has failed. Another machine may have been first: then its word counts.
void Attempt::declare(const Verdict& mine) {
  store_->set_once(dist::detail::abort_key(plan_.round), Failure{mine.rank, Kind::peer_lost, mine.message}.text());
  accept(Verdict::parse(store_->set_once(end_key(plan_), mine.text())));
}

void Attempt::accept(const Verdict& verdict) {
  verdict_ = verdict;
  if (asked_to_stop_) verdict_->may_help = false;
  if (verdict.failed()) stop();
}

/// The last machine whose workers have all ended well ends the attempt.
void Attempt::finish_well() {
  if (verdict_ || has_reported_ || is_any_running() || !failed_.empty()) return;
  has_reported_ = true;
  const int64_t machines = store_->add(fmt::format("done/{}", plan_.round), 1);
  if (machines == static_cast<int64_t>(plan_.nodes.size()))
    accept(Verdict::parse(store_->set_once(end_key(plan_), Verdict{}.text())));
}

void Attempt::look_for_hangs() {
  if (verdict_) return;
  const auto hang = hangs_.look(workers_);
  if (!hang) return;
  if (!hang->is_over) return say("{}", hang->message);
  blame(hang->worker, hang->message, 1);
  if (verdict_->rank == hang->worker.rank()) hang->worker.signal(SIGKILL);  // it would not hear SIGTERM
}

void Attempt::stop() {
  for (const Worker& worker : workers_) {
    worker.signal(SIGTERM);
    worker.signal(SIGCONT);  // who was stopped would not see it
  }
  if (!kill_) kill_.emplace(options_.stop_timeout);
}

bool Attempt::is_any_running() const {
  return std::any_of(workers_.begin(), workers_.end(), [](const Worker& worker) { return worker.is_running(); });
}

Rows Attempt::rows() const {
  Rows rows;
  for (const Worker& worker : workers_)
    rows.push_back(
        {worker.rank(), plan_.nodes[plan_.node].host, worker.ending(), worker.pulse().text(), log_of(worker)});
  return rows;
}

}  // namespace gradus::run
