// Learning rates as functions of the step. A scheduler sets the rates for step 0 when it is made and for the next one
// with every step(); call that after the optimizer's. Values are PyTorch's, in closed form: resuming needs the count
// alone.
#pragma once

#include <utility>
#include <vector>

#include <gradus/core/box.h>
#include <gradus/optim/optimizer.h>

namespace gradus::optim {

/// Base of the schedules that depend on the count of steps only. The optimizer must outlive it.
class GRADUS_API Scheduler : public Stateful {
 public:
  /// Goes on to the next step.
  void step();
  /// Steps taken so far.
  int64_t steps() const { return t_; }
  /// The rate at step t of a group that was made with the rate `base`.
  virtual double lr_at(int64_t t, double base) const = 0;
  /// The momentum at step t; nothing when the schedule leaves it alone.
  virtual std::optional<double> momentum_at(int64_t) const { return {}; }

  const char* state_name() const override { return "scheduler"; }
  NamedTensors state_dict() const override;
  void load_state_dict(const NamedTensors& state) override;

 protected:
  explicit Scheduler(Optimizer& optimizer) : optimizer_(&optimizer) {}
  /// Sets the rates for the present step; every constructor ends with it.
  void apply();
  /// Owns a schedule that is part of another.
  template <class S>
  static Box<Scheduler> take(S&& schedule) {
    static_assert(!std::is_lvalue_reference_v<S>, "make the schedule in this call, or hand it over with std::move");
    return make_box<S>(std::move(schedule));
  }

 private:
  Optimizer* optimizer_;
  int64_t t_ = 0;
};

struct StepLROptions {
  int64_t step_size = 1;
  double gamma = 0.1;
};
/// base gamma^floor(t / step_size).
class GRADUS_API StepLR final : public Scheduler {
 public:
  StepLR(Optimizer& optimizer, const StepLROptions& options);
  double lr_at(int64_t t, double base) const override;

 private:
  StepLROptions options_;
};

struct MultiStepOptions {
  std::vector<int64_t> milestones;
  double gamma = 0.1;
};
/// base gamma^(number of milestones reached).
class GRADUS_API MultiStep final : public Scheduler {
 public:
  MultiStep(Optimizer& optimizer, const MultiStepOptions& options);
  double lr_at(int64_t t, double base) const override;

 private:
  MultiStepOptions options_;
};

struct CosineAnnealingOptions {
  int64_t steps;  ///< PyTorch's T_max
  double eta_min = 0;
};
/// From base down to eta_min along half a cosine, and up again beyond `steps` (Loshchilov and Hutter, arXiv
/// 1608.03983).
class GRADUS_API CosineAnnealing final : public Scheduler {
 public:
  CosineAnnealing(Optimizer& optimizer, const CosineAnnealingOptions& options);
  double lr_at(int64_t t, double base) const override;

 private:
  CosineAnnealingOptions options_;
};

struct LinearLROptions {
  double start_factor = 1.0 / 3, end_factor = 1;
  int64_t steps = 5;  ///< PyTorch's total_iters
};
/// base times a factor that goes from start_factor to end_factor in a straight line, and stays there.
class GRADUS_API LinearLR final : public Scheduler {
 public:
  LinearLR(Optimizer& optimizer, const LinearLROptions& options = {});
  double lr_at(int64_t t, double base) const override;

 private:
  LinearLROptions options_;
};

struct WarmupOptions {
  int64_t steps;
};
/// base min(1, (t + 1) / steps): even the first step learns.
class GRADUS_API Warmup final : public Scheduler {
 public:
  Warmup(Optimizer& optimizer, const WarmupOptions& options);
  double lr_at(int64_t t, double base) const override;

 private:
  WarmupOptions options_;
};

enum class Anneal { cosine, linear };
struct OneCycleOptions {
  double max_lr;
  int64_t steps;           ///< PyTorch's total_steps
  double pct_start = 0.3;  ///< the part of the steps in which the rate rises
  Anneal anneal = Anneal::cosine;
  double div_factor = 25;         ///< the rate starts at max_lr / div_factor
  double final_div_factor = 1e4;  ///< and ends at that divided by final_div_factor
  bool cycle_momentum = true;     ///< momentum falls while the rate rises, if the optimizer has any
  double base_momentum = 0.85, max_momentum = 0.95;
};
/// Up to max_lr and down again (Smith and Topin, arXiv 1708.07120). The rates that the optimizer was made with do not
/// matter. Beyond `steps` the last rate stays (PyTorch throws there).
class GRADUS_API OneCycle final : public Scheduler {
 public:
  OneCycle(Optimizer& optimizer, const OneCycleOptions& options);
  double lr_at(int64_t t, double base) const override;
  std::optional<double> momentum_at(int64_t t) const override;

 private:
  double along(int64_t t, double start, double top, double end) const;
  OneCycleOptions options_;
};

/// Several schedules at once: each takes the rate that the one before gives as its base, so factors multiply.
///   optim::Chained schedule(opt, optim::Warmup(opt, {.steps = 100}), optim::CosineAnnealing(opt, {.steps = 5000}));
class GRADUS_API Chained final : public Scheduler {
 public:
  template <class... S>
  explicit Chained(Optimizer& optimizer, S&&... schedules) : Scheduler(optimizer) {
    (parts_.push_back(take(std::forward<S>(schedules))), ...);
    apply();
  }
  double lr_at(int64_t t, double base) const override;
  std::optional<double> momentum_at(int64_t t) const override;

 private:
  std::vector<Box<Scheduler>> parts_;
};

/// One schedule after the other: the next begins, from its own step 0, at each milestone.
///   optim::Sequential schedule(opt, {100}, optim::LinearLR(opt), optim::CosineAnnealing(opt, {.steps = 5000}));
class GRADUS_API Sequential final : public Scheduler {
 public:
  template <class... S>
  Sequential(Optimizer& optimizer, std::vector<int64_t> milestones, S&&... schedules)
      : Scheduler(optimizer), milestones_(std::move(milestones)) {
    (parts_.push_back(take(std::forward<S>(schedules))), ...);
    start();
  }
  double lr_at(int64_t t, double base) const override;
  std::optional<double> momentum_at(int64_t t) const override;

 private:
  void start();
  /// The schedule in charge at step t, and its own count.
  std::pair<const Scheduler*, int64_t> part_at(int64_t t) const;
  std::vector<int64_t> milestones_;
  std::vector<Box<Scheduler>> parts_;
};

struct ReduceOnPlateauOptions {
  bool maximize = false;  ///< the metric is better when larger
  double factor = 0.1;
  int64_t patience = 10;  ///< steps without improvement that are put up with
  double threshold = 1e-4;
  bool relative = true;  ///< an improvement is `threshold` of the best, or `threshold` itself
  int64_t cooldown = 0;  ///< steps after a reduction that are not counted
  double min_lr = 0, eps = 1e-8;
};
/// Multiplies the rates by `factor` when a metric has stopped improving.
class GRADUS_API ReduceOnPlateau final : public Stateful {
 public:
  explicit ReduceOnPlateau(Optimizer& optimizer, const ReduceOnPlateauOptions& options = {});
  void step(double metric);

  const char* state_name() const override { return "scheduler"; }
  NamedTensors state_dict() const override;
  void load_state_dict(const NamedTensors& state) override;

 private:
  bool better(double metric) const;
  Optimizer* optimizer_;
  ReduceOnPlateauOptions options_;
  double best_;
  int64_t bad_steps_ = 0, cooldown_left_ = 0;
};

}  // namespace gradus::optim
