// The flat tensors and the views into them.
#include <gradus/distributed/detail/packed.h>

#include <gradus/autograd/grad_mode.h>
#include <gradus/core/factories.h>

namespace gradus::dist::detail {

Packed::Packed(std::vector<Tensor> tensors) : tensors_(std::move(tensors)), views_(tensors_.size()) {
  for (size_t i = 0; i < tensors_.size(); ++i) {
    if (views_[i].defined()) continue;
    std::vector<size_t> alike;
    int64_t numel = 0;
    for (size_t j = i; j < tensors_.size(); ++j) {
      if (tensors_[j].dtype() != tensors_[i].dtype() || tensors_[j].device() != tensors_[i].device()) continue;
      alike.push_back(j);
      numel += tensors_[j].numel();
    }
    const Tensor flat = empty({numel}, {.dtype = tensors_[i].dtype(), .device = tensors_[i].device()});
    int64_t offset = 0;
    for (const size_t j : alike) {
      const Shape& shape = tensors_[j].shape();
      views_[j] = as_strided(flat, shape, contiguous_strides(shape), offset);
      offset += shape.numel();
    }
    flats_.push_back(flat);
  }
}

void Packed::copy(bool packing) const {
  const NoGrad no_graph;
  for (size_t i = 0; i < tensors_.size(); ++i) packing ? views_[i].copy_(tensors_[i]) : tensors_[i].copy_(views_[i]);
}

}  // namespace gradus::dist::detail
