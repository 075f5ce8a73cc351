// NCCL, opened at run time. Without it every function returns ncclSystemError, and ncclGetLastError() and
// nccl_library() say why.
#include <gradus/cuda/backend/library.h>
#include <gradus/cuda/backend/trampoline.h>

// A toolkit comes without NCCL's header.
#if __has_include(<nccl.h>)

#include <nccl.h>

// clang-format off
#define GRADUS_NCCL_FUNCTIONS(X) \
  X(ncclResult_t, ncclGetVersion, (int* version), (version), ncclSystemError) \
  X(const char*, ncclGetErrorString, (ncclResult_t result), (result), "NCCL is missing") \
  X(const char*, ncclGetLastError, (ncclComm_t comm), (comm), library().error.c_str()) \
  X(ncclResult_t, ncclGetUniqueId, (ncclUniqueId* id), (id), ncclSystemError) \
  X(ncclResult_t, ncclCommInitRank, (ncclComm_t* comm, int ranks, ncclUniqueId id, int rank), (comm, ranks, id, rank), \
    ncclSystemError) \
  X(ncclResult_t, ncclCommInitRankConfig, \
    (ncclComm_t* comm, int ranks, ncclUniqueId id, int rank, ncclConfig_t* config), (comm, ranks, id, rank, config), \
    ncclSystemError) \
  X(ncclResult_t, ncclCommInitAll, (ncclComm_t* comms, int count, const int* devices), (comms, count, devices), \
    ncclSystemError) \
  X(ncclResult_t, ncclCommFinalize, (ncclComm_t comm), (comm), ncclSystemError) \
  X(ncclResult_t, ncclCommDestroy, (ncclComm_t comm), (comm), ncclSystemError) \
  X(ncclResult_t, ncclCommAbort, (ncclComm_t comm), (comm), ncclSystemError) \
  X(ncclResult_t, ncclCommGetAsyncError, (ncclComm_t comm, ncclResult_t* error), (comm, error), ncclSystemError) \
  X(ncclResult_t, ncclCommCount, (const ncclComm_t comm, int* count), (comm, count), ncclSystemError) \
  X(ncclResult_t, ncclCommCuDevice, (const ncclComm_t comm, int* device), (comm, device), ncclSystemError) \
  X(ncclResult_t, ncclCommUserRank, (const ncclComm_t comm, int* rank), (comm, rank), ncclSystemError) \
  X(ncclResult_t, ncclGroupStart, (), (), ncclSystemError) \
  X(ncclResult_t, ncclGroupEnd, (), (), ncclSystemError) \
  X(ncclResult_t, ncclAllReduce, \
    (const void* send, void* receive, size_t count, ncclDataType_t type, ncclRedOp_t op, ncclComm_t comm, \
     cudaStream_t stream), \
    (send, receive, count, type, op, comm, stream), ncclSystemError) \
  X(ncclResult_t, ncclBroadcast, \
    (const void* send, void* receive, size_t count, ncclDataType_t type, int root, ncclComm_t comm, \
     cudaStream_t stream), \
    (send, receive, count, type, root, comm, stream), ncclSystemError) \
  X(ncclResult_t, ncclReduce, \
    (const void* send, void* receive, size_t count, ncclDataType_t type, ncclRedOp_t op, int root, ncclComm_t comm, \
     cudaStream_t stream), \
    (send, receive, count, type, op, root, comm, stream), ncclSystemError) \
  X(ncclResult_t, ncclAllGather, \
    (const void* send, void* receive, size_t count, ncclDataType_t type, ncclComm_t comm, cudaStream_t stream), \
    (send, receive, count, type, comm, stream), ncclSystemError) \
  X(ncclResult_t, ncclReduceScatter, \
    (const void* send, void* receive, size_t count, ncclDataType_t type, ncclRedOp_t op, ncclComm_t comm, \
     cudaStream_t stream), \
    (send, receive, count, type, op, comm, stream), ncclSystemError) \
  X(ncclResult_t, ncclSend, \
    (const void* send, size_t count, ncclDataType_t type, int peer, ncclComm_t comm, cudaStream_t stream), \
    (send, count, type, peer, comm, stream), ncclSystemError) \
  X(ncclResult_t, ncclRecv, \
    (void* receive, size_t count, ncclDataType_t type, int peer, ncclComm_t comm, cudaStream_t stream), \
    (receive, count, type, peer, comm, stream), ncclSystemError)
// clang-format on

namespace gradus::cuda {

const Library& nccl_library() {
  static const Library library = open_library({
      .name = "NCCL",
      .files = {"libnccl.so.2"},
      .functions = {GRADUS_NCCL_FUNCTIONS(GRADUS_FUNCTION_NAME)},
      .version =
          [](const Library& opened) {
            int version = 0;
            reinterpret_cast<decltype(&ncclGetVersion)>(opened.find("ncclGetVersion"))(&version);
            return version;
          },
      .oldest = 21800,
      .install = "pip install nvidia-nccl-cu13",
  });
  return library;
}

}  // namespace gradus::cuda

namespace {
const gradus::cuda::Library& library() { return gradus::cuda::nccl_library(); }
}  // namespace

extern "C" {
GRADUS_NCCL_FUNCTIONS(GRADUS_TRAMPOLINE)
}

#else

namespace gradus::cuda {

const Library& nccl_library() {
  static const Library library{.name = "NCCL", .error = "NCCL: the plug-in was built without nccl.h"};
  return library;
}

}  // namespace gradus::cuda

#endif
