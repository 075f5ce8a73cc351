// Clipping: one fused pass for the norm, one for the scaling when there is something to scale.
#include <gradus/optim/clip.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include <gradus/autograd/ops.h>
#include <gradus/core/detail/check.h>
#include <gradus/core/kernels.h>

namespace gradus::optim {
namespace {

// A kernel takes contiguous gradients of 32 and 64 bits, and writes them in place.
bool is_plain(const Tensor& g) { return g.is_contiguous() && itemsize(g.dtype()) >= 4; }

// Calls f(device, slices) for the plain gradients of each device and dtype.
template <class F>
void for_slices(const std::vector<Tensor>& gradients, F f) {
  std::vector<const Tensor*> left;
  for (const Tensor& g : gradients)
    if (is_plain(g)) left.push_back(&g);
  std::vector<OptimizerSlice> slices;
  for (auto first = left.begin(); first != left.end();) {
    const Tensor& like = **first;
    const auto last = std::stable_partition(
        first, left.end(), [&](const Tensor* g) { return g->device() == like.device() && g->dtype() == like.dtype(); });
    slices.clear();
    for (auto g = first; g != last; ++g)
      slices.push_back({nullptr, (*g)->raw_data(), nullptr, nullptr, nullptr, (*g)->numel(), like.dtype()});
    f(like.device(), slices);
    first = last;
  }
}

std::vector<Tensor> gradients_of(const NamedTensors& parameters) {
  std::vector<Tensor> gradients;
  for (const auto& [name, x] : parameters)
    if (const Tensor g = x.grad(); g.defined() && g.numel() > 0) gradients.push_back(g.detach());
  return gradients;
}

}  // namespace

double clip_grad_norm(const NamedTensors& parameters, double max_norm, const ClipOptions& options) {
  GRADUS_CHECK(max_norm >= 0, ValueError, "clip_grad_norm: max_norm is {}; want 0 or more", max_norm);
  const NoGrad no_graph;
  const std::vector<Tensor> gradients = gradients_of(parameters);
  double squares = 0;
  for_slices(gradients, [&](Device device, std::span<const OptimizerSlice> slices) {
    squares += kernels::squared_norm(device, slices);
  });
  for (const Tensor& g : gradients)
    if (!is_plain(g)) squares += sum(square(g.to(float32))).item<double>();
  const double norm = std::sqrt(squares);
  GRADUS_CHECK(!options.error_if_nonfinite || std::isfinite(norm), GradError,
               "clip_grad_norm: the norm of the gradients is {}; AnomalyMode finds the op that made it so", norm);
  const double factor = max_norm / (norm + 1e-6);
  if (factor >= 1) return norm;
  for_slices(gradients, [&](Device device, std::span<const OptimizerSlice> slices) {
    kernels::scale_gradients(device, slices, factor);
  });
  for (const Tensor& g : gradients)
    if (is_plain(g))
      g.impl().storage->bump_version();
    else
      g.mul_(factor);
  return norm;
}

void clip_grad_value(const NamedTensors& parameters, double max_value) {
  GRADUS_CHECK(max_value >= 0, ValueError, "clip_grad_value: max_value is {}; want 0 or more", max_value);
  const NoGrad no_graph;
  for (const Tensor& g : gradients_of(parameters)) g.copy_(clamp(g, -max_value, max_value));
}

}  // namespace gradus::optim
