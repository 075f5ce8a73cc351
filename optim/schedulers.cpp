// Schedules of learning rates.
#include <gradus/optim/schedulers.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include <gradus/core/detail/check.h>
#include <gradus/core/detail/state_check.h>
#include <gradus/core/factories.h>

namespace gradus::optim {
namespace {

void check_steps(const char* schedule, const char* option, int64_t steps) {
  GRADUS_CHECK(steps >= 1, ValueError, "{}: {} is {}; want 1 or more", schedule, option, steps);
}

// From a to b as `part` goes from 0 to 1.
double anneal(Anneal kind, double a, double b, double part) {
  return kind == Anneal::linear ? a + part * (b - a) : b + (a - b) * (1 + std::cos(M_PI * part)) / 2;
}

}  // namespace

void Scheduler::step() {
  ++t_;
  apply();
}

void Scheduler::apply() {
  for (size_t i = 0; i < optimizer_->num_groups(); ++i) optimizer_->set_lr(i, lr_at(t_, optimizer_->initial_lr(i)));
  if (const std::optional<double> momentum = momentum_at(t_); momentum && optimizer_->momentum())
    optimizer_->set_momentum(*momentum);
}

NamedTensors Scheduler::state_dict() const { return {{"step", scalar_tensor(t_)}}; }

void Scheduler::load_state_dict(const NamedTensors& state) {
  gradus::detail::StateCheck check("scheduler", state);
  const int64_t t = check.take_int("step");
  check.finish();
  GRADUS_CHECK(t >= 0, CheckpointError, "scheduler: 'step' is {}", t);
  t_ = t;
  apply();
}

// ---- functions of the step
StepLR::StepLR(Optimizer& optimizer, const StepLROptions& options) : Scheduler(optimizer), options_(options) {
  check_steps("StepLR", "step_size", options.step_size);
  apply();
}
double StepLR::lr_at(int64_t t, double base) const {
  return base * std::pow(options_.gamma, static_cast<double>(t / options_.step_size));
}

MultiStep::MultiStep(Optimizer& optimizer, const MultiStepOptions& options) : Scheduler(optimizer), options_(options) {
  GRADUS_CHECK(std::is_sorted(options.milestones.begin(), options.milestones.end()), ValueError,
               "MultiStep: milestones must not fall");
  apply();
}
double MultiStep::lr_at(int64_t t, double base) const {
  const auto& m = options_.milestones;
  return base * std::pow(options_.gamma, static_cast<double>(std::upper_bound(m.begin(), m.end(), t) - m.begin()));
}

CosineAnnealing::CosineAnnealing(Optimizer& optimizer, const CosineAnnealingOptions& options)
    : Scheduler(optimizer), options_(options) {
  check_steps("CosineAnnealing", "steps", options.steps);
  apply();
}
double CosineAnnealing::lr_at(int64_t t, double base) const {
  return anneal(Anneal::cosine, base, options_.eta_min, static_cast<double>(t) / static_cast<double>(options_.steps));
}

LinearLR::LinearLR(Optimizer& optimizer, const LinearLROptions& options) : Scheduler(optimizer), options_(options) {
  check_steps("LinearLR", "steps", options.steps);
  GRADUS_CHECK(options.start_factor >= 0 && options.end_factor >= 0, ValueError,
               "LinearLR: start_factor {} and end_factor {}; want 0 or more", options.start_factor, options.end_factor);
  apply();
}
double LinearLR::lr_at(int64_t t, double base) const {
  const double part = static_cast<double>(std::min(t, options_.steps)) / static_cast<double>(options_.steps);
  return base * anneal(Anneal::linear, options_.start_factor, options_.end_factor, part);
}

Warmup::Warmup(Optimizer& optimizer, const WarmupOptions& options) : Scheduler(optimizer), options_(options) {
  check_steps("Warmup", "steps", options.steps);
  apply();
}
double Warmup::lr_at(int64_t t, double base) const {
  return base * std::min(1.0, static_cast<double>(t + 1) / static_cast<double>(options_.steps));
}

OneCycle::OneCycle(Optimizer& optimizer, const OneCycleOptions& options) : Scheduler(optimizer), options_(options) {
  check_steps("OneCycle", "steps", options.steps);
  GRADUS_CHECK(options.max_lr > 0 && options.div_factor > 0 && options.final_div_factor > 0, ValueError,
               "OneCycle: max_lr {}, div_factor {}, final_div_factor {}; want all above 0", options.max_lr,
               options.div_factor, options.final_div_factor);
  GRADUS_CHECK(options.pct_start >= 0 && options.pct_start <= 1, ValueError, "OneCycle: pct_start is {}; want 0 to 1",
               options.pct_start);
  apply();
}

// From start to top in the first pct_start of the steps, then to end. The peak lies between two steps where pct_start
// asks for that.
double OneCycle::along(int64_t t, double start, double top, double end) const {
  const double n = static_cast<double>(options_.steps), peak = options_.pct_start * n - 1, last = n - 1,
               at = std::min(static_cast<double>(t), last);
  if (at <= peak) return anneal(options_.anneal, start, top, peak > 0 ? at / peak : 1);
  return anneal(options_.anneal, top, end, last > peak ? (at - peak) / (last - peak) : 1);
}
double OneCycle::lr_at(int64_t t, double) const {
  const double start = options_.max_lr / options_.div_factor;
  return along(t, start, options_.max_lr, start / options_.final_div_factor);
}
std::optional<double> OneCycle::momentum_at(int64_t t) const {
  if (!options_.cycle_momentum) return {};
  return along(t, options_.max_momentum, options_.base_momentum, options_.max_momentum);
}

// ---- made of others
double Chained::lr_at(int64_t t, double base) const {
  for (const auto& part : parts_) base = part->lr_at(t, base);
  return base;
}
std::optional<double> Chained::momentum_at(int64_t t) const {
  std::optional<double> momentum;
  for (const auto& part : parts_)
    if (const auto m = part->momentum_at(t)) momentum = m;
  return momentum;
}

void Sequential::start() {
  GRADUS_CHECK(!parts_.empty() && milestones_.size() == parts_.size() - 1, ValueError,
               "Sequential: {} milestones for {} schedules; want one less than schedules", milestones_.size(),
               parts_.size());
  GRADUS_CHECK(std::is_sorted(milestones_.begin(), milestones_.end()), ValueError,
               "Sequential: milestones must not fall");
  apply();
}
std::pair<const Scheduler*, int64_t> Sequential::part_at(int64_t t) const {
  const auto reached = std::upper_bound(milestones_.begin(), milestones_.end(), t) - milestones_.begin();
  return {parts_[static_cast<size_t>(reached)].get(),
          reached > 0 ? t - milestones_[static_cast<size_t>(reached) - 1] : t};
}
double Sequential::lr_at(int64_t t, double base) const {
  const auto [part, own_t] = part_at(t);
  return part->lr_at(own_t, base);
}
std::optional<double> Sequential::momentum_at(int64_t t) const {
  const auto [part, own_t] = part_at(t);
  return part->momentum_at(own_t);
}

// ---- by a metric
ReduceOnPlateau::ReduceOnPlateau(Optimizer& optimizer, const ReduceOnPlateauOptions& options)
    : optimizer_(&optimizer),
      options_(options),
      best_(options.maximize ? -std::numeric_limits<double>::infinity() : std::numeric_limits<double>::infinity()) {
  GRADUS_CHECK(options.factor > 0 && options.factor < 1, ValueError,
               "ReduceOnPlateau: factor is {}; want above 0 and below 1", options.factor);
  GRADUS_CHECK(options.patience >= 0 && options.cooldown >= 0, ValueError,
               "ReduceOnPlateau: patience {} and cooldown {}; want 0 or more", options.patience, options.cooldown);
}

bool ReduceOnPlateau::better(double metric) const {
  const double by = options_.threshold;
  if (options_.maximize) return metric > (options_.relative ? best_ * (1 + by) : best_ + by);
  return metric < (options_.relative ? best_ * (1 - by) : best_ - by);
}

void ReduceOnPlateau::step(double metric) {
  if (better(metric)) {
    best_ = metric;
    bad_steps_ = 0;
  } else {
    ++bad_steps_;
  }
  if (cooldown_left_ > 0) {
    --cooldown_left_;
    bad_steps_ = 0;
  }
  if (bad_steps_ <= options_.patience) return;
  for (size_t i = 0; i < optimizer_->num_groups(); ++i) {
    const double before = optimizer_->lr(i), after = std::max(before * options_.factor, options_.min_lr);
    if (before - after > options_.eps) optimizer_->set_lr(i, after);
  }
  cooldown_left_ = options_.cooldown;
  bad_steps_ = 0;
}

NamedTensors ReduceOnPlateau::state_dict() const {
  return {{"best", scalar_tensor(best_, {.dtype = float64})},
          {"bad_steps", scalar_tensor(bad_steps_)},
          {"cooldown_left", scalar_tensor(cooldown_left_)}};
}

void ReduceOnPlateau::load_state_dict(const NamedTensors& state) {
  gradus::detail::StateCheck check("ReduceOnPlateau", state);
  const double best = check.take_double("best");
  const int64_t bad = check.take_int("bad_steps"), cooldown = check.take_int("cooldown_left");
  check.finish();
  best_ = best;
  bad_steps_ = bad;
  cooldown_left_ = cooldown;
}

}  // namespace gradus::optim
