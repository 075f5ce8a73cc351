// The ranks of one NCCL communicator: how their calls find each other. What a collective computes is in
// nccl_compute.cpp, the C functions are in nccl.cpp.
#pragma once

#include <nccl.h>

#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include "streams.h"

namespace gradus::emulation {

enum class Collective : uint8_t { all_reduce, broadcast, reduce, all_gather, reduce_scatter };

struct Call {
  Collective kind;
  const void* send;
  void* receive;
  size_t count;
  ncclDataType_t type;
  ncclRedOp_t op = ncclSum;
  int root = 0;
};

/// One side of a send and its receive.
struct Transfer {
  bool sends;
  int peer;
  void* p;  // read when it sends
  size_t count;
  ncclDataType_t type;
};

/// 0 for a type that the stand-in does not know.
size_t bytes_of(ncclDataType_t type);
/// Such as «ncclAllReduce of 10 elements of type 7, operation 0, root 0».
std::string describe(const Call& call);
std::string describe(const Transfer& transfer);
/// Reads what all ranks send, and writes what they receive. Ranks are summed in their order.
void perform(std::span<const Call> calls);

/// Calls that were made together: by one thread, in one group or alone.
struct Together {
  std::thread::id thread;
  uint64_t number;
};

class Clique : public std::enable_shared_from_this<Clique> {
 public:
  explicit Clique(int ranks) : ranks_(static_cast<size_t>(ranks)), members_(ranks_) {}
  int ranks() const { return static_cast<int>(ranks_); }

  /// False when the rank has joined already. `device` is one that the rank must have to itself, or -1.
  bool join(int rank, int device);
  /// Two ranks that must have a device to themselves and do not; empty: there are none.
  std::string duplicate_device();
  bool is_complete();
  /// Waits for all ranks to join; false when one has left or somebody's patience ends.
  bool wait_until_complete();
  /// What the rank still waits for ends without effect.
  void abort(int rank);
  bool has_lost_another(int rank);

  /// The rank's part of a collective, as an operation of a stream: ready when the parts of all ranks are. Throws Error
  /// when one thread calls for two ranks without a group.
  Work collective(int rank, const Call& call, Together together);
  /// Sends and receives of one group: they progress together.
  Work exchange(int rank, const std::vector<Transfer>& transfers, Together together);

 private:
  struct Member {
    bool joined = false, aborted = false;
    int device = -1;                         // that it must have to itself
    uint64_t calls = 0;                      // collectives so far
    std::map<int, uint64_t> sent, received;  // transfers so far, by peer
  };
  // A collective's parts, one a rank.
  struct Meeting {
    std::vector<std::optional<Call>> calls;
    std::vector<Together> together;
    std::vector<char> arrived;  // at the head of its stream
    bool performed = false;
    size_t left = 0;
  };
  // A send (first) and its receive.
  struct Pair {
    std::optional<Transfer> sides[2];
    Together together[2];
    bool arrived[2] = {false, false};
    bool performed = false;
    size_t left = 0;
  };
  using PairKey = std::tuple<int, int, uint64_t>;  // from, to, number

  std::string rank_text(int rank) const { return "rank " + std::to_string(rank) + " of " + std::to_string(ranks_); }
  bool has_aborted(int rank) const { return members_[static_cast<size_t>(rank)].aborted; }
  bool somebody_aborted() const;
  bool meets(int rank, uint64_t number);
  void take_part(uint64_t number);
  bool is_whole(const PairKey& key, const Pair& pair) const;
  bool meets(int rank, const std::vector<PairKey>& pairs);
  void take_part(const std::vector<PairKey>& pairs);

  const size_t ranks_;
  std::mutex mutex_;  // the timeline's may be held when it is taken, never the other way round
  std::condition_variable change_;
  std::vector<Member> members_;
  std::map<uint64_t, Meeting> meetings_;
  std::map<PairKey, Pair> pairs_;
};

}  // namespace gradus::emulation
