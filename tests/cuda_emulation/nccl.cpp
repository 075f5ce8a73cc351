// The C functions of NCCL over the emulated devices, with the signatures of the toolkit's header. Ranks are threads of
// one process, or one thread with groups; two ranks may share a device where the real one lets them, and in
// ncclCommInitAll.
#include <nccl.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <set>

#include "arguments.h"
#include "nccl_clique.h"
#include "scheduler.h"

namespace emulation = gradus::emulation;
using emulation::Call;
using emulation::Clique;
using emulation::Collective;
using emulation::Transfer;

namespace {
struct Pending {
  ncclComm_t comm;
  cudaStream_t stream;
  std::optional<Call> call;  // or a transfer
  std::optional<Transfer> transfer;
};
}  // namespace

// What the opaque handle stands for.
struct ncclComm {
  std::shared_ptr<Clique> clique;
  int rank, device;
  bool waits_for_others;  // while it is made
  bool finalized = false;
  std::set<cudaStream_t> streams = {};  // that it has used
  std::vector<Pending> deferred = {};   // calls without waiting that it has not got round to
  int polls = 0;                        // of those
};

namespace {

thread_local std::string last_error;

ncclResult_t refuse(ncclResult_t code, const std::string& why) {
  last_error = "[NCCL emulation] " + why;
  std::fprintf(stderr, "%s\n", last_error.c_str());
  return code;
}
std::string text(int number) { return std::to_string(number); }

// ---- who takes part
struct Registry {
  std::mutex mutex;
  uint64_t next_id = 1;
  std::map<uint64_t, std::shared_ptr<Clique>> cliques;
  std::set<ncclComm_t> alive;
};
Registry& registry() {
  static Registry instance;
  return instance;
}
// As NCCL 2.30 has it.
bool ranks_may_share() {
  const char* text = std::getenv("NCCL_MULTI_RANK_GPU_ENABLE");
  return text && text != std::string("0");
}
bool is_alive(ncclComm_t comm) {
  const std::lock_guard lock(registry().mutex);
  return registry().alive.count(comm) > 0;
}
void add_alive(ncclComm_t comm) {
  const std::lock_guard lock(registry().mutex);
  registry().alive.insert(comm);
}

// A unique id is a number behind these letters.
constexpr char id_mark[] = "EMULATED";
std::shared_ptr<Clique> clique_of(const ncclUniqueId& id, int ranks) {
  uint64_t number = 0;
  std::memcpy(&number, id.internal + sizeof id_mark, sizeof number);
  const std::lock_guard lock(registry().mutex);
  if (std::memcmp(id.internal, id_mark, sizeof id_mark) != 0 || number == 0 || number >= registry().next_id) return {};
  auto& clique = registry().cliques[number];
  if (!clique) clique = std::make_shared<Clique>(ranks);
  return clique;
}

// ---- groups
struct Group {
  int depth = 0;
  ncclResult_t error = ncclSuccess;  // of a call inside
  std::vector<ncclComm_t> made;
  std::vector<Pending> calls;
};
thread_local Group group;

// The calling thread's device, for a scope.
class OnDevice {
 public:
  explicit OnDevice(int device) : before_(emulation::current_device()) { emulation::set_current_device(device); }
  ~OnDevice() { emulation::set_current_device(before_); }
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;

 private:
  int before_;
};

ncclResult_t wait_for_others(const std::vector<ncclComm_t>& comms) {
  for (const ncclComm_t comm : comms)
    if (comm->waits_for_others && !comm->clique->wait_until_complete())
      return refuse(ncclSystemError, "rank " + text(comm->rank) + " of " + text(comm->clique->ranks()) +
                                         " waited for others that did not come");
  for (const ncclComm_t comm : comms)
    if (const auto fault = comm->clique->duplicate_device(); !fault.empty()) return refuse(ncclInvalidUsage, fault);
  return ncclSuccess;
}

void enqueue(ncclComm_t comm, cudaStream_t stream, emulation::Work work) {
  const OnDevice scope(comm->device);
  comm->streams.insert(stream);
  emulation::enqueue(emulation::id_of(stream), std::move(work));
}

// Collectives in the order of the calls; then, for each communicator and stream, its sends and receives in one
// operation.
ncclResult_t enqueue_all(const std::vector<Pending>& calls) {
  static std::atomic<uint64_t> groups = 0;
  const emulation::Together together{std::this_thread::get_id(), ++groups};
  std::map<std::pair<ncclComm_t, cudaStream_t>, std::vector<Transfer>> transfers;
  try {
    for (const Pending& x : calls) {
      if (x.call)
        enqueue(x.comm, x.stream, x.comm->clique->collective(x.comm->rank, *x.call, together));
      else
        transfers[{x.comm, x.stream}].push_back(*x.transfer);
    }
    for (const auto& [where, list] : transfers)
      enqueue(where.first, where.second, where.first->clique->exchange(where.first->rank, list, together));
  } catch (const emulation::Error& error) {
    return refuse(ncclInvalidUsage, error.what());
  }
  return ncclSuccess;
}

// A communicator that does not wait gets round to its calls between two questions about it.
ncclResult_t take_over(const std::vector<Pending>& calls) {
  if (calls.empty() || calls[0].comm->waits_for_others) return enqueue_all(calls);
  calls[0].comm->deferred = calls;
  calls[0].comm->polls = 0;
  return ncclInProgress;
}
ncclResult_t state_of(ncclComm_t comm) {
  if (comm->clique->has_lost_another(comm->rank)) return ncclRemoteError;
  if (!emulation::device_fault().empty()) return ncclUnhandledCudaError;
  if (!comm->clique->is_complete()) return ncclInProgress;
  if (const auto fault = comm->clique->duplicate_device(); !fault.empty()) return refuse(ncclInvalidUsage, fault);
  if (comm->deferred.empty()) return ncclSuccess;
  if (++comm->polls < 3) return ncclInProgress;
  return enqueue_all(std::exchange(comm->deferred, {}));
}

// What every call inside a group ends with, so that ncclGroupEnd knows.
ncclResult_t noted(ncclResult_t code) {
  if (group.depth > 0 && group.error == ncclSuccess) group.error = code;
  return code;
}
ncclResult_t submit(Pending pending) {
  if (group.depth == 0) return take_over({std::move(pending)});
  group.calls.push_back(std::move(pending));
  return ncclSuccess;
}

// ---- arguments
ncclResult_t check_use(ncclComm_t comm, cudaStream_t stream, ncclDataType_t type, size_t count) {
  if (!is_alive(comm)) return refuse(ncclInvalidArgument, "the communicator does not exist, or no longer");
  if (comm->finalized) return refuse(ncclInvalidUsage, "the communicator has been finalized");
  if (!comm->clique->is_complete()) return refuse(ncclInvalidUsage, "the communicator is not ready: ncclInProgress");
  if (!comm->deferred.empty()) return refuse(ncclInvalidArgument, "the communicator is busy: ncclInProgress");
  if (const auto fault = emulation::fault_in_stream(stream, comm->device); !fault.empty())
    return refuse(ncclInvalidArgument, "the stream " + fault);
  if (emulation::bytes_of(type) == 0) return refuse(ncclInvalidArgument, "type " + text(type) + " is unknown");
  if (count > SIZE_MAX / 8 / static_cast<size_t>(comm->clique->ranks()))
    return refuse(ncclInvalidArgument, "count " + std::to_string(count));
  return emulation::device_fault().empty() ? ncclSuccess : ncclUnhandledCudaError;
}
ncclResult_t check_buffer(const char* name, const void* p, size_t count, ncclDataType_t type, int device) {
  if (count == 0) return ncclSuccess;
  const size_t element = emulation::bytes_of(type);
  const auto fault = emulation::fault_in_memory(p, count * element, element, device);
  return fault.empty() ? ncclSuccess : refuse(ncclInvalidArgument, std::string(name) + " " + fault);
}
bool is_rank(int rank, ncclComm_t comm) { return rank >= 0 && rank < comm->clique->ranks(); }

// What this rank reads and writes, in elements, and where the one lies in the other when the call is in place.
struct Extent {
  size_t sent, received;
  size_t send_offset = 0, receive_offset = 0;
};
Extent extent_of(const Call& call, ncclComm_t comm) {
  const auto ranks = static_cast<size_t>(comm->clique->ranks()), rank = static_cast<size_t>(comm->rank);
  const bool is_root = call.root == comm->rank;
  const size_t n = call.count;
  switch (call.kind) {
    case Collective::broadcast: return {is_root ? n : 0, n};
    case Collective::reduce: return {n, is_root ? n : 0};
    case Collective::all_gather: return {n, n * ranks, 0, rank * n};
    case Collective::reduce_scatter: return {n * ranks, n, rank * n, 0};
    default: return {n, n};
  }
}

ncclResult_t check_collective(const Call& call, ncclComm_t comm, cudaStream_t stream) {
  if (const auto code = check_use(comm, stream, call.type, call.count); code != ncclSuccess) return code;
  if (call.op < 0 || call.op > ncclAvg)
    return refuse(ncclInvalidArgument, "operation " + text(call.op) + " is unknown");
  if (!is_rank(call.root, comm)) return refuse(ncclInvalidArgument, "root " + text(call.root) + " is no rank");
  const Extent extent = extent_of(call, comm);
  if (const auto code = check_buffer("sendbuff", call.send, extent.sent, call.type, comm->device); code != ncclSuccess)
    return code;
  if (const auto code = check_buffer("recvbuff", call.receive, extent.received, call.type, comm->device);
      code != ncclSuccess)
    return code;
  const size_t element = emulation::bytes_of(call.type);
  const auto *send = static_cast<const char*>(call.send), *receive = static_cast<const char*>(call.receive);
  if (extent.sent > 0 && extent.received > 0 &&
      emulation::overlap(send, extent.sent * element, receive, extent.received * element) &&
      send + extent.send_offset * element != receive + extent.receive_offset * element)
    return refuse(ncclInvalidArgument, "sendbuff and recvbuff overlap, and not as an in-place call does");
  return ncclSuccess;
}
ncclResult_t collective(const Call& call, ncclComm_t comm, cudaStream_t stream) {
  const ncclResult_t code = check_collective(call, comm, stream);
  return noted(code == ncclSuccess ? submit({comm, stream, call, {}}) : code);
}

ncclResult_t transfer(const Transfer& x, ncclComm_t comm, cudaStream_t stream) {
  ncclResult_t code = check_use(comm, stream, x.type, x.count);
  if (code == ncclSuccess && !is_rank(x.peer, comm))
    code = refuse(ncclInvalidArgument, "peer " + text(x.peer) + " is no rank");
  if (code == ncclSuccess) code = check_buffer(x.sends ? "sendbuff" : "recvbuff", x.p, x.count, x.type, comm->device);
  return noted(code == ncclSuccess ? submit({comm, stream, {}, x}) : code);
}

// ---- communicators
ncclResult_t make(ncclComm_t* comm, int ranks, const ncclUniqueId& id, int rank, int device, bool waits,
                  bool may_share) {
  if (!comm || ranks < 1 || rank < 0 || rank >= ranks)
    return refuse(ncclInvalidArgument, "rank " + text(rank) + " of " + text(ranks));
  const auto clique = clique_of(id, ranks);
  if (!clique) return refuse(ncclInvalidArgument, "the unique id does not come from ncclGetUniqueId");
  if (clique->ranks() != ranks)
    return refuse(ncclInvalidArgument,
                  "rank " + text(rank) + " says " + text(ranks) + " ranks, another one said " + text(clique->ranks()));
  if (!clique->join(rank, may_share ? -1 : device))
    return refuse(ncclInvalidUsage, "rank " + text(rank) + " is there already");
  *comm = new ncclComm{clique, rank, device, waits};
  add_alive(*comm);
  return ncclSuccess;
}

void wait_for_streams(ncclComm_t comm) {
  const OnDevice scope(comm->device);
  for (const cudaStream_t stream : comm->streams)
    if (emulation::is_stream(emulation::id_of(stream))) emulation::wait_for_stream(emulation::id_of(stream));
}
void forget(ncclComm_t comm) {
  const std::lock_guard lock(registry().mutex);
  registry().alive.erase(comm);
  delete comm;
}

template <class Value>
ncclResult_t hand_out(Value* to, Value value) {
  if (!to) return refuse(ncclInvalidArgument, "a null pointer");
  *to = value;
  return ncclSuccess;
}

}  // namespace

extern "C" {

ncclResult_t ncclGetVersion(int* version) {
  if (!version) return ncclInvalidArgument;
  *version = NCCL_VERSION_CODE;
  return ncclSuccess;
}
const char* ncclGetErrorString(ncclResult_t result) {
  switch (result) {
    case ncclSuccess: return "no error";
    case ncclUnhandledCudaError: return "unhandled cuda error";
    case ncclSystemError: return "unhandled system error";
    case ncclInternalError: return "internal error";
    case ncclInvalidArgument: return "invalid argument";
    case ncclInvalidUsage: return "invalid usage";
    case ncclRemoteError: return "remote process exited or there was a network error";
    case ncclInProgress: return "NCCL operation in progress";
    default: return "unknown result code";
  }
}
const char* ncclGetLastError(ncclComm_t) { return last_error.c_str(); }

// ---- communicators
ncclResult_t ncclGetUniqueId(ncclUniqueId* id) {
  if (!id) return ncclInvalidArgument;
  const std::lock_guard lock(registry().mutex);
  *id = {};
  std::memcpy(id->internal, id_mark, sizeof id_mark);
  std::memcpy(id->internal + sizeof id_mark, &registry().next_id, sizeof registry().next_id);
  ++registry().next_id;
  return ncclSuccess;
}
ncclResult_t ncclCommInitRankConfig(ncclComm_t* comm, int ranks, ncclUniqueId id, int rank, ncclConfig_t* config) {
  const ncclConfig_t defaults = NCCL_CONFIG_INITIALIZER;
  if (config && (config->magic != defaults.magic || config->size != defaults.size))
    return noted(refuse(ncclInvalidArgument, "the configuration is not initialised with NCCL_CONFIG_INITIALIZER"));
  const bool waits = !config || config->blocking != 0;
  if (const auto code = make(comm, ranks, id, rank, emulation::current_device(), waits, ranks_may_share());
      code != ncclSuccess)
    return noted(code);
  if (group.depth > 0) {
    group.made.push_back(*comm);
    return ncclSuccess;
  }
  if (!waits) return (*comm)->clique->is_complete() ? ncclSuccess : ncclInProgress;
  return wait_for_others({*comm});
}
ncclResult_t ncclCommInitRank(ncclComm_t* comm, int ranks, ncclUniqueId id, int rank) {
  return ncclCommInitRankConfig(comm, ranks, id, rank, nullptr);
}
ncclResult_t ncclCommInitAll(ncclComm_t* comms, int count, const int* devices) {
  if (!comms || count < 1) return refuse(ncclInvalidArgument, "no communicators");
  for (int r = 0; r < count; ++r)
    if (const int device = devices ? devices[r] : r; device < 0 || device >= emulation::device_count)
      return refuse(ncclInvalidArgument, "device " + text(device) + " does not exist");
  ncclUniqueId id;
  ncclGetUniqueId(&id);
  for (int r = 0; r < count; ++r)
    if (const auto code = make(&comms[r], count, id, r, devices ? devices[r] : r, true, true); code != ncclSuccess)
      return code;
  return ncclSuccess;
}
ncclResult_t ncclCommFinalize(ncclComm_t comm) {
  if (!is_alive(comm)) return refuse(ncclInvalidArgument, "the communicator does not exist, or no longer");
  if (comm->finalized) return refuse(ncclInvalidUsage, "the communicator has been finalized already");
  comm->finalized = true;
  wait_for_streams(comm);
  return ncclSuccess;
}
ncclResult_t ncclCommDestroy(ncclComm_t comm) {
  if (!comm) return ncclSuccess;
  if (!is_alive(comm)) return refuse(ncclInvalidArgument, "the communicator does not exist, or no longer");
  wait_for_streams(comm);
  forget(comm);
  return ncclSuccess;
}
ncclResult_t ncclCommAbort(ncclComm_t comm) {
  if (!comm) return ncclSuccess;
  if (!is_alive(comm)) return refuse(ncclInvalidArgument, "the communicator does not exist, or no longer");
  comm->clique->abort(comm->rank);
  forget(comm);
  return ncclSuccess;
}
ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t* error) {
  if (!is_alive(comm)) return refuse(ncclInvalidArgument, "the communicator does not exist, or no longer");
  return hand_out(error, state_of(comm));
}
ncclResult_t ncclCommCount(const ncclComm_t comm, int* count) {
  return is_alive(comm) ? hand_out(count, comm->clique->ranks()) : ncclInvalidArgument;
}
ncclResult_t ncclCommCuDevice(const ncclComm_t comm, int* device) {
  return is_alive(comm) ? hand_out(device, comm->device) : ncclInvalidArgument;
}
ncclResult_t ncclCommUserRank(const ncclComm_t comm, int* rank) {
  return is_alive(comm) ? hand_out(rank, comm->rank) : ncclInvalidArgument;
}

// ---- groups
ncclResult_t ncclGroupStart() {
  ++group.depth;
  return ncclSuccess;
}
ncclResult_t ncclGroupEnd() {
  if (group.depth == 0) return refuse(ncclInvalidUsage, "ncclGroupEnd without ncclGroupStart");
  if (--group.depth > 0) return ncclSuccess;
  const Group ended = std::exchange(group, {});
  if (ended.error != ncclSuccess) return ended.error;
  if (const auto code = wait_for_others(ended.made); code != ncclSuccess) return code;
  return take_over(ended.calls);
}

// ---- collectives
ncclResult_t ncclAllReduce(const void* send, void* receive, size_t count, ncclDataType_t type, ncclRedOp_t op,
                           ncclComm_t comm, cudaStream_t stream) {
  return collective({Collective::all_reduce, send, receive, count, type, op}, comm, stream);
}
ncclResult_t ncclBroadcast(const void* send, void* receive, size_t count, ncclDataType_t type, int root,
                           ncclComm_t comm, cudaStream_t stream) {
  return collective({Collective::broadcast, send, receive, count, type, ncclSum, root}, comm, stream);
}
ncclResult_t ncclReduce(const void* send, void* receive, size_t count, ncclDataType_t type, ncclRedOp_t op, int root,
                        ncclComm_t comm, cudaStream_t stream) {
  return collective({Collective::reduce, send, receive, count, type, op, root}, comm, stream);
}
ncclResult_t ncclAllGather(const void* send, void* receive, size_t count, ncclDataType_t type, ncclComm_t comm,
                           cudaStream_t stream) {
  return collective({Collective::all_gather, send, receive, count, type}, comm, stream);
}
ncclResult_t ncclReduceScatter(const void* send, void* receive, size_t count, ncclDataType_t type, ncclRedOp_t op,
                               ncclComm_t comm, cudaStream_t stream) {
  return collective({Collective::reduce_scatter, send, receive, count, type, op}, comm, stream);
}
ncclResult_t ncclSend(const void* send, size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                      cudaStream_t stream) {
  return transfer({true, peer, const_cast<void*>(send), count, type}, comm, stream);
}
ncclResult_t ncclRecv(void* receive, size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                      cudaStream_t stream) {
  return transfer({false, peer, receive, count, type}, comm, stream);
}

}  // extern "C"
