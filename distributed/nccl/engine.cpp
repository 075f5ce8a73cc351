// NCCL as the engine of groups on CUDA devices, one communicator each. What NCCL has no function for is made of sends
// and receives in one group.
#include <cstdint>

#include <fmt/format.h>

#include <gradus/core/dtype.h>
#include <gradus/cuda/backend/backend.h>
#include <gradus/cuda/backend/library.h>
#include <gradus/cuda/backend/runtime.h>
#include <gradus/distributed/nccl/communicator.h>

namespace gradus::dist::nccl_engine {
namespace {

using detail::Collective;
using detail::Op;

ncclDataType_t type_of(Dtype dtype) {
  switch (dtype) {
    case float32: return ncclFloat32;
    case float64: return ncclFloat64;
    case float16: return ncclFloat16;
    case bfloat16: return ncclBfloat16;
    case int32: return ncclInt32;
    case int64: return ncclInt64;
    case uint8:
    case boolean: return ncclUint8;  // bytes of 0 and 1, of which min is «and» and max is «or»
  }
  throw DtypeError("NCCL has no type for a dtype of this number");
}

ncclRedOp_t operation_of(ReduceOp op) {
  constexpr ncclRedOp_t operations[] = {ncclSum, ncclAvg, ncclProd, ncclMin, ncclMax};
  return operations[static_cast<size_t>(op)];
}

class NcclEngine final : public detail::DeviceEngine {
 public:
  NcclEngine(const detail::Member& member, Device device, Store& store)
      : rank_(member.rank), size_(member.size), device_(device), comm_(member, device, store) {}

  void enqueue(const Collective& c) override {
    if (c.count == 0) return;
    comm_.complete(ncclInProgress, "ncclCommInitRankConfig");
    comm_.complete(launch(c), detail::name(c.op));
  }
  void check() override { comm_.check(); }
  void abort() noexcept override { comm_.abort(); }

 private:
  ncclResult_t launch(const Collective& c) const;
  ncclResult_t all_to_all(const Collective& c) const;
  ncclResult_t gather(const Collective& c) const;
  ncclResult_t scatter(const Collective& c) const;

  cudaStream_t stream() const { return cuda::stream_of(device_.index); }
  ncclResult_t send(const Collective& c, int64_t part, int to) const {
    const auto* from = static_cast<const uint8_t*>(c.in) + part * c.count * itemsize(c.dtype);
    return ncclSend(from, static_cast<size_t>(c.count), type_of(c.dtype), to, comm_.get(), stream());
  }
  ncclResult_t receive(const Collective& c, int64_t part, int from) const {
    auto* to = static_cast<uint8_t*>(c.out) + part * c.count * itemsize(c.dtype);
    return ncclRecv(to, static_cast<size_t>(c.count), type_of(c.dtype), from, comm_.get(), stream());
  }

  const int rank_, size_;
  const Device device_;
  Communicator comm_;
};

// Sends and receives that progress together. The first refusal is the result.
class Together {
 public:
  Together() { ncclGroupStart(); }
  void operator+=(ncclResult_t result) {
    if (result_ == ncclSuccess && result != ncclInProgress) result_ = result;
  }
  ncclResult_t end() const {
    const ncclResult_t ended = ncclGroupEnd();
    return result_ == ncclSuccess ? ended : result_;
  }

 private:
  ncclResult_t result_ = ncclSuccess;
};

ncclResult_t NcclEngine::launch(const Collective& c) const {
  const auto count = static_cast<size_t>(c.count);
  const ncclDataType_t type = type_of(c.dtype);
  const ncclRedOp_t operation = operation_of(c.reduce);
  switch (c.op) {
    case Op::all_reduce: return ncclAllReduce(c.out, c.out, count, type, operation, comm_.get(), stream());
    case Op::broadcast: return ncclBroadcast(c.out, c.out, count, type, c.root, comm_.get(), stream());
    case Op::reduce: return ncclReduce(c.in, c.out, count, type, operation, c.root, comm_.get(), stream());
    case Op::all_gather: return ncclAllGather(c.in, c.out, count, type, comm_.get(), stream());
    case Op::reduce_scatter: return ncclReduceScatter(c.in, c.out, count, type, operation, comm_.get(), stream());
    case Op::all_to_all: return all_to_all(c);
    case Op::gather: return gather(c);
    case Op::scatter: return scatter(c);
    case Op::send: return send(c, 0, c.root);
    case Op::recv: return receive(c, 0, c.root);
    case Op::barrier:
    case Op::exchange: break;  // the control plane does these
  }
  return ncclInvalidUsage;
}

ncclResult_t NcclEngine::all_to_all(const Collective& c) const {
  Together calls;
  for (int rank = 0; rank < size_; ++rank) {
    calls += send(c, rank, rank);
    calls += receive(c, rank, rank);
  }
  return calls.end();
}

ncclResult_t NcclEngine::gather(const Collective& c) const {
  Together calls;
  calls += send(c, 0, c.root);
  for (int rank = 0; rank < size_ && rank_ == c.root; ++rank) calls += receive(c, rank, rank);
  return calls.end();
}

ncclResult_t NcclEngine::scatter(const Collective& c) const {
  Together calls;
  calls += receive(c, 0, c.root);
  for (int rank = 0; rank < size_ && rank_ == c.root; ++rank) calls += send(c, rank, rank);
  return calls.end();
}

class NcclMaker final : public detail::DeviceEngineMaker {
 public:
  Box<detail::DeviceEngine> make(const detail::Member& member, Device device, Store& store) override {
    cuda::CudaBackend::get().select(device.index);
    return make_box<NcclEngine>(member, device, store);
  }
  std::string version() const override {
    const cuda::Library& library = cuda::nccl_library();
    if (!library) throw DeviceError(fmt::format("processes exchange CUDA tensors by NCCL: {}", library.error));
    return library.version;
  }
};

[[maybe_unused]] const bool handed_in = [] {
  detail::set_nccl(*new NcclMaker);
  return true;
}();

}  // namespace
}  // namespace gradus::dist::nccl_engine
