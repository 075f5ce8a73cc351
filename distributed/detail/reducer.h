// What is behind DDP: gradients gather in buckets, full buckets are communicated while backward goes on.
#pragma once

#include <string>
#include <vector>

#include <gradus/distributed/ddp.h>
#include <gradus/distributed/detail/buckets.h>
#include <gradus/distributed/detail/packed.h>

namespace gradus::dist::detail {

class Reducer final : public RefCounted {
 public:
  /// The parameters that are trained. All ranks' arguments fit together.
  Reducer(const NamedTensors& parameters, const ProcessGroup& world, const DDPOptions& options);
  /// Hooks the parameters up, unless there is nobody to share gradients with; they hold this reducer then. Before it
  /// goes, close() takes it out of their gradients.
  void attach();
  void close();

  Tensor backward(std::span<const Tensor> batch, const TensorFunction& loss);

  bool syncing = true;  ///< false inside of no_sync()

 private:
  struct Parameter {
    std::string name;
    Tensor tensor;
    Place place;
    bool ready = false;  // in this round
  };
  struct Sending {
    size_t missing = 0;  // members that are not ready
    Tensor wire;         // what travels instead of the bucket
    Work work;
  };
  /// Gradients that were there before.
  struct Accumulated {
    std::vector<Tensor> flats;  // of the buckets; empty when there were none
    std::vector<bool> has;      // each parameter
  };
  /// What the running backward is for.
  enum class Round : uint8_t { none, communicate, accumulate, collect };

  // ---- reducer.cpp: gradients as backward brings them
  void on_ready(size_t index, const Tensor& gradient);
  void on_failed();
  void begin();
  void start_round();
  void send_full_buckets();
  void send(size_t bucket);
  void end(bool completed);
  void finish(bool may_miss);
  void finish_without_backward(bool may_miss);
  void settle(const Parameter& parameter) const;
  void receive();
  std::vector<bool> used_anywhere();
  void fall_out_of_step_by_exception();
  void fall_out_of_step(const std::string& why);
  void check_in_step() const;
  std::string without_gradient(const Parameter& parameter) const;

  // ---- rows_backward.cpp: DDP::backward
  class Collecting;
  Device device() const { return parameters_.front().tensor.device(); }
  Tensor loss_of(std::span<const Tensor> batch, const TensorFunction& loss);
  Tensor whole_backward(std::span<const Tensor> batch, const TensorFunction& loss);
  Tensor sharded_backward(std::span<const Tensor> batch, const TensorFunction& loss);
  std::vector<Tensor> sums_like(int64_t buffers) const;
  std::vector<Tensor> shard_sums(const Tensor& loss, double weight, const std::vector<Tensor>& buffer_changes);
  Accumulated accumulated() const;
  void take(const std::vector<Tensor>& sums, const Tensor& uses, const Accumulated& before);

  ProcessGroup world_;
  const DDPOptions options_;
  const bool alone_;  // one process needs no buckets for the ordinary way
  std::vector<Parameter> parameters_;
  std::vector<Bucket> buckets_;
  std::vector<Sending> sending_;
  std::vector<Tensor> buffers_;
  Packed packed_buffers_;
  std::vector<Work> buffer_work_;
  Round round_ = Round::none;
  bool collecting_ = false, closed_ = false;
  uint64_t rounds_ = 0;
  size_t sent_ = 0;    // buckets that are on their way
  std::string fault_;  // why the ranks are out of step
};

}  // namespace gradus::dist::detail
