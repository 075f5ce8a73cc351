// Making groups and ending them.
#include <gradus/distributed/detail/group.h>

#include <gradus/core/detail/check.h>

namespace gradus::dist::detail {

Group::Group(Ref<Job> job, std::string name, std::vector<int> ranks, int rank_, double timeout)
    : env(job->env),
      rank(rank_),
      size(static_cast<int>(ranks.size())),
      job_(job),
      name_(name),
      ranks_(ranks),
      channel_(make_ref<Channel>(job, name, ranks, rank_, timeout > 0 ? timeout : job->timeout)) {}

Ref<Group> Group::subgroup(int color, const std::vector<int>& members, int rank_, double timeout) {
  ++splits_;
  if (members.size() == 1) return make_ref<Group>(env);
  std::vector<int> ranks;
  for (const int member : members) ranks.push_back(ranks_[static_cast<size_t>(member)]);
  return make_ref<Group>(job_, fmt::format("{}/{}.{}", name_, splits_, color), std::move(ranks), rank_,
                         timeout > 0 ? timeout : channel_->timeout);
}

void Group::close() {
  if (channel_) channel_->close();
}

void Group::fail(const std::string& why) {
  if (job_) job_->fail(CommError(fmt::format("rank {}: {}", env.rank, why), CommError::Kind::aborted, env.rank));
}

}  // namespace gradus::dist::detail
