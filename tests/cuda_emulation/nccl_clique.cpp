// Meetings: a rank's part arrives when it heads its stream, the first that goes on does the work for all.
#include "nccl_clique.h"

#include <algorithm>
#include <cstring>

#include "scheduler.h"

namespace gradus::emulation {
namespace {

void check_group(const Together& mine, const Together& theirs, int rank, int other) {
  if (mine.thread == theirs.thread && mine.number != theirs.number)
    throw Error("one thread makes the calls of ranks " + std::to_string(std::min(rank, other)) + " and " +
                std::to_string(std::max(rank, other)) + ": put them between ncclGroupStart and ncclGroupEnd");
}

[[noreturn]] void disagree(int rank, const std::string& call, int other, const std::string& other_call) {
  throw Error("[NCCL emulation] rank " + std::to_string(rank) + " calls " + call + "; rank " + std::to_string(other) +
              " calls " + other_call);
}

bool agree(const Call& x, const Call& y) {
  return x.kind == y.kind && x.count == y.count && x.type == y.type && x.op == y.op && x.root == y.root;
}

}  // namespace

// ---- members
bool Clique::join(int rank, int device) {
  const std::lock_guard lock(mutex_);
  Member& member = members_[static_cast<size_t>(rank)];
  if (member.joined) return false;
  member.joined = true;
  member.device = device;
  change_.notify_all();
  return true;
}
bool Clique::is_complete() {
  const std::lock_guard lock(mutex_);
  return std::all_of(members_.begin(), members_.end(), [](const Member& m) { return m.joined; });
}
std::string Clique::duplicate_device() {
  const std::lock_guard lock(mutex_);
  for (size_t r = 0; r < ranks_; ++r)
    for (size_t q = 0; q < r; ++q)
      if (members_[r].device >= 0 && members_[r].device == members_[q].device)
        return "Duplicate GPU detected : rank " + std::to_string(r) + " and rank " + std::to_string(q) +
               " both on CUDA device " + std::to_string(members_[r].device);
  return {};
}
bool Clique::wait_until_complete() {
  std::unique_lock lock(mutex_);
  const auto have = [this](bool Member::*what) {
    return static_cast<size_t>(
        std::count_if(members_.begin(), members_.end(), [what](const Member& m) { return m.*what; }));
  };
  change_.wait_for(lock, patience(), [&] { return have(&Member::joined) == ranks_ || have(&Member::aborted) > 0; });
  return have(&Member::joined) == ranks_;
}
void Clique::abort(int rank) {
  const std::lock_guard lock(mutex_);
  members_[static_cast<size_t>(rank)].aborted = true;
  change_.notify_all();
}
bool Clique::has_lost_another(int rank) {
  const std::lock_guard lock(mutex_);
  for (size_t r = 0; r < ranks_; ++r)
    if (members_[r].aborted && r != static_cast<size_t>(rank)) return true;
  return false;
}

bool Clique::somebody_aborted() const {
  return std::any_of(members_.begin(), members_.end(), [](const Member& m) { return m.aborted; });
}

// ---- collectives
Work Clique::collective(int rank, const Call& call, Together together) {
  const std::lock_guard lock(mutex_);
  const auto me = static_cast<size_t>(rank);
  const uint64_t number = members_[me].calls++;
  Meeting& meeting = meetings_[number];
  meeting.calls.resize(ranks_);
  meeting.together.resize(ranks_);
  meeting.arrived.resize(ranks_);
  for (size_t r = 0; r < ranks_; ++r)
    if (meeting.calls[r]) check_group(together, meeting.together[r], rank, static_cast<int>(r));
  meeting.calls[me] = call;
  meeting.together[me] = together;
  return {[self = shared_from_this(), number] { self->take_part(number); },
          describe(call) + ", number " + std::to_string(number) + " of " + rank_text(rank),
          [self = shared_from_this(), rank, number] { return self->meets(rank, number); }};
}
bool Clique::meets(int rank, uint64_t number) {
  const std::lock_guard lock(mutex_);
  Meeting& meeting = meetings_.at(number);
  meeting.arrived[static_cast<size_t>(rank)] = true;
  const bool all_arrived = std::count(meeting.arrived.begin(), meeting.arrived.end(), 0) == 0;
  return has_aborted(rank) || meeting.performed || (all_arrived && !somebody_aborted());
}
void Clique::take_part(uint64_t number) {
  const std::lock_guard lock(mutex_);
  Meeting& meeting = meetings_.at(number);
  if (!meeting.performed && !somebody_aborted()) {
    std::vector<Call> calls;
    for (const auto& call : meeting.calls) calls.push_back(*call);
    for (size_t r = 1; r < ranks_; ++r)
      if (!agree(calls[0], calls[r])) disagree(0, describe(calls[0]), static_cast<int>(r), describe(calls[r]));
    perform(calls);
    meeting.performed = true;
  }
  if (++meeting.left == ranks_) meetings_.erase(number);
}

// ---- sends and receives
Work Clique::exchange(int rank, const std::vector<Transfer>& transfers, Together together) {
  const std::lock_guard lock(mutex_);
  Member& member = members_[static_cast<size_t>(rank)];
  std::vector<PairKey> keys;
  std::string name;
  for (const Transfer& transfer : transfers) {
    const uint64_t number = (transfer.sends ? member.sent : member.received)[transfer.peer]++;
    const PairKey key = transfer.sends ? PairKey{rank, transfer.peer, number} : PairKey{transfer.peer, rank, number};
    Pair& pair = pairs_[key];
    const int side = transfer.sends ? 0 : 1;
    if (pair.sides[1 - side]) check_group(together, pair.together[1 - side], rank, transfer.peer);
    pair.sides[side] = transfer;
    pair.together[side] = together;
    keys.push_back(key);
    name += (name.empty() ? "" : ", ") + describe(transfer);
  }
  return {[self = shared_from_this(), keys] { self->take_part(keys); }, name + " of " + rank_text(rank),
          [self = shared_from_this(), rank, keys] { return self->meets(rank, keys); }};
}
bool Clique::is_whole(const PairKey& key, const Pair& pair) const {
  return pair.arrived[0] && pair.arrived[1] && !has_aborted(std::get<0>(key)) && !has_aborted(std::get<1>(key));
}
bool Clique::meets(int rank, const std::vector<PairKey>& keys) {
  const std::lock_guard lock(mutex_);
  bool all = true;
  for (const PairKey& key : keys) {
    Pair& pair = pairs_.at(key);
    if (std::get<0>(key) == rank) pair.arrived[0] = true;
    if (std::get<1>(key) == rank) pair.arrived[1] = true;
    all = all && (pair.performed || is_whole(key, pair));
  }
  return all || has_aborted(rank);
}
void Clique::take_part(const std::vector<PairKey>& keys) {
  const std::lock_guard lock(mutex_);
  for (const PairKey& key : keys) {
    Pair& pair = pairs_.at(key);
    if (!pair.performed && is_whole(key, pair)) {
      const Transfer &sent = *pair.sides[0], &received = *pair.sides[1];
      if (sent.count != received.count || sent.type != received.type)
        disagree(std::get<0>(key), describe(sent), std::get<1>(key), describe(received));
      if (sent.count > 0) std::memcpy(received.p, sent.p, sent.count * bytes_of(sent.type));
      pair.performed = true;
    }
    if (++pair.left == 2) pairs_.erase(key);
  }
}

}  // namespace gradus::emulation
