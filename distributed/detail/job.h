// A job as this process sees it: the store where its ranks meet, and a thread that watches for failures elsewhere and
// for deadlines here. The first failure of any rank ends all groups of the job, on every rank.
#pragma once

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <gradus/core/error.h>
#include <gradus/core/ref.h>
#include <gradus/distributed/detail/deadline.h>
#include <gradus/distributed/env.h>
#include <gradus/distributed/store.h>

namespace gradus::dist::detail {

class Channel;
struct Stuck;

class Job final : public RefCounted {
 public:
  /// Waits until all ranks are there. Throws CommError (setup) that names those who are not, after `timeout` seconds.
  Job(const Env& env, double timeout);
  ~Job() override;

  const Env env;
  const double timeout;
  const std::string address;  ///< of this machine, for the other ranks

  /// Another connection to the store, for keys of one's own.
  Box<Store> open_store(const std::string& prefix) const;

  /// Throws when the job has failed already.
  void add(Channel& channel);
  /// After the last one this process leaves the job, and that is no failure.
  void remove(Channel& channel);
  /// The others learn that a channel ends here in good order, after the operation `done`.
  void tell_left(const std::string& channel, int64_t done) noexcept;
  /// Tells all ranks and fails all groups here; `why` names ranks of the job. Only the first failure of all ranks
  /// counts; who comes later waits until all groups have failed.
  void fail(const CommError& why) noexcept;

 private:
  struct Answer;
  struct Roll;

  std::string key(const std::string& name) const;
  std::string left_key(const std::string& channel, int rank) const;
  void meet(Store& store, const Deadline& deadline);
  [[noreturn]] void name_missing(Store& store) const;
  void leave() noexcept;
  CommError tell(const CommError& why) noexcept;
  void watch();
  void end_watch();
  void poll();
  void answer_roll_call();
  bool is_any_overdue(double within);
  void look_at_channels();
  bool has_left(int rank, const Stuck& stuck);
  std::optional<Answer> heard(int rank, const std::string& channel);
  void call_roll(const Stuck& overdue, Roll& roll);
  CommError accusation(const Stuck& overdue);

  std::optional<StoreServer> server_;
  Box<Store> store_;  // for the watch and for failures, and the will; open from before the meeting to the end
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Channel*> channels_;
  std::optional<CommError> error_;
  bool failing_ = false, stopping_ = false;
  bool answered_ = false;           // the watch's
  std::atomic<bool> blind_{false};  // the store did not answer the watch: it is not asked again at a deadline
  Deadline next_poll_{0};
  std::thread watch_;
};

}  // namespace gradus::dist::detail
