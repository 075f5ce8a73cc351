// The life of a communicator, and what its failures mean.
#include <gradus/distributed/nccl/communicator.h>

#include <chrono>
#include <cstring>
#include <string_view>
#include <thread>
#include <utility>

#include <fmt/format.h>

#include <gradus/core/error.h>
#include <gradus/distributed/detail/deadline.h>

namespace gradus::dist::nccl_engine {
namespace {

constexpr const char* id_key = "nccl-id";
constexpr double patience_at_the_end = 5;  // seconds for ending in good order

// Rank 0 makes it, the others find it in the store.
ncclUniqueId unique_id(const detail::Member& member, Store& store) {
  ncclUniqueId id;
  if (member.rank == 0) {
    if (ncclGetUniqueId(&id) != ncclSuccess)
      throw CommError(fmt::format("NCCL: ncclGetUniqueId: {}", ncclGetLastError(nullptr)));
    store.set(id_key, std::string(id.internal, sizeof id.internal));
    return id;
  }
  const std::string bytes = store.get(id_key, member.timeout);
  if (bytes.size() != sizeof id.internal)
    throw CommError(fmt::format("the store has {} bytes under {}; want {}: do all ranks use the same Gradus?",
                                bytes.size(), id_key, sizeof id.internal));
  std::memcpy(id.internal, bytes.data(), sizeof id.internal);
  return id;
}

// Polls soon at first: an operation is taken over in microseconds, unless connections are to be made.
class Pause {
 public:
  void operator()() {
    if (++turns_ < 100)
      std::this_thread::yield();
    else
      std::this_thread::sleep_for(std::chrono::microseconds(100));
  }

 private:
  int turns_ = 0;
};

}  // namespace

Communicator::Communicator(const detail::Member& member, Device device, Store& store) : device_(device) {
  const ncclUniqueId id = unique_id(member, store);
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  const ncclResult_t result = ncclCommInitRankConfig(&comm_, member.size, id, member.rank, &config);
  if (result == ncclSuccess || result == ncclInProgress) return;
  if (const ncclComm_t made = std::exchange(comm_, nullptr)) ncclCommAbort(made);
  fail(result, "ncclCommInitRankConfig");
}

Communicator::~Communicator() {
  if (!comm_) return;
  if (failed_ || aborted_ || !finalize())
    ncclCommAbort(comm_);
  else
    ncclCommDestroy(comm_);
}

// False when the others do not follow.
bool Communicator::finalize() noexcept {
  const detail::Deadline deadline(patience_at_the_end);
  ncclResult_t state = ncclInProgress;
  for (Pause pause; state == ncclInProgress && !deadline.passed(); pause())  // what was begun last
    if (ncclCommGetAsyncError(comm_, &state) != ncclSuccess) return false;
  if (state == ncclSuccess) state = ncclCommFinalize(comm_);
  for (Pause pause; state == ncclInProgress && !deadline.passed(); pause())
    if (ncclCommGetAsyncError(comm_, &state) != ncclSuccess) return false;
  return state == ncclSuccess;
}

void Communicator::complete(ncclResult_t result, const char* call) {
  for (Pause pause; result == ncclInProgress; pause()) {
    if (aborted_) throw CommError(fmt::format("{} was aborted", call), CommError::Kind::aborted);
    if (const ncclResult_t asked = ncclCommGetAsyncError(comm_, &result); asked != ncclSuccess) result = asked;
  }
  if (result == ncclSuccess) return;
  failed_ = true;
  fail(result, call);
}

void Communicator::check() {
  ncclResult_t state = ncclSuccess;
  if (const ncclResult_t asked = ncclCommGetAsyncError(comm_, &state); asked != ncclSuccess) state = asked;
  if (state == ncclSuccess || state == ncclInProgress) return;
  failed_ = true;
  fail(state, "an operation on the device");
}

void Communicator::fail(ncclResult_t result, const char* call) const {
  const std::string_view said = ncclGetLastError(comm_);
  std::string text = fmt::format("NCCL: {} failed on {}: {}{}{}", call, to_string(device_), ncclGetErrorString(result),
                                 said.empty() ? "" : ": ", said);
  if (said.find("Duplicate GPU") != said.npos)
    throw CommError(
        text +
        "; each rank needs a GPU of its own: start one rank a GPU (CUDA_VISIBLE_DEVICES, LOCAL_RANK), or set "
        "NCCL_MULTI_RANK_GPU_ENABLE=1 with NCCL 2.30 or newer");
  switch (result) {
    case ncclRemoteError: throw CommError(text, CommError::Kind::peer_lost);
    case ncclUnhandledCudaError: throw DeviceError(text);
    default: throw CommError(text + "; NCCL_DEBUG=INFO says more");
  }
}

}  // namespace gradus::dist::nccl_engine
