// Data sets: stacking single examples, gathering rows of tensors in memory.
#include <gradus/data/dataset.h>

#include <cstring>
#include <utility>

#include <gradus/autograd/ops.h>
#include <gradus/core/detail/check.h>

namespace gradus::data {
namespace {

Tensor stack_samples(std::span<const Tensor> samples, std::span<const int64_t> indices, const char* part) {
  for (size_t i = 0; i < samples.size(); ++i) {
    gradus::detail::check_defined("Dataset::batch", part, samples[i]);
    GRADUS_CHECK(samples[i].shape() == samples[0].shape() && samples[i].dtype() == samples[0].dtype(), ShapeError,
                 "Dataset::batch: the {} of sample {} is {}{}, that of sample {} {}{}; want one shape and dtype", part,
                 indices[i], samples[i].dtype(), samples[i].shape(), indices[0], samples[0].dtype(),
                 samples[0].shape());
  }
  return stack(samples);
}

/// The rows `indices` of x (N, ...), in their order.
Tensor gather_rows(const Tensor& x, std::span<const int64_t> indices) {
  if (!x.device().is_cpu()) return index_select(x, 0, tensor(indices, {.device = x.device()}));
  Shape shape = x.shape();
  shape[0] = static_cast<int64_t>(indices.size());
  Tensor rows = empty(shape, {.dtype = x.dtype()});
  const size_t row_bytes = static_cast<size_t>(x.nbytes() / x.size(0));
  const char* from = static_cast<const char*>(x.raw_data());
  char* to = static_cast<char*>(rows.mutable_raw_data());
  for (const int64_t index : indices) {
    std::memcpy(to, from + static_cast<size_t>(index) * row_bytes, row_bytes);
    to += row_bytes;
  }
  return rows;
}

}  // namespace

Example Dataset::batch(std::span<const int64_t> indices) const {
  GRADUS_CHECK(!indices.empty(), ValueError, "Dataset::batch: no indices; want at least one");
  std::vector<Tensor> inputs, targets;
  for (const int64_t index : indices) {
    Example example = get(index);
    inputs.push_back(std::move(example.input));
    targets.push_back(std::move(example.target));
  }
  Example batch{stack_samples(inputs, indices, "input"), {}};
  if (targets[0].defined()) batch.target = stack_samples(targets, indices, "target");
  return batch;
}

TensorDataset::TensorDataset(Tensor inputs, Tensor targets, Transform transform, std::vector<std::string> classes)
    : transform_(std::move(transform)), classes_(std::move(classes)) {
  gradus::detail::check_defined("TensorDataset", "inputs", inputs);
  gradus::detail::check_defined("TensorDataset", "targets", targets);
  GRADUS_CHECK(inputs.rank() > 0 && targets.rank() > 0 && inputs.size(0) == targets.size(0), ShapeError,
               "TensorDataset: inputs {} and targets {}; want the same number along dim 0", inputs.shape(),
               targets.shape());
  inputs_ = dense(inputs);
  targets_ = dense(targets);
}

Example TensorDataset::get(int64_t index) const {
  const Example one = batch({&index, 1});
  return {one.input.select(0, 0), one.target.select(0, 0)};
}

Example TensorDataset::batch(std::span<const int64_t> indices) const {
  for (const int64_t index : indices)
    GRADUS_CHECK(index >= 0 && index < size(), IndexError, "TensorDataset: index {} is outside [0, {})", index, size());
  if (indices.empty()) return {inputs_.slice(0, 0, 0), targets_.slice(0, 0, 0)};
  Tensor inputs = gather_rows(inputs_, indices);
  return {transform_ ? transform_(inputs) : std::move(inputs), gather_rows(targets_, indices)};
}

TensorDataset TensorDataset::first(int64_t n) const {
  GRADUS_CHECK(n >= 0, ValueError, "TensorDataset: the first {} examples; want 0 or more", n);
  n = std::min(n, size());
  return {inputs_.slice(0, 0, n), targets_.slice(0, 0, n), transform_, classes_};
}

}  // namespace gradus::data
