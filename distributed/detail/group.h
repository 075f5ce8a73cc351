// What all handles of a process group share.
#pragma once

#include <gradus/distributed/detail/channel.h>

namespace gradus::dist::detail {

class Group final : public RefCounted {
 public:
  /// This process alone.
  explicit Group(Env env) : env(std::move(env)) {}
  /// One of several: `ranks` are the members' in the job. A `timeout` of 0 is the job's.
  Group(Ref<Job> job, std::string name, std::vector<int> ranks, int rank, double timeout);
  ~Group() override { close(); }

  bool alone() const { return !channel_; }
  Channel& channel() const { return *channel_; }
  /// A group of the ranks `members` of this one, which are all that gave `color`; `rank` is this one's place among
  /// them. A `timeout` of 0 is this group's.
  Ref<Group> subgroup(int color, const std::vector<int>& members, int rank, double timeout);
  void close();
  /// This rank cannot go on as the others expect: all groups of the job end on every rank, with a CommError (aborted)
  /// that says why.
  GRADUS_API void fail(const std::string& why);

  const Env env;
  const int rank = 0, size = 1;

 private:
  const Ref<Job> job_;
  const std::string name_;
  const std::vector<int> ranks_;
  const Ref<Channel> channel_;
  int splits_ = 0;  // the same on all ranks: it is in the names under which they meet
};

/// As ProcessGroup::all_reduce, without comparing it among the ranks first: for those who have compared already what
/// they are going to do. Operations that do not fit end in a timeout.
GRADUS_API Work all_reduce_unchecked(const ProcessGroup& group, const Tensor& x, ReduceOp op);

}  // namespace gradus::dist::detail
