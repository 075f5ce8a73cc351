// The layers. Names of fields, layouts of weights and first values are PyTorch's, so that its state dicts fit; the
// mathematics is in autograd/ops. Sizes are checked where the layer is made (ValueError), inputs where it is called.
#pragma once

#include <functional>
#include <optional>

#include <gradus/autograd/ops.h>
#include <gradus/nn/module.h>

namespace gradus::nn {

// ---- linear maps
struct LinearOptions {
  bool bias = true;
};
/// x W^T + b: [..., in] -> [..., out].
struct GRADUS_API Linear : Module {
  Parameter weight, bias;  // [out, in], [out]
  Linear(int64_t in_features, int64_t out_features, const LinearOptions& options = {});
  Tensor forward(const Tensor& x) { return linear(x, weight, bias); }
  int64_t macs(const Shape& input, const Shape& output) const override;
  GRADUS_MODULE(weight, bias)
};

struct EmbeddingOptions {
  std::optional<int64_t> padding_idx = {};  ///< a row that starts as zeros and gets no gradient; may be negative
};
/// Rows of the table: int64 [...] -> [..., dim].
struct GRADUS_API Embedding : Module {
  Parameter weight;  // [num, dim]
  std::optional<int64_t> padding_idx;
  Embedding(int64_t num_embeddings, int64_t embedding_dim, const EmbeddingOptions& options = {});
  Tensor forward(const Tensor& index) { return embedding(index, weight, padding_idx); }
  GRADUS_MODULE(weight, padding_idx)
};

struct Conv2dOptions {
  Pair stride = 1, padding = 0, dilation = 1;
  int64_t groups = 1;
  bool bias = true;
};
/// Cross-correlation: [N, in, H, W] -> [N, out, OH, OW].
struct GRADUS_API Conv2d : Module {
  Parameter weight, bias;  // [out, in / groups, kh, kw], [out]
  Conv2dParams params;
  Conv2d(int64_t in_channels, int64_t out_channels, Pair kernel_size, const Conv2dOptions& options = {});
  Tensor forward(const Tensor& x) { return conv2d(x, weight, bias, params); }
  int64_t macs(const Shape& input, const Shape& output) const override;
  GRADUS_MODULE(weight, bias, params)
};

struct ConvTranspose2dOptions {
  Pair stride = 1, padding = 0, output_padding = 0, dilation = 1;
  int64_t groups = 1;
  bool bias = true;
};
/// The derivative of Conv2d for its input: [N, in, H, W] -> [N, out, OH, OW].
struct GRADUS_API ConvTranspose2d : Module {
  Parameter weight, bias;  // [in, out / groups, kh, kw], [out]
  ConvTranspose2dParams params;
  ConvTranspose2d(int64_t in_channels, int64_t out_channels, Pair kernel_size,
                  const ConvTranspose2dOptions& options = {});
  Tensor forward(const Tensor& x) { return conv_transpose2d(x, weight, bias, params); }
  int64_t macs(const Shape& input, const Shape& output) const override;
  GRADUS_MODULE(weight, bias, params)
};

// ---- normalisation
struct BatchNormOptions {
  double eps = 1e-5, momentum = 0.1;
  bool affine = true;               ///< scale and shift
  bool track_running_stats = true;  ///< false: evaluation too uses the statistics of the batch
};
/// What BatchNorm1d and BatchNorm2d share (Ioffe and Szegedy, arXiv 1502.03167). Training uses the statistics of the
/// batch and moves the running ones; evaluation uses the running ones.
struct GRADUS_API BatchNorm : Module {
  Parameter weight, bias;                                 // [C], or absent
  Buffer running_mean, running_var, num_batches_tracked;  // [C], [C], [] int64, or absent
  double eps, momentum;
  /// What training calls instead of batch_norm(), when it is set, such as one with the statistics of other processes,
  /// too: dist::convert_sync_batch_norm().
  std::function<Tensor(const BatchNorm& layer, const Tensor& x)> training_norm;

 protected:
  BatchNorm(int64_t num_features, const BatchNormOptions& options);
  Tensor normalise(const Tensor& x);
};
/// [N, C] or [N, C, L].
struct GRADUS_API BatchNorm1d : BatchNorm {
  explicit BatchNorm1d(int64_t num_features, const BatchNormOptions& options = {}) : BatchNorm(num_features, options) {}
  Tensor forward(const Tensor& x);
  GRADUS_MODULE(weight, bias, running_mean, running_var, num_batches_tracked, eps, momentum, training_norm)
};
/// [N, C, H, W].
struct GRADUS_API BatchNorm2d : BatchNorm {
  explicit BatchNorm2d(int64_t num_features, const BatchNormOptions& options = {}) : BatchNorm(num_features, options) {}
  Tensor forward(const Tensor& x);
  GRADUS_MODULE(weight, bias, running_mean, running_var, num_batches_tracked, eps, momentum, training_norm)
};

struct LayerNormOptions {
  double eps = 1e-5;
  bool affine = true, bias = true;
};
/// Over the last dims, whose sizes are `normalized` (Ba et al., arXiv 1607.06450).
struct GRADUS_API LayerNorm : Module {
  Parameter weight, bias;  // `normalized`, or absent
  Shape normalized;
  double eps;
  explicit LayerNorm(int64_t features, const LayerNormOptions& options = {}) : LayerNorm(Shape{features}, options) {}
  explicit LayerNorm(const Shape& normalized, const LayerNormOptions& options = {});
  Tensor forward(const Tensor& x) { return layer_norm(x, normalized, weight, bias, eps); }
  GRADUS_MODULE(weight, bias, normalized, eps)
};

struct RMSNormOptions {
  double eps = 1e-6;
  bool affine = true;
};
/// Over the last dims, without subtracting the mean (Zhang and Sennrich, arXiv 1910.07467).
struct GRADUS_API RMSNorm : Module {
  Parameter weight;  // `normalized`, or absent
  Shape normalized;
  double eps;
  explicit RMSNorm(int64_t features, const RMSNormOptions& options = {}) : RMSNorm(Shape{features}, options) {}
  explicit RMSNorm(const Shape& normalized, const RMSNormOptions& options = {});
  Tensor forward(const Tensor& x) { return rms_norm(x, normalized, weight, eps); }
  GRADUS_MODULE(weight, normalized, eps)
};

struct GroupNormOptions {
  double eps = 1e-5;
  bool affine = true;
};
/// [N, C, ...], over groups of channels (Wu and He, arXiv 1803.08494).
struct GRADUS_API GroupNorm : Module {
  Parameter weight, bias;  // [C], or absent
  int64_t num_groups;
  double eps;
  GroupNorm(int64_t num_groups, int64_t num_channels, const GroupNormOptions& options = {});
  Tensor forward(const Tensor& x) { return group_norm(x, num_groups, weight, bias, eps); }
  GRADUS_MODULE(weight, bias, num_groups, eps)
};

// ---- without parameters
/// Zeroes elements with probability p while training (Srivastava et al., JMLR 2014).
struct GRADUS_API Dropout : Module {
  double p;
  explicit Dropout(double probability = 0.5);
  Tensor forward(const Tensor& x) { return dropout(x, p, is_training()); }
  GRADUS_MODULE(p)
};

struct GRADUS_API Identity : Module {
  Tensor forward(const Tensor& x) { return x; }
  GRADUS_MODULE()
};

/// Dims start_dim to end_dim as one: [N, C, H, W] -> [N, C H W].
struct GRADUS_API Flatten : Module {
  int64_t start_dim, end_dim;
  explicit Flatten(int64_t start = 1, int64_t end = -1) : start_dim(start), end_dim(end) {}
  Tensor forward(const Tensor& x) { return x.flatten(start_dim, end_dim); }
  GRADUS_MODULE(start_dim, end_dim)
};

struct GRADUS_API ReLU : Module {
  Tensor forward(const Tensor& x) { return relu(x); }
  GRADUS_MODULE()
};
struct GRADUS_API SiLU : Module {
  Tensor forward(const Tensor& x) { return silu(x); }
  GRADUS_MODULE()
};
struct GRADUS_API Tanh : Module {
  Tensor forward(const Tensor& x) { return tanh(x); }
  GRADUS_MODULE()
};
struct GRADUS_API Sigmoid : Module {
  Tensor forward(const Tensor& x) { return sigmoid(x); }
  GRADUS_MODULE()
};
struct GRADUS_API GELU : Module {
  GeluApproximation approximate;
  explicit GELU(GeluApproximation approximation = GeluApproximation::none) : approximate(approximation) {}
  Tensor forward(const Tensor& x) { return gelu(x, approximate); }
  GRADUS_MODULE(approximate)
};
struct GRADUS_API LeakyReLU : Module {
  double slope;
  explicit LeakyReLU(double negative_slope = 0.01) : slope(negative_slope) {}
  Tensor forward(const Tensor& x) { return leaky_relu(x, slope); }
  GRADUS_MODULE(slope)
};
struct GRADUS_API ELU : Module {
  double alpha;
  explicit ELU(double a = 1) : alpha(a) {}
  Tensor forward(const Tensor& x) { return elu(x, alpha); }
  GRADUS_MODULE(alpha)
};
struct GRADUS_API Softmax : Module {
  int64_t dim;
  explicit Softmax(int64_t d = -1) : dim(d) {}
  Tensor forward(const Tensor& x) { return softmax(x, dim); }
  GRADUS_MODULE(dim)
};
struct GRADUS_API LogSoftmax : Module {
  int64_t dim;
  explicit LogSoftmax(int64_t d = -1) : dim(d) {}
  Tensor forward(const Tensor& x) { return log_softmax(x, dim); }
  GRADUS_MODULE(dim)
};

// ---- pooling: [N, C, H, W] -> [N, C, OH, OW]
struct GRADUS_API MaxPool2d : Module {
  Pair kernel_size;
  Pool2dParams params;
  explicit MaxPool2d(Pair kernel, const Pool2dParams& options = {}) : kernel_size(kernel), params(options) {}
  Tensor forward(const Tensor& x) { return max_pool2d(x, kernel_size, params); }
  GRADUS_MODULE(kernel_size, params)
};
struct GRADUS_API AvgPool2d : Module {
  Pair kernel_size;
  Pool2dParams params;
  explicit AvgPool2d(Pair kernel, const Pool2dParams& options = {}) : kernel_size(kernel), params(options) {}
  Tensor forward(const Tensor& x) { return avg_pool2d(x, kernel_size, params); }
  GRADUS_MODULE(kernel_size, params)
};
/// Means over windows that are chosen to give the output size.
struct GRADUS_API AdaptiveAvgPool2d : Module {
  Pair output_size;
  explicit AdaptiveAvgPool2d(Pair output) : output_size(output) {}
  Tensor forward(const Tensor& x) { return adaptive_avg_pool2d(x, output_size); }
  GRADUS_MODULE(output_size)
};

}  // namespace gradus::nn
