// Random numbers: counter-based Philox, the same values on every device and for any number of threads.
#pragma once

#include <gradus/core/factories.h>
#include <gradus/core/stateful.h>

namespace gradus {

/// A position in a Philox stream. A tensor of n elements takes ceil(n / 4) counters from it.
class GRADUS_API Generator : public Stateful {
 public:
  explicit Generator(uint64_t seed = 0) : seed_(seed) {}
  void manual_seed(uint64_t seed);
  uint64_t seed() const { return seed_; }
  uint64_t offset() const { return offset_; }
  /// Goes to a place in a stream.
  void seek(uint64_t seed, uint64_t offset);
  /// Reserves counters for n values and returns the first.
  uint64_t advance(int64_t n);

  const char* state_name() const override { return "rng"; }
  NamedTensors state_dict() const override;
  void load_state_dict(const NamedTensors& state) override;

 private:
  uint64_t seed_, offset_ = 0;
};

/// The generator that every function uses which is not given one: the process-wide one, guarded by a lock, or what a
/// UseGenerator on this thread names.
GRADUS_API Generator& default_generator();
/// While it lives, this thread draws from `generator`. A data loader gives each batch its own, so that the numbers do
/// not depend on which thread prepares it.
class GRADUS_API UseGenerator {
 public:
  explicit UseGenerator(Generator& generator);
  UseGenerator(const UseGenerator&) = delete;
  UseGenerator& operator=(const UseGenerator&) = delete;
  ~UseGenerator();

 private:
  Generator* before_;
};
GRADUS_API void manual_seed(uint64_t seed);

/// Uniform in [0, 1).
GRADUS_API Tensor rand(const Shape& shape, const TensorOptions& options = {});
/// Uniform in [low, high).
GRADUS_API Tensor uniform(const Shape& shape, double low, double high, const TensorOptions& options = {});
/// Normal with mean 0 and standard deviation 1 (Box and Muller, 1958).
GRADUS_API Tensor randn(const Shape& shape, const TensorOptions& options = {});
/// Normal with the given mean and standard deviation.
GRADUS_API Tensor normal(const Shape& shape, double mean, double std, const TensorOptions& options = {});
/// Integers in [low, high), int64 by default.
GRADUS_API Tensor randint(int64_t low, int64_t high, const Shape& shape, const TensorOptions& options = {});
GRADUS_API Tensor randint(int64_t high, const Shape& shape, const TensorOptions& options = {});
/// A random permutation of 0..n-1, int64 (Fisher-Yates).
GRADUS_API Tensor randperm(int64_t n, const TensorOptions& options = {});
/// 1 with probability p, else 0; boolean by default.
GRADUS_API Tensor bernoulli(const Shape& shape, double p, const TensorOptions& options = {});
GRADUS_API Tensor rand_like(const Tensor& x, const TensorOptions& options = {});
GRADUS_API Tensor randn_like(const Tensor& x, const TensorOptions& options = {});
/// One index per row drawn from the weights [rows, n] (or [n]); int64.
GRADUS_API Tensor multinomial(const Tensor& weights, int64_t samples = 1);

}  // namespace gradus
