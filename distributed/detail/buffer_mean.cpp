// Differences from the start and back.
#include <gradus/distributed/detail/buffer_mean.h>

#include <gradus/autograd/ops.h>

namespace gradus::dist::detail {

BufferMean::BufferMean(std::vector<Tensor> buffers) : buffers_(std::move(buffers)) {
  const NoGrad no_graph;
  for (const Tensor& b : buffers_) start_.push_back(b.clone());
}

void BufferMean::restore() const {
  const NoGrad no_graph;
  for (size_t i = 0; i < buffers_.size(); ++i) buffers_[i].copy_(start_[i]);
}

std::vector<Tensor> BufferMean::changes(double weight, bool is_first) const {
  const NoGrad no_graph;
  std::vector<Tensor> changes;
  for (size_t i = 0; i < buffers_.size(); ++i) {
    const Tensor now = buffers_[i].flatten(), start = start_[i].flatten();
    if (is_floating(now.dtype()))
      changes.push_back(masked_fill(now.to(float64) - start.to(float64), now == start, 0) * weight);
    else
      changes.push_back((now.to(int64) - start.to(int64)).to(float64) * (is_first ? 1 : 0));
  }
  return changes;
}

int64_t BufferMean::numel() const {
  int64_t n = 0;
  for (const Tensor& b : buffers_) n += b.numel();
  return n;
}

void BufferMean::move(const Tensor& sums) const {
  const NoGrad no_graph;
  int64_t at = 0;
  for (size_t i = 0; i < buffers_.size(); ++i) {
    const Tensor &b = buffers_[i], change = sums.narrow(0, at, b.numel()).view(b.shape()), start = start_[i];
    at += b.numel();
    const Dtype wide = is_floating(b.dtype()) ? float64 : int64;
    b.copy_((start.to(wide) + change.to(wide)).to(b.dtype()));
  }
}

}  // namespace gradus::dist::detail
