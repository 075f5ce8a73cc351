// What a collective computes. A sum is rounded to the type after each rank, as in a ring, in the order of the ranks.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstring>
#include <type_traits>

#include "nccl_clique.h"

namespace gradus::emulation {
namespace {

// Reduced in this type; unsigned integers wrap around.
template <class T, class = void>
struct Arithmetic {
  using type = float;  // of the 16-bit types
};
template <class T>
struct Arithmetic<T, std::enable_if_t<std::is_floating_point_v<T>>> {
  using type = T;
};
template <class T>
struct Arithmetic<T, std::enable_if_t<std::is_integral_v<T>>> {
  using type = std::make_unsigned_t<T>;
};

template <class T>
T combine(T x, T y, ncclRedOp_t op) {
  using A = typename Arithmetic<T>::type;
  switch (op) {
    case ncclProd: return static_cast<T>(static_cast<A>(static_cast<A>(x) * static_cast<A>(y)));
    case ncclMax: return x < y ? y : x;
    case ncclMin: return y < x ? y : x;
    default: return static_cast<T>(static_cast<A>(static_cast<A>(x) + static_cast<A>(y)));  // ncclSum, ncclAvg
  }
}
template <class T>
T divide(T x, size_t ranks) {
  if constexpr (std::is_integral_v<T>)
    return static_cast<T>(x / static_cast<T>(ranks));
  else
    return static_cast<T>(static_cast<typename Arithmetic<T>::type>(x) /
                          static_cast<typename Arithmetic<T>::type>(ranks));
}

using Bytes = std::vector<char>;

// n elements of every rank.
template <class T>
Bytes reduced(std::span<const Call> calls, size_t n) {
  Bytes result(n * sizeof(T));
  for (size_t i = 0; i < n; ++i) {
    T value = static_cast<const T*>(calls[0].send)[i];
    for (const Call& call : calls.subspan(1)) value = combine(value, static_cast<const T*>(call.send)[i], call.op);
    if (calls[0].op == ncclAvg) value = divide(value, calls.size());
    std::memcpy(&result[i * sizeof(T)], &value, sizeof(T));
  }
  return result;
}
Bytes reduced_as(ncclDataType_t type, std::span<const Call> calls, size_t n) {
  switch (type) {
    case ncclInt8: return reduced<int8_t>(calls, n);
    case ncclUint8: return reduced<uint8_t>(calls, n);
    case ncclInt32: return reduced<int32_t>(calls, n);
    case ncclUint32: return reduced<uint32_t>(calls, n);
    case ncclInt64: return reduced<int64_t>(calls, n);
    case ncclUint64: return reduced<uint64_t>(calls, n);
    case ncclFloat16: return reduced<__half>(calls, n);
    case ncclBfloat16: return reduced<__nv_bfloat16>(calls, n);
    case ncclFloat64: return reduced<double>(calls, n);
    default: return reduced<float>(calls, n);
  }
}

const char* name_of(Collective kind) {
  switch (kind) {
    case Collective::all_reduce: return "ncclAllReduce";
    case Collective::broadcast: return "ncclBroadcast";
    case Collective::reduce: return "ncclReduce";
    case Collective::all_gather: return "ncclAllGather";
    default: return "ncclReduceScatter";
  }
}

}  // namespace

size_t bytes_of(ncclDataType_t type) {
  switch (type) {
    case ncclInt8:
    case ncclUint8: return 1;
    case ncclFloat16:
    case ncclBfloat16: return 2;
    case ncclInt32:
    case ncclUint32:
    case ncclFloat32: return 4;
    case ncclInt64:
    case ncclUint64:
    case ncclFloat64: return 8;
    default: return 0;
  }
}

std::string describe(const Call& call) {
  return std::string(name_of(call.kind)) + " of " + std::to_string(call.count) + " elements of type " +
         std::to_string(call.type) + ", operation " + std::to_string(call.op) + ", root " + std::to_string(call.root);
}
std::string describe(const Transfer& transfer) {
  return std::string(transfer.sends ? "ncclSend to " : "ncclRecv from ") + std::to_string(transfer.peer) + " of " +
         std::to_string(transfer.count) + " elements of type " + std::to_string(transfer.type);
}

// All that is sent is read before anything is written, so that in-place calls need no care.
void perform(std::span<const Call> calls) {
  const Call& first = calls[0];
  const size_t part = first.count * bytes_of(first.type), ranks = calls.size();
  const auto root = static_cast<size_t>(first.root);
  if (part == 0) return;
  const auto deliver = [&](size_t rank, const char* from, size_t bytes) {
    std::memcpy(calls[rank].receive, from, bytes);
  };
  switch (first.kind) {
    case Collective::all_reduce: {
      const Bytes sum = reduced_as(first.type, calls, first.count);
      for (size_t r = 0; r < ranks; ++r) deliver(r, sum.data(), part);
      break;
    }
    case Collective::reduce: deliver(root, reduced_as(first.type, calls, first.count).data(), part); break;
    case Collective::reduce_scatter: {
      const Bytes sum = reduced_as(first.type, calls, first.count * ranks);
      for (size_t r = 0; r < ranks; ++r) deliver(r, &sum[r * part], part);
      break;
    }
    case Collective::broadcast: {
      const auto* sent = static_cast<const char*>(calls[root].send);
      const Bytes copy(sent, sent + part);
      for (size_t r = 0; r < ranks; ++r) deliver(r, copy.data(), part);
      break;
    }
    case Collective::all_gather: {
      Bytes all(part * ranks);
      for (size_t r = 0; r < ranks; ++r) std::memcpy(&all[r * part], calls[r].send, part);
      for (size_t r = 0; r < ranks; ++r) deliver(r, all.data(), all.size());
      break;
    }
  }
}

}  // namespace gradus::emulation
