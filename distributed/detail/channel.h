// The operations of one group in their order, and the thread that lets engines do one after the other: Gloo what is on
// the CPU, and all comparing, the device's engine what is on a CUDA device.
#pragma once

#include <atomic>
#include <deque>
#include <vector>

#include <gradus/distributed/detail/device_queue.h>
#include <gradus/distributed/detail/engine.h>
#include <gradus/distributed/detail/flight_recorder.h>
#include <gradus/distributed/detail/job.h>
#include <gradus/distributed/detail/task.h>

namespace gradus::dist::detail {

/// An operation that cannot end in time, or not at all.
struct Stuck {
  std::string channel;
  Collective collective;
  std::vector<int> ranks;  // of the job: those who take part, or those whose connections ended
};

/// How far a rank is in a group's collectives.
struct Progress {
  int64_t begun = 0, done = 0;          ///< numbers of the last ones
  std::optional<Collective> running{};  ///< that which is not over
};

class Channel final : public RefCounted {
 public:
  /// `ranks` are the members' in the job, `rank` is this one's place among them. No thread or connection is made before
  /// the first operation.
  Channel(Ref<Job> job, std::string name, std::vector<int> ranks, int rank, double timeout);

  /// Numbers the operation and puts it in the queue; the tensors live until it is over. Throws the group's CommError
  /// when it has failed, one (aborted) when it was closed, DeviceError when NCCL is missing or the group works on
  /// another CUDA device.
  Ref<Task> begin(Collective collective, const Tensor& first, const Tensor& second);
  /// Finishes what was begun and ends the thread. One that hangs in its engine after a failure is left to itself. Any
  /// number of threads may call it.
  void close();
  std::string record() const;

  const std::string name;
  const double timeout;  ///< seconds that an operation may take

  // ---- for the job's watch
  /// An operation that takes longer than it may, or will within so many seconds.
  std::optional<Stuck> overdue(double within = 0) const;
  /// The operation that is running now, if it was at the last call, too.
  Ref<Task> lingering();
  /// For such a one: ranks that have gone, and fingerprints that differ, in words; or nothing.
  std::optional<Stuck> deserted(const Collective& collective);
  std::optional<std::string> difference(const Collective& collective);
  Progress progress() const;
  /// Everything that was begun fails, and so will what comes; `why` names ranks of the job. Returns what is to be
  /// written when all channels were told; nothing if this one had failed before.
  std::optional<LastRecord> fail(const CommError& why);

 private:
  int size() const { return static_cast<int>(ranks_.size()); }
  void bind(Op op, Device device);
  void start_thread();
  void work();
  Ref<Task> next();
  void run(const Ref<Task>& task);
  void run_on_cpu(const Collective& collective);
  void compare(const Fingerprint& mine, double timeout);
  void finish(Task& task);
  void settle();
  void drain();
  std::string describe_difference(const std::vector<Fingerprint>& all) const;
  void check_pair(const Collective& collective);
  void connect();
  void connect_device(Device device);
  Ref<Task> current() const;
  std::vector<int> lost_ranks(const Deadline& patience);
  void report(const std::exception& error);
  bool failed() const;
  int rank_in_group(int rank_in_job) const;

  const Ref<Job> job_;
  const std::vector<int> ranks_;
  const int rank_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Ref<Task>> queue_;
  Ref<Task> running_;
  Deadline deadline_{0};  // of the running one
  FlightRecorder recorder_;
  std::optional<CommError> error_;
  int64_t seq_ = 0;
  std::vector<int64_t> pair_seq_;  // by the other rank
  int64_t begun_ = 0, done_ = 0;   // numbers of the last collectives
  size_t lingering_ = 0;           // the number, from 1 on, of the operation that ran at the last call of lingering()
  bool closing_ = false, ended_ = false;
  std::thread thread_;

  std::optional<Device> bound_;    // the CUDA device that all operations on one are on
  Box<DeviceQueue> device_queue_;  // stays when its engine has ended

  std::mutex engine_mutex_;  // the thread makes and ends the engine, the watch looks at it and aborts it
  Box<Engine> engine_;
};

}  // namespace gradus::dist::detail
