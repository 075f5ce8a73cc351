// One operation of a group as plain data: input checks fill it in, engines run it, and fingerprints, tags and the
// flight recorder are made from it.
#pragma once

#include <cstdint>
#include <string>

#include <gradus/core/device.h>
#include <gradus/core/dtype.h>
#include <gradus/distributed/process_group.h>

namespace gradus::dist::detail {

/// exchange is not for users: both ranks of a pair send `in` and receive `out`.
enum class Op : uint8_t {
  all_reduce,
  broadcast,
  reduce,
  all_gather,
  reduce_scatter,
  all_to_all,
  gather,
  scatter,
  barrier,
  send,
  recv,
  exchange,
};

GRADUS_API const char* name(Op op);
const char* name(ReduceOp op);
constexpr bool is_reduction(Op op) { return op == Op::all_reduce || op == Op::reduce || op == Op::reduce_scatter; }
constexpr bool is_pairwise(Op op) { return op >= Op::send; }

struct Collective {
  Op op;
  ReduceOp reduce = ReduceOp::sum;
  Dtype dtype = uint8;
  bool checked = true;       ///< compared with the other ranks' first
  int root = -1;             ///< in the group's numbering; for send, recv and exchange the other rank
  int root_in_job = -1;      ///< the same in the job's numbering, which is that of all messages
  int64_t count = 0;         ///< elements of one rank's part
  int64_t seq = 0;           ///< from 1 on; pairwise operations are numbered apart for each pair
  const void* in = nullptr;  ///< what this rank gives; null: `out` is changed in place
  void* out = nullptr;
  uint32_t tag = 0;    ///< that of its fingerprint: messages of operations that differ never meet
  double timeout = 0;  ///< seconds
  Device device = {};  ///< where this rank's tensors are
};

/// What ranks compare.
struct Fingerprint {
  int64_t seq, count;
  int32_t root;  ///< in the job's numbering
  Op op;
  ReduceOp reduce;
  Dtype dtype;
  bool checked;
  DeviceType device;
  uint32_t tag;  ///< tells, too, whether all of it has arrived

  bool operator==(const Fingerprint&) const = default;
};

Fingerprint fingerprint(const Collective& collective);
/// "all_reduce #5 float32[1000] sum", "broadcast #6 float32[10] from 0".
std::string describe(const Fingerprint& f);
inline std::string describe(const Collective& collective) { return describe(fingerprint(collective)); }
/// From all the rest of it; never 0.
uint32_t tag_of(const Fingerprint& f);
/// Whether a rank's send and the other one's receive are one message.
bool fits(const Fingerprint& mine, const Fingerprint& theirs);

}  // namespace gradus::dist::detail
