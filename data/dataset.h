// What a data set is: a size and samples by index. Loading in batches is in data_loader.h, files in their readers.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include <gradus/core/tensor.h>

namespace gradus::data {

/// One example, or a batch of them: `auto& [x, y] = batch`.
struct Example {
  Tensor input, target;
};

/// Implementations must allow batch() from several threads at once.
class GRADUS_API Dataset {
 public:
  virtual ~Dataset() = default;
  virtual int64_t size() const = 0;
  /// The example at `index` in [0, size()).
  virtual Example get(int64_t index) const = 0;
  /// The examples at `indices`, stacked along a new first dim. Override where that can be done faster than one by one.
  virtual Example batch(std::span<const int64_t> indices) const;
};

/// Inputs and targets that lie in memory, the same number along their first dim: uint8 or any other dtype. Batches are
/// gathered, and `transform` (if any) is applied to a whole batch.
class GRADUS_API TensorDataset : public Dataset {
 public:
  using Transform = std::function<Tensor(const Tensor& inputs)>;
  TensorDataset(Tensor inputs, Tensor targets, Transform transform = {}, std::vector<std::string> classes = {});
  int64_t size() const override { return inputs_.size(0); }
  Example get(int64_t index) const override;
  Example batch(std::span<const int64_t> indices) const override;

  /// The first n examples, or all where there are fewer; they share memory with these. ValueError when n is negative.
  TensorDataset first(int64_t n) const;

  const Tensor& inputs() const { return inputs_; }
  const Tensor& targets() const { return targets_; }
  /// Names of the classes, where the source knows them.
  const std::vector<std::string>& classes() const { return classes_; }

 private:
  Tensor inputs_, targets_;
  Transform transform_;
  std::vector<std::string> classes_;
};

}  // namespace gradus::data
