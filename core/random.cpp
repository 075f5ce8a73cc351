// Generators and the random factories.
#include <gradus/core/random.h>

#include <mutex>
#include <numeric>
#include <utility>
#include <vector>

#include <gradus/core/detail/check.h>
#include <gradus/core/kernels.h>
#include <gradus/core/philox.h>

namespace gradus {
namespace {

std::mutex generator_mutex;
thread_local Generator* thread_generator = nullptr;

Tensor draw(const char* op, const Shape& shape, const TensorOptions& options, Dtype fallback, Distribution distribution,
            double a, double b) {
  const Dtype dtype = options.dtype.value_or(fallback);
  GRADUS_CHECK(distribution == Distribution::integer ? dtype != boolean : is_floating(dtype), DtypeError,
               "{}: {} is not supported; want {}", op, dtype,
               distribution == Distribution::integer ? "an integer or floating dtype" : "a floating dtype");
  Tensor x = empty(shape, {.dtype = dtype, .device = options.device});
  kernels::random(x.device(), x, distribution, a, b,
                  {default_generator().seed(), default_generator().advance(x.numel())});
  if (options.requires_grad) x.requires_grad_();
  return x;
}

TensorOptions like(const Tensor& x, const TensorOptions& options) {
  return {options.dtype.value_or(x.dtype()), options.device.value_or(x.device()), options.requires_grad};
}

}  // namespace

void Generator::manual_seed(uint64_t seed) { seek(seed, 0); }
void Generator::seek(uint64_t seed, uint64_t offset) {
  const std::lock_guard lock(generator_mutex);
  seed_ = seed;
  offset_ = offset;
}
uint64_t Generator::advance(int64_t n) {
  const std::lock_guard lock(generator_mutex);
  const uint64_t first = offset_;
  offset_ += (static_cast<uint64_t>(n) + 3) / 4;
  return first;
}
NamedTensors Generator::state_dict() const {
  const int64_t values[] = {static_cast<int64_t>(seed_), static_cast<int64_t>(offset_)};
  return {{"philox", tensor(std::span<const int64_t>(values))}};
}
void Generator::load_state_dict(const NamedTensors& state) {
  const Tensor philox = require(state, "philox", "rng");
  GRADUS_CHECK(philox.dtype() == int64 && philox.shape() == Shape({2}), CheckpointError,
               "rng: 'philox' is {}{}; want int64[2]", philox.dtype(), philox.shape());
  seek(static_cast<uint64_t>(philox.data<int64_t>()[0]), static_cast<uint64_t>(philox.data<int64_t>()[1]));
}

Generator& default_generator() {
  static Generator* instance = new Generator;
  return thread_generator ? *thread_generator : *instance;
}
UseGenerator::UseGenerator(Generator& generator) : before_(std::exchange(thread_generator, &generator)) {}
UseGenerator::~UseGenerator() { thread_generator = before_; }
void manual_seed(uint64_t seed) { default_generator().manual_seed(seed); }

Tensor rand(const Shape& shape, const TensorOptions& options) { return uniform(shape, 0, 1, options); }
Tensor uniform(const Shape& shape, double low, double high, const TensorOptions& options) {
  GRADUS_CHECK(low <= high, ValueError, "uniform: low {} is above high {}", low, high);
  return draw("uniform", shape, options, float32, Distribution::uniform, low, high);
}
Tensor randn(const Shape& shape, const TensorOptions& options) { return normal(shape, 0, 1, options); }
Tensor normal(const Shape& shape, double mean, double std, const TensorOptions& options) {
  GRADUS_CHECK(std >= 0, ValueError, "normal: std is {}; want 0 or more", std);
  return draw("normal", shape, options, float32, Distribution::normal, mean, std);
}
Tensor randint(int64_t low, int64_t high, const Shape& shape, const TensorOptions& options) {
  GRADUS_CHECK(low < high, ValueError, "randint: low {} is not below high {}", low, high);
  GRADUS_CHECK(high - low <= int64_t{1} << 32, ValueError, "randint: a range of {} is above 2^32", high - low);
  return draw("randint", shape, options, int64, Distribution::integer, static_cast<double>(low),
              static_cast<double>(high));
}
Tensor randint(int64_t high, const Shape& shape, const TensorOptions& options) {
  return randint(0, high, shape, options);
}
Tensor rand_like(const Tensor& x, const TensorOptions& options) { return rand(x.shape(), like(x, options)); }
Tensor randn_like(const Tensor& x, const TensorOptions& options) { return randn(x.shape(), like(x, options)); }

Tensor bernoulli(const Shape& shape, double p, const TensorOptions& options) {
  GRADUS_CHECK(p >= 0 && p <= 1, ValueError, "bernoulli: p is {}; want 0 to 1", p);
  const Tensor u = rand(shape, {.device = options.device});
  Tensor mask = empty(shape, {.dtype = boolean, .device = options.device});
  const Tensor* inputs[] = {&u};
  kernels::elementwise(u.device(), Elementwise::lt_scalar, mask, inputs, {p, 0});
  Tensor y = options.dtype.value_or(boolean) == boolean ? mask : mask.to(*options.dtype);
  if (options.requires_grad) y.requires_grad_();
  return y;
}

// On the host: a shuffle is a sequence of dependent swaps.
Tensor randperm(int64_t n, const TensorOptions& options) {
  GRADUS_CHECK(n >= 0, ValueError, "randperm: n is {}; want 0 or more", n);
  std::vector<int64_t> values(static_cast<size_t>(n));
  std::iota(values.begin(), values.end(), 0);
  const uint64_t seed = default_generator().seed(), offset = default_generator().advance(4 * n);
  for (int64_t i = n - 1; i > 0; --i) {
    const philox::Words words = philox::philox(seed, offset + static_cast<uint64_t>(i));
    const uint64_t bits = (uint64_t{words.w[0]} << 32) | words.w[1];
    std::swap(values[static_cast<size_t>(i)], values[bits % static_cast<uint64_t>(i + 1)]);
  }
  return tensor(std::span<const int64_t>(values), {.dtype = options.dtype.value_or(int64), .device = options.device});
}

Tensor multinomial(const Tensor& weights, int64_t samples) {
  detail::check_defined("multinomial", "weights", weights);
  GRADUS_CHECK(weights.rank() == 1 || weights.rank() == 2, ShapeError,
               "multinomial: weights is {}; want [n] or [rows, n]", weights.shape());
  GRADUS_CHECK(samples >= 1, ValueError, "multinomial: samples is {}; want 1 or more", samples);
  const int64_t n = weights.shape().back(), rows = weights.rank() == 2 ? weights.size(0) : 1;
  const Tensor host = dense(weights.detach().to(Device::cpu(), float64));  // (rows, n)
  const Tensor u = dense(rand({rows, samples}).to(float64));
  Tensor index = empty({rows, samples}, {.dtype = int64});
  for (int64_t r = 0; r < rows; ++r) {
    const double* w = host.data<double>() + r * n;
    double total = 0;
    for (int64_t i = 0; i < n; ++i) {
      GRADUS_CHECK(w[i] >= 0 && w[i] <= math::largest<double>(), ValueError,
                   "multinomial: weights[{}, {}] is {}; want finite values, 0 or more", r, i, w[i]);
      total += w[i];
    }
    GRADUS_CHECK(total > 0, ValueError, "multinomial: the weights of row {} are all 0", r);
    for (int64_t s = 0; s < samples; ++s) {
      double rest = u.data<double>()[r * samples + s] * total;
      int64_t i = 0, last = 0;
      for (; i < n && rest >= 0; ++i)
        if (w[i] > 0) rest -= w[i], last = i;
      index.mutable_data<int64_t>()[r * samples + s] = last;
    }
  }
  Tensor y = weights.rank() == 1 ? reshaped(index, {samples}) : index;
  return y.to(weights.device());
}

}  // namespace gradus
