// The exponential moving average of parameters: often better weights than the last ones (Polyak and Juditsky, 1992).
#pragma once

#include <vector>

#include <gradus/core/stateful.h>

namespace gradus::optim {

struct EMAOptions {
  double decay = 0.999;
};
/// average <- decay average + (1 - decay) parameter with each update(), starting as the parameters are. Evaluation uses
/// the averages between apply() and restore(). Averages of 16-bit parameters are float32.
class GRADUS_API EMA final : public Stateful {
 public:
  explicit EMA(const NamedTensors& parameters, const EMAOptions& options = {});
  /// After each step of the optimizer.
  void update();
  /// Puts the averages into the parameters, and keeps what was there.
  void apply();
  /// Puts back what apply() kept.
  void restore();

  const char* state_name() const override { return "ema"; }
  NamedTensors state_dict() const override;
  void load_state_dict(const NamedTensors& state) override;

 private:
  EMAOptions options_;
  NamedTensors parameters_;
  std::vector<Tensor> averages_, kept_;
};

}  // namespace gradus::optim
