// Layers: checked sizes, first values as PyTorch's, counts of multiply-adds.
#include <gradus/nn/layers.h>

#include <cmath>

#include <gradus/autograd/autograd.h>
#include <gradus/core/detail/check.h>
#include <gradus/core/random.h>
#include <gradus/nn/init.h>

namespace gradus::nn {
namespace {

int64_t positive(const char* layer, const char* argument, int64_t value) {
  GRADUS_CHECK(value >= 1, ValueError, "{}: {} is {}; want 1 or more", layer, argument, value);
  return value;
}

// The product of the dims after the first: what one output of a linear map sums over.
int64_t inner(const Shape& shape) {
  int64_t n = 1;
  for (int d = 1; d < shape.rank(); ++d) n *= shape[d];
  return n;
}

Parameter filled(const Shape& shape, double value) { return Parameter(full(shape, value)); }

// Weight and bias both uniform within 1 / sqrt(fan_in): kaiming_uniform with a = sqrt(5).
void init_affine_map(Parameter& weight, Parameter& bias, const Shape& shape, int64_t out, bool with_bias) {
  weight = Parameter(empty(shape));
  init::kaiming_uniform_(weight, {.a = std::sqrt(5.0)});
  if (!with_bias) return;
  bias = Parameter(empty({out}));
  const double bound = 1 / std::sqrt(static_cast<double>(init::fans(weight).in));
  init::uniform_(bias, -bound, bound);
}

void check_groups(const char* layer, int64_t in, int64_t out, int64_t groups) {
  positive(layer, "groups", groups);
  GRADUS_CHECK(in % groups == 0 && out % groups == 0, ValueError,
               "{}: in_channels {} and out_channels {} must be multiples of groups {}", layer, in, out, groups);
}

void check_window(const char* layer, Pair kernel, Pair stride, Pair padding, Pair dilation) {
  for (const Pair p : {kernel, stride, dilation})
    GRADUS_CHECK(p.h >= 1 && p.w >= 1, ValueError, "{}: kernel_size, stride and dilation are 1 or more, got {} x {}",
                 layer, p.h, p.w);
  GRADUS_CHECK(padding.h >= 0 && padding.w >= 0, ValueError, "{}: padding is 0 or more, got {} x {}", layer, padding.h,
               padding.w);
}

}  // namespace

// ---- linear maps
Linear::Linear(int64_t in_features, int64_t out_features, const LinearOptions& options) {
  positive("Linear", "in_features", in_features);
  positive("Linear", "out_features", out_features);
  init_affine_map(weight, bias, {out_features, in_features}, out_features, options.bias);
}
int64_t Linear::macs(const Shape&, const Shape& output) const { return output.numel() * inner(weight.shape()); }

Embedding::Embedding(int64_t num_embeddings, int64_t embedding_dim, const EmbeddingOptions& options)
    : weight(randn({positive("Embedding", "num_embeddings", num_embeddings),
                    positive("Embedding", "embedding_dim", embedding_dim)})),
      padding_idx(options.padding_idx) {
  if (!padding_idx) return;
  GRADUS_CHECK(*padding_idx >= -num_embeddings && *padding_idx < num_embeddings, IndexError,
               "Embedding: padding_idx {} is out of range for {} rows", *padding_idx, num_embeddings);
  if (*padding_idx < 0) *padding_idx += num_embeddings;
  const NoGrad no_graph;
  weight[*padding_idx].zero_();
}

Conv2d::Conv2d(int64_t in_channels, int64_t out_channels, Pair kernel_size, const Conv2dOptions& options)
    : params{options.stride, options.padding, options.dilation, options.groups} {
  positive("Conv2d", "in_channels", in_channels);
  positive("Conv2d", "out_channels", out_channels);
  check_groups("Conv2d", in_channels, out_channels, options.groups);
  check_window("Conv2d", kernel_size, options.stride, options.padding, options.dilation);
  init_affine_map(weight, bias, {out_channels, in_channels / options.groups, kernel_size.h, kernel_size.w},
                  out_channels, options.bias);
}
int64_t Conv2d::macs(const Shape&, const Shape& output) const { return output.numel() * inner(weight.shape()); }

ConvTranspose2d::ConvTranspose2d(int64_t in_channels, int64_t out_channels, Pair kernel_size,
                                 const ConvTranspose2dOptions& options)
    : params{options.stride, options.padding, options.output_padding, options.dilation, options.groups} {
  positive("ConvTranspose2d", "in_channels", in_channels);
  positive("ConvTranspose2d", "out_channels", out_channels);
  check_groups("ConvTranspose2d", in_channels, out_channels, options.groups);
  check_window("ConvTranspose2d", kernel_size, options.stride, options.padding, options.dilation);
  init_affine_map(weight, bias, {in_channels, out_channels / options.groups, kernel_size.h, kernel_size.w},
                  out_channels, options.bias);
}
int64_t ConvTranspose2d::macs(const Shape& input, const Shape&) const { return input.numel() * inner(weight.shape()); }

// ---- normalisation
BatchNorm::BatchNorm(int64_t num_features, const BatchNormOptions& options)
    : eps(options.eps), momentum(options.momentum) {
  const Shape shape{positive("BatchNorm", "num_features", num_features)};
  GRADUS_CHECK(momentum >= 0 && momentum <= 1, ValueError, "BatchNorm: momentum is {}; want 0 to 1", momentum);
  if (options.affine) {
    weight = filled(shape, 1);
    bias = filled(shape, 0);
  }
  if (options.track_running_stats) {
    running_mean = Buffer(zeros(shape));
    running_var = Buffer(ones(shape));
    num_batches_tracked = Buffer(zeros({}, {.dtype = int64}));
  }
}

Tensor BatchNorm::normalise(const Tensor& x) {
  const bool tracks = running_mean.defined();
  if (is_training() && tracks && !is_recomputing()) num_batches_tracked.add_(1);
  if (is_training() && training_norm) return training_norm(*this, x);
  return batch_norm(x, running_mean, running_var, weight, bias, is_training() || !tracks, momentum, eps);
}

Tensor BatchNorm1d::forward(const Tensor& x) {
  GRADUS_CHECK(x.rank() == 2 || x.rank() == 3, ShapeError, "BatchNorm1d: input is {}; want [N, C] or [N, C, L]",
               x.shape());
  return normalise(x);
}

Tensor BatchNorm2d::forward(const Tensor& x) {
  GRADUS_CHECK(x.rank() == 4, ShapeError, "BatchNorm2d: input is {}; want [N, C, H, W]", x.shape());
  return normalise(x);
}

LayerNorm::LayerNorm(const Shape& shape, const LayerNormOptions& options) : normalized(shape), eps(options.eps) {
  for (const int64_t size : shape) positive("LayerNorm", "a size of normalized", size);
  if (options.affine) weight = filled(shape, 1);
  if (options.affine && options.bias) bias = filled(shape, 0);
}

RMSNorm::RMSNorm(const Shape& shape, const RMSNormOptions& options) : normalized(shape), eps(options.eps) {
  for (const int64_t size : shape) positive("RMSNorm", "a size of normalized", size);
  if (options.affine) weight = filled(shape, 1);
}

GroupNorm::GroupNorm(int64_t groups, int64_t num_channels, const GroupNormOptions& options)
    : num_groups(positive("GroupNorm", "num_groups", groups)), eps(options.eps) {
  positive("GroupNorm", "num_channels", num_channels);
  GRADUS_CHECK(num_channels % groups == 0, ValueError, "GroupNorm: num_channels {} is no multiple of num_groups {}",
               num_channels, groups);
  if (!options.affine) return;
  weight = filled({num_channels}, 1);
  bias = filled({num_channels}, 0);
}

// ---- without parameters
Dropout::Dropout(double probability) : p(probability) {
  GRADUS_CHECK(p >= 0 && p <= 1, ValueError, "Dropout: p is {}; want 0 to 1", p);
}

}  // namespace gradus::nn
