// Initialisers: fill a tensor in place with constants or random values, PyTorch's nn.init. All of them work under
// NoGrad, draw from the default generator, and return their argument.
#pragma once

#include <gradus/core/tensor.h>

namespace gradus::nn::init {

GRADUS_API const Tensor& uniform_(const Tensor& x, double low = 0, double high = 1);
GRADUS_API const Tensor& normal_(const Tensor& x, double mean = 0, double std = 1);
/// Normal values cut off outside [low, high], through the inverse of the distribution function.
GRADUS_API const Tensor& trunc_normal_(const Tensor& x, double mean = 0, double std = 1, double low = -2,
                                       double high = 2);
GRADUS_API const Tensor& constant_(const Tensor& x, Scalar value);
GRADUS_API const Tensor& zeros_(const Tensor& x);
GRADUS_API const Tensor& ones_(const Tensor& x);
/// The identity in a matrix of any two sizes.
GRADUS_API const Tensor& eye_(const Tensor& x);

/// How many values each output sums (fan_in) or each input feeds (fan_out): for a weight [out, in, ...] these are in
/// and out times the product of the rest.
struct Fan {
  int64_t in, out;
};
/// ShapeError for rank 0 and 1.
GRADUS_API Fan fans(const Tensor& x);
enum class FanMode { fan_in, fan_out };

enum class Nonlinearity { linear, sigmoid, tanh, relu, leaky_relu, selu };
/// The factor that keeps the variance through a nonlinearity; `slope` is leaky_relu's.
GRADUS_API double calculate_gain(Nonlinearity nonlinearity, double slope = 0.01);

/// Glorot and Bengio, AISTATS 2010: variance gain^2 2 / (fan_in + fan_out).
GRADUS_API const Tensor& xavier_uniform_(const Tensor& x, double gain = 1);
GRADUS_API const Tensor& xavier_normal_(const Tensor& x, double gain = 1);

struct KaimingOptions {
  double a = 0;  ///< slope of leaky_relu's negative side
  FanMode mode = FanMode::fan_in;
  Nonlinearity nonlinearity = Nonlinearity::leaky_relu;
};
/// He et al., arXiv 1502.01852: variance gain^2 / fan.
GRADUS_API const Tensor& kaiming_uniform_(const Tensor& x, const KaimingOptions& options = {});
GRADUS_API const Tensor& kaiming_normal_(const Tensor& x, const KaimingOptions& options = {});

/// Orthonormal rows or columns, whichever are fewer, of the matrix [size(0), rest] (Saxe et al., arXiv 1312.6120).
GRADUS_API const Tensor& orthogonal_(const Tensor& x, double gain = 1);

}  // namespace gradus::nn::init
