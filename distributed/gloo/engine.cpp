// Gloo as the engine of groups on CPUs, and the plug-in's entry point. Gloo has no reduce-scatter that fits and no
// bfloat16: the first is ours over its all-to-all, for the second it is given functions of ours.
#include <gradus/distributed/detail/engine.h>

#include <gloo/allgather.h>
#include <gloo/allreduce.h>
#include <gloo/broadcast.h>
#include <gloo/config.h>
#include <gloo/reduce.h>
#include <gloo/types.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <memory>
#include <mutex>
#include <stdexcept>

#include <fmt/format.h>

#include <gradus/distributed/gloo/reduce.h>
#include <gradus/distributed/gloo/rendezvous.h>
#include <gradus/version.h>

namespace gradus::dist::gloo_engine {
namespace {

using detail::Collective;
using detail::Fingerprint;
using detail::Op;

// Gloo's collectives take prefixes up to 8 for their slots.
constexpr uint8_t transfer_slot = 0x20, compare_slot = 0x21, tripwire_slot = 0x22;
// Up to here an all-gather waits for messages, not for bytes.
constexpr size_t small_part = 1024;

class GlooEngine final : public detail::Engine {
 public:
  GlooEngine(const detail::Member& member, Store& store);

  void run(const Collective& c) override;
  void post(const Fingerprint& mine) override;
  std::vector<Fingerprint> collect(double timeout) override;
  std::vector<Fingerprint> peek() const override;
  std::vector<int> lost_ranks() noexcept override;
  void abort() noexcept override;

 private:
  void all_reduce(const Collective& c);
  void reduce(const Collective& c);
  void reduce_scatter(const Collective& c);
  void all_gather(const Collective& c);
  void broadcast(const Collective& c);

  // Part r goes to rank r, or comes from it. A stride of 0: it is the same one for all. With a peer there is no part
  // for anybody else.
  struct Parts {
    uint8_t* data = nullptr;
    size_t stride = 0;
    int peer = -1;

    bool has(int rank) const { return data && (peer < 0 || peer == rank); }
    size_t offset(int rank) const { return static_cast<size_t>(rank) * stride; }
    uint8_t* part(int rank) const { return data + offset(rank); }
  };
  void transfer(const Collective& c, const Parts& in, const Parts& out);

  // All that our thread writes to tensors. Nothing more after abort(), which waits for what has begun.
  template <class F>
  void write(F&& f) {
    const std::lock_guard lock(write_mutex_);
    if (aborted_) throw std::runtime_error("the operation was aborted");
    f();
  }
  auto reducer(const Collective& c) {
    return [this, f = reduce_function(c.reduce, c.dtype)](void* out, const void* a, const void* b, size_t n) {
      write([&] { f(out, a, b, n); });
    };
  }
  void divide_by_size(const Collective& c) {
    write([&] { divide(c.out, c.count, size_, c.dtype); });
  }

  // What every options class of Gloo takes.
  template <class Options>
  Options options(const Collective& c) const {
    Options result(context_);
    result.setTag(c.tag);
    result.setTimeout(patience(c.timeout));
    return result;
  }
  // The group watches the deadline itself and says more; Gloo's comes later, as a way out for the thread.
  static std::chrono::milliseconds patience(double timeout) {
    return std::chrono::milliseconds(static_cast<int64_t>(timeout * 1000) + 5000);
  }
  std::unique_ptr<gloo::transport::UnboundBuffer> buffer(const void* data, size_t bytes) const {
    return context_->createUnboundBuffer(const_cast<void*>(data), bytes);
  }

  const int rank_, size_;
  const std::shared_ptr<gloo::Context> context_;
  std::mutex write_mutex_;
  bool aborted_ = false;
  mutable std::mutex compare_mutex_;  // for post() and peek(). What comes in is written by Gloo's thread, without it.
  Fingerprint mine_{};
  std::vector<Fingerprint> all_;  // by rank
  std::unique_ptr<gloo::transport::UnboundBuffer> from_mine_, to_all_;
  std::vector<std::unique_ptr<gloo::transport::UnboundBuffer>> tripwires_;  // by rank; none for this one
};

// Gloo tells who waits for a message when its connection ends, except for one whose message is half through. So a
// receive that nobody answers is put on each connection, and told whatever else goes on there.
GlooEngine::GlooEngine(const detail::Member& member, Store& store)
    : rank_(member.rank),
      size_(member.size),
      context_(connect(member, store)),
      all_(static_cast<size_t>(size_)),
      from_mine_(buffer(&mine_, sizeof mine_)),
      to_all_(buffer(all_.data(), all_.size() * sizeof(Fingerprint))) {
  for (int rank = 0; rank < size_; ++rank) {
    tripwires_.push_back(rank == rank_ ? nullptr : buffer(nullptr, 0));
    if (rank != rank_) tripwires_.back()->recv(rank, gloo::Slot::build(tripwire_slot, 0));
  }
}

std::vector<int> GlooEngine::lost_ranks() noexcept {
  std::vector<int> lost;
  for (int rank = 0; rank < size_; ++rank) {
    if (rank == rank_) continue;
    try {
      const auto& tripwire = tripwires_[static_cast<size_t>(rank)];
      tripwire->abortWaitRecv();  // so that the wait only looks
      tripwire->waitRecv(std::chrono::seconds(1));
    } catch (const std::exception&) {
      lost.push_back(rank);
    }
  }
  return lost;
}

// Everybody sends to everybody: one message's time.
void GlooEngine::post(const Fingerprint& mine) {
  constexpr size_t bytes = sizeof(Fingerprint);
  const auto slot = gloo::Slot::build(compare_slot, 0);
  {
    const std::lock_guard lock(compare_mutex_);
    std::fill(all_.begin(), all_.end(), Fingerprint{});
    all_[static_cast<size_t>(rank_)] = mine_ = mine;
  }
  for (int rank = 0; rank < size_; ++rank)
    if (rank != rank_) to_all_->recv(rank, slot, static_cast<size_t>(rank) * bytes, bytes);
  for (int i = 1; i < size_; ++i) from_mine_->send((rank_ + i) % size_, slot);
}

std::vector<Fingerprint> GlooEngine::collect(double timeout) {
  for (int i = 1; i < size_; ++i) {
    from_mine_->waitSend(patience(timeout));
    to_all_->waitRecv(patience(timeout));
  }
  return all_;
}

// Gloo cannot be asked what has come without waiting for it.
std::vector<Fingerprint> GlooEngine::peek() const {
  const std::lock_guard lock(compare_mutex_);
  return all_;
}

size_t part_bytes(const Collective& c) { return static_cast<size_t>(c.count * itemsize(c.dtype)); }
// Gloo writes through the pointers of outputs only.
uint8_t* bytes_of(const void* data) { return static_cast<uint8_t*>(const_cast<void*>(data)); }

// Gloo's options learn the size of an element from a type.
template <class F>
void with_element(Dtype dtype, F&& f) {
  switch (itemsize(dtype)) {
    case 1: return f.template operator()<uint8_t>();
    case 2: return f.template operator()<uint16_t>();
    case 4: return f.template operator()<uint32_t>();
    case 8: return f.template operator()<uint64_t>();
  }
}

void GlooEngine::run(const Collective& c) {
  if (c.count == 0) return;
  const size_t part = part_bytes(c);
  uint8_t *const in = bytes_of(c.in), *const out = bytes_of(c.out);
  switch (c.op) {
    case Op::all_reduce: return all_reduce(c);
    case Op::broadcast: return broadcast(c);
    case Op::reduce: return reduce(c);
    case Op::all_gather: return all_gather(c);
    case Op::reduce_scatter: return reduce_scatter(c);
    case Op::all_to_all: return transfer(c, {in, part}, {out, part});
    case Op::gather: return transfer(c, {in, 0, c.root}, rank_ == c.root ? Parts{out, part} : Parts{});
    case Op::scatter: return transfer(c, rank_ == c.root ? Parts{in, part} : Parts{}, {out, 0, c.root});
    case Op::barrier: return;
    case Op::send: return transfer(c, {in, 0, c.root}, {});
    case Op::recv: return transfer(c, {}, {out, 0, c.root});
    case Op::exchange: return transfer(c, {in, 0, c.root}, {out, 0, c.root});
  }
}

void GlooEngine::all_reduce(const Collective& c) {
  auto opts = options<gloo::AllreduceOptions>(c);
  opts.setAlgorithm(gloo::AllreduceOptions::Algorithm::RING);
  opts.setReduceFunction(reducer(c));
  with_element(c.dtype, [&]<class T>() { opts.setOutput(static_cast<T*>(c.out), static_cast<size_t>(c.count)); });
  gloo::allreduce(opts);
  if (c.reduce == ReduceOp::mean) divide_by_size(c);
}

void GlooEngine::reduce(const Collective& c) {
  const bool is_root = rank_ == c.root;
  const std::unique_ptr<uint8_t[]> scratch(is_root ? nullptr : new uint8_t[part_bytes(c)]);
  auto opts = options<gloo::ReduceOptions>(c);
  opts.setRoot(c.root);
  opts.setReduceFunction(reducer(c));
  with_element(c.dtype, [&]<class T>() {
    const auto count = static_cast<size_t>(c.count);
    if (!is_root) opts.setInput(reinterpret_cast<T*>(bytes_of(c.in)), count);
    opts.setOutput(reinterpret_cast<T*>(is_root ? bytes_of(c.out) : scratch.get()), count);
  });
  gloo::reduce(opts);
  if (is_root && c.reduce == ReduceOp::mean) divide_by_size(c);
}

void GlooEngine::reduce_scatter(const Collective& c) {
  const size_t part = part_bytes(c);
  const std::unique_ptr<uint8_t[]> parts(new uint8_t[part * static_cast<size_t>(size_)]);
  transfer(c, {bytes_of(c.in), part}, {parts.get(), part});
  write([&] { reduce_parts(c.out, parts.get(), size_, c.count, c.reduce, c.dtype); });
  if (c.reduce == ReduceOp::mean) divide_by_size(c);
}

// A ring where bytes count; where messages do, one message's time for the ring's 2(n - 1).
void GlooEngine::all_gather(const Collective& c) {
  const size_t part = part_bytes(c);
  if (part <= small_part) return transfer(c, {bytes_of(c.in), 0}, {bytes_of(c.out), part});
  uint8_t* const own = bytes_of(c.out) + part * static_cast<size_t>(rank_);
  if (c.in != own) write([&] { std::memcpy(own, c.in, part); });
  auto opts = options<gloo::AllgatherOptions>(c);
  opts.setOutput(bytes_of(c.out), part * static_cast<size_t>(size_));
  gloo::allgather(opts);
}

void GlooEngine::broadcast(const Collective& c) {
  auto opts = options<gloo::BroadcastOptions>(c);
  opts.setRoot(c.root);
  opts.setOutput(bytes_of(c.out), part_bytes(c));
  gloo::broadcast(opts);
}

// One message for each part.
void GlooEngine::transfer(const Collective& c, const Parts& in, const Parts& out) {
  const size_t bytes = part_bytes(c);
  if (in.has(rank_) && out.has(rank_) && in.part(rank_) != out.part(rank_))
    write([&] { std::memmove(out.part(rank_), in.part(rank_), bytes); });
  const auto whole = [&](const Parts& parts) {
    return buffer(parts.data, parts.data ? parts.offset(size_ - 1) + bytes : 0);
  };
  const auto from = whole(in), to = whole(out);
  const auto slot = gloo::Slot::build(transfer_slot, c.tag);
  int sent = 0, received = 0;
  for (int rank = 0; rank < size_; ++rank)
    if (rank != rank_ && out.has(rank)) to->recv(rank, slot, out.offset(rank), bytes), ++received;
  for (int i = 1; i < size_; ++i)
    if (const int rank = (rank_ + i) % size_; in.has(rank)) from->send(rank, slot, in.offset(rank), bytes), ++sent;
  for (; sent > 0; --sent) from->waitSend(patience(c.timeout));
  for (; received > 0; --received) to->waitRecv(patience(c.timeout));
}

// A wait that times out closes all connections of its context and tells those who wait on them. (closeConnections()
// tells nobody on this side.)
void GlooEngine::abort() noexcept {
  {
    const std::lock_guard lock(write_mutex_);
    aborted_ = true;
  }
  try {
    uint8_t nothing = 0;
    buffer(&nothing, 1)->waitRecv(std::chrono::milliseconds(1));
  } catch (const std::exception&) {
  }
}

class GlooMaker final : public detail::EngineMaker {
 public:
  Box<detail::Engine> make(const detail::Member& member, Store& store) override {
    return make_box<GlooEngine>(member, store);
  }
  std::string version() const override {
    return fmt::format("{}.{}.{}", GLOO_VERSION_MAJOR, GLOO_VERSION_MINOR, GLOO_VERSION_PATCH);
  }
};

}  // namespace
}  // namespace gradus::dist::gloo_engine

extern "C" GRADUS_API gradus::dist::detail::EngineMaker* gradus_gloo_v1(const char* version, std::string* reason) {
  if (std::string(version) != GRADUS_VERSION) {
    *reason = fmt::format("the Gloo plug-in is of Gradus {}, the library of {}", GRADUS_VERSION, version);
    return nullptr;
  }
  static auto* const maker = new gradus::dist::gloo_engine::GlooMaker;
  return maker;
}
