// Processes that work on one problem, and what they do together: the collective operations.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <gradus/core/tensor.h>
#include <gradus/distributed/env.h>

namespace gradus::dist {

enum class ReduceOp : uint8_t { sum, mean, product, min, max };

namespace detail {
class Group;
class Task;
}  // namespace detail

/// An operation that was begun. The tensors that it reads and writes belong to it until wait().
class GRADUS_API Work {
 public:
  /// One that is done already.
  Work();
  explicit Work(Ref<detail::Task> task);
  Work(const Work&);
  Work(Work&&) noexcept;
  Work& operator=(Work) noexcept;
  ~Work();

  bool done() const;
  /// Waits for the result: this thread for a tensor on the CPU, the current stream for one on a CUDA device. Throws
  /// CommError when the operation failed; again when called again. On the CPU nobody writes to the tensor after that;
  /// its values are of before, of after, or of in between.
  void wait() const;

 private:
  Ref<detail::Task> task_;
};

struct SplitOptions {
  double timeout = 0;  ///< seconds that an operation of the new group may take; 0: as of the group that is split
};

/// The ranks of a group call the same operations in the same order. Each operation is compared among the ranks:
/// different ones, or tensors that do not fit together, are a CommError (mismatch) on every rank, which names both. One
/// that takes longer than the group's timeout, a process that dies or another rank's failure are CommErrors, too; the
/// group is closed then.
///
/// Operations run one after the other on a thread of the group, beside the program. Tensors are contiguous, of the
/// same dtype on all ranks, and on the CPU (by Gloo, which sums 16-bit floats in float32) or on a CUDA device (by
/// NCCL).
///
/// On a CUDA device an operation runs on a stream of the group, behind what the thread's current stream had when it was
/// begun. wait() and done() speak of the device: wait() keeps the current stream waiting, not the host, and done() is
/// whether the device has done it. A failure that comes later is thrown where the host next waits for a
/// stream that waited for the operation, by the group's next call, and by wait() when called again. A rank's tensors
/// are on one CUDA device as long as the group lives, else it is a DeviceError. A ProcessGroup is a handle: a copy is
/// the same group, and a constant one begins operations, too. One made by default is this process alone, where each
/// operation is done at once.
class GRADUS_API ProcessGroup {
 public:
  ProcessGroup();
  explicit ProcessGroup(Ref<detail::Group> group);
  ProcessGroup(const ProcessGroup&);
  ProcessGroup(ProcessGroup&&) noexcept;
  ProcessGroup& operator=(ProcessGroup) noexcept;
  ~ProcessGroup();

  int rank() const;
  int size() const;
  /// Where this process is to work: cuda:<local rank>, or cpu.
  Device device() const;
  const Env& env() const;

  // ---- n is the group's size; x of each rank has the same shape unless said otherwise
  /// x becomes the sum (or another reduction) of all ranks' x.
  [[nodiscard]] Work all_reduce(const Tensor& x, ReduceOp op = ReduceOp::sum) const;
  /// x becomes the root's x.
  [[nodiscard]] Work broadcast(const Tensor& x, int root = 0) const;
  /// As all_reduce, on the root only; elsewhere x keeps its values.
  [[nodiscard]] Work reduce(const Tensor& x, int root = 0, ReduceOp op = ReduceOp::sum) const;
  /// all (n * d0, ...) becomes the ranks' x (d0, ...) one after the other; a 0-dim x counts as (1). x may be this
  /// rank's part of `all`.
  [[nodiscard]] Work all_gather(const Tensor& all, const Tensor& x) const;
  /// x (d0, ...) becomes this rank's part of the reduction of all ranks' `all` (n * d0, ...).
  [[nodiscard]] Work reduce_scatter(const Tensor& x, const Tensor& all, ReduceOp op = ReduceOp::sum) const;
  /// Part r of `from` (n * d0, ...) goes to rank r; part r of `to` comes from it.
  [[nodiscard]] Work all_to_all(const Tensor& to, const Tensor& from) const;
  /// On the root, all (n * d0, ...) becomes the ranks' x; elsewhere `all` may be undefined.
  [[nodiscard]] Work gather(const Tensor& all, const Tensor& x, int root = 0) const;
  /// x becomes this rank's part of the root's `all`; elsewhere `all` may be undefined.
  [[nodiscard]] Work scatter(const Tensor& x, const Tensor& all, int root = 0) const;
  /// To and from one other rank. Messages of one pair arrive in order; sends and receives of both must fit together.
  /// A send is over when it was received, and what was begun after it waits: of two ranks that exchange tensors, one
  /// receives first. all_to_all is for exchanges among all.
  [[nodiscard]] Work send(const Tensor& x, int to) const;
  [[nodiscard]] Work recv(const Tensor& x, int from) const;
  /// Returns when all ranks have come.
  void barrier() const;
  /// Each rank's text, in their order; for small things that are no tensors.
  std::vector<std::string> all_gather_text(const std::string& text) const;

  /// Ranks that give the same `color` (0 or more) become a group, in the order of this one; all call it. With -1 one
  /// gets a group of itself alone.
  ProcessGroup split(int color, const SplitOptions& options = {}) const;
  /// Begins nothing more and tells the others that this is no failure. The last handle's end does it, too; of the job's
  /// last group, on a rank that serves the store, it waits until the others have left (`timeout` at most).
  void close() const;

  const Ref<detail::Group>& handle() const { return group_; }

 private:
  Ref<detail::Group> group_;
};

/// The group's last operations, a line each: what it was doing when it hung or failed. Written to the folder
/// GRADUS_FLIGHT_RECORDER when the group fails; without it, the newest go to the log.
GRADUS_API std::string flight_record(const ProcessGroup& group);

struct InitOptions {
  Env env = Env::detect();
  double timeout = 120;  ///< seconds that an operation, or meeting at the start, may take
};
/// Meets the other processes of the job; one process without a launcher is a group of its own. Ignores SIGPIPE.
GRADUS_API ProcessGroup init(const InitOptions& options = {});

}  // namespace gradus::dist
