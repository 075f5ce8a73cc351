// The samplers: which examples an epoch has, and in which order. Philox makes them the same everywhere.
#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include <gradus/core/detail/check.h>
#include <gradus/core/philox.h>
#include <gradus/data/data_loader.h>

namespace gradus::data {
namespace {

/// 64 random bits for the i-th draw of an epoch.
uint64_t bits(uint64_t seed, int64_t epoch, int64_t i) {
  const philox::Words words = philox::philox(seed, (static_cast<uint64_t>(epoch) << 40) + static_cast<uint64_t>(i));
  return uint64_t{words.w[0]} << 32 | words.w[1];
}

std::vector<int64_t> counted(int64_t size) {
  std::vector<int64_t> indices(static_cast<size_t>(size));
  std::iota(indices.begin(), indices.end(), 0);
  return indices;
}

}  // namespace

SequentialSampler::SequentialSampler(int64_t size) : size_(size) {
  GRADUS_CHECK(size >= 0, ValueError, "SequentialSampler: size is {}; want 0 or more", size);
}
std::vector<int64_t> SequentialSampler::indices(int64_t) const { return counted(size_); }

RandomSampler::RandomSampler(int64_t size, uint64_t seed) : size_(size), seed_(seed) {
  GRADUS_CHECK(size >= 0, ValueError, "RandomSampler: size is {}; want 0 or more", size);
}
std::vector<int64_t> RandomSampler::indices(int64_t epoch) const {
  std::vector<int64_t> order = counted(size_);
  for (int64_t i = size_ - 1; i > 0; --i)  // Fisher and Yates
    std::swap(order[static_cast<size_t>(i)], order[bits(seed_, epoch, i) % static_cast<uint64_t>(i + 1)]);
  return order;
}

WeightedSampler::WeightedSampler(std::vector<double> weights, int64_t samples, uint64_t seed)
    : cumulative_(std::move(weights)), samples_(samples), seed_(seed) {
  GRADUS_CHECK(samples >= 0, ValueError, "WeightedSampler: samples is {}; want 0 or more", samples);
  for (size_t i = 0; i < cumulative_.size(); ++i)
    GRADUS_CHECK(std::isfinite(cumulative_[i]) && cumulative_[i] >= 0, ValueError,
                 "WeightedSampler: weights[{}] is {}; want finite values, 0 or more", i, cumulative_[i]);
  std::partial_sum(cumulative_.begin(), cumulative_.end(), cumulative_.begin());
  GRADUS_CHECK(!cumulative_.empty() && cumulative_.back() > 0 && std::isfinite(cumulative_.back()), ValueError,
               "WeightedSampler: the weights sum to {}; want a finite sum above 0",
               cumulative_.empty() ? 0 : cumulative_.back());
}
std::vector<int64_t> WeightedSampler::indices(int64_t epoch) const {
  std::vector<int64_t> drawn(static_cast<size_t>(samples_));
  for (int64_t i = 0; i < samples_; ++i) {
    const double u = static_cast<double>(bits(seed_, epoch, i) >> 11) * 0x1p-53 * cumulative_.back();
    const auto place = std::upper_bound(cumulative_.begin(), cumulative_.end(), u);  // u < the last sum
    drawn[static_cast<size_t>(i)] = place - cumulative_.begin();
  }
  return drawn;
}

}  // namespace gradus::data
