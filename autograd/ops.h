// Every differentiable operation, as free functions found by ADL. Shapes broadcast as in NumPy unless a line says
// otherwise; dims may be negative. Bad input throws ShapeError, DtypeError, DeviceError, IndexError or ValueError with
// the op's name and the argument; dtypes are never promoted silently (a scalar takes the tensor's dtype). The
// definition of each op, its derivative beside it, is in autograd/ops/.
#pragma once

#include <optional>
#include <span>
#include <utility>
#include <variant>
#include <vector>

#include <gradus/autograd/record.h>
#include <gradus/core/factories.h>

namespace gradus {

inline constexpr bool keepdim = true;
/// The dims of a reduction: one, several, or (nothing given) all of them.
struct Dims {
  Shape dims;
  bool all = true;
  Dims() = default;
  Dims(int dim) : Dims(static_cast<int64_t>(dim)) {}
  Dims(int64_t dim) : dims({dim}), all(false) {}
  Dims(std::initializer_list<int64_t> several) : dims(several), all(several.size() == 0) {}
  Dims(const Shape& several) : dims(several), all(false) {}
};

// ---- arithmetic (autograd/ops/arithmetic.cpp)
GRADUS_API Tensor add(const Tensor& x, const Tensor& y);
GRADUS_API Tensor add(const Tensor& x, Scalar y);
GRADUS_API Tensor sub(const Tensor& x, const Tensor& y);
GRADUS_API Tensor sub(const Tensor& x, Scalar y);
GRADUS_API Tensor sub(Scalar x, const Tensor& y);
GRADUS_API Tensor mul(const Tensor& x, const Tensor& y);
GRADUS_API Tensor mul(const Tensor& x, Scalar y);
/// Quotient of floating tensors; integers are a DtypeError with the hint to convert.
GRADUS_API Tensor div(const Tensor& x, const Tensor& y);
GRADUS_API Tensor div(const Tensor& x, Scalar y);
GRADUS_API Tensor div(Scalar x, const Tensor& y);
/// Python's %: the sign of the divisor. The derivative for y is not defined here (GradError).
GRADUS_API Tensor remainder(const Tensor& x, const Tensor& y);
GRADUS_API Tensor remainder(const Tensor& x, Scalar y);
GRADUS_API Tensor pow(const Tensor& x, const Tensor& exponent);
GRADUS_API Tensor pow(const Tensor& x, Scalar exponent);
GRADUS_API Tensor neg(const Tensor& x);
GRADUS_API Tensor minimum(const Tensor& x, const Tensor& y);
GRADUS_API Tensor maximum(const Tensor& x, const Tensor& y);
GRADUS_API Tensor clamp(const Tensor& x, std::optional<Scalar> low, std::optional<Scalar> high = {});
/// start + weight (end - start).
GRADUS_API Tensor lerp(const Tensor& start, const Tensor& end, double weight);

inline Tensor operator+(const Tensor& x, const Tensor& y) { return add(x, y); }
inline Tensor operator+(const Tensor& x, Scalar y) { return add(x, y); }
inline Tensor operator+(Scalar x, const Tensor& y) { return add(y, x); }
inline Tensor operator-(const Tensor& x, const Tensor& y) { return sub(x, y); }
inline Tensor operator-(const Tensor& x, Scalar y) { return sub(x, y); }
inline Tensor operator-(Scalar x, const Tensor& y) { return sub(x, y); }
inline Tensor operator*(const Tensor& x, const Tensor& y) { return mul(x, y); }
inline Tensor operator*(const Tensor& x, Scalar y) { return mul(x, y); }
inline Tensor operator*(Scalar x, const Tensor& y) { return mul(y, x); }
inline Tensor operator/(const Tensor& x, const Tensor& y) { return div(x, y); }
inline Tensor operator/(const Tensor& x, Scalar y) { return div(x, y); }
inline Tensor operator/(Scalar x, const Tensor& y) { return div(x, y); }
inline Tensor operator-(const Tensor& x) { return neg(x); }

// ---- comparison and logic: boolean, no gradient (autograd/ops/comparison.cpp)
#define GRADUS_DECLARE_COMPARISON(name, sign)                                          \
  GRADUS_API Tensor name(const Tensor& x, const Tensor& y);                            \
  GRADUS_API Tensor name(const Tensor& x, Scalar y);                                   \
  inline Tensor operator sign(const Tensor& x, const Tensor& y) { return name(x, y); } \
  inline Tensor operator sign(const Tensor& x, Scalar y) { return name(x, y); }
GRADUS_DECLARE_COMPARISON(eq, ==)
GRADUS_DECLARE_COMPARISON(ne, !=)
GRADUS_DECLARE_COMPARISON(lt, <)
GRADUS_DECLARE_COMPARISON(le, <=)
GRADUS_DECLARE_COMPARISON(gt, >)
GRADUS_DECLARE_COMPARISON(ge, >=)
#undef GRADUS_DECLARE_COMPARISON
GRADUS_API Tensor logical_and(const Tensor& x, const Tensor& y);
GRADUS_API Tensor logical_or(const Tensor& x, const Tensor& y);
GRADUS_API Tensor logical_xor(const Tensor& x, const Tensor& y);
GRADUS_API Tensor logical_not(const Tensor& x);
GRADUS_API Tensor isnan(const Tensor& x);
GRADUS_API Tensor isinf(const Tensor& x);
GRADUS_API Tensor isfinite(const Tensor& x);
/// Same shape, dtype and values (NaN differs from itself).
GRADUS_API bool equal(const Tensor& x, const Tensor& y);
/// |x - y| <= atol + rtol |y| everywhere.
GRADUS_API bool allclose(const Tensor& x, const Tensor& y, double rtol = 1e-5, double atol = 1e-8);

// ---- unary mathematics and activations (autograd/ops/unary.cpp, activation.cpp)
GRADUS_API Tensor abs(const Tensor& x);
GRADUS_API Tensor sign(const Tensor& x);
GRADUS_API Tensor square(const Tensor& x);
GRADUS_API Tensor exp(const Tensor& x);
GRADUS_API Tensor expm1(const Tensor& x);
GRADUS_API Tensor log(const Tensor& x);
GRADUS_API Tensor log1p(const Tensor& x);
GRADUS_API Tensor log2(const Tensor& x);
GRADUS_API Tensor sqrt(const Tensor& x);
GRADUS_API Tensor rsqrt(const Tensor& x);
GRADUS_API Tensor reciprocal(const Tensor& x);
GRADUS_API Tensor sin(const Tensor& x);
GRADUS_API Tensor cos(const Tensor& x);
GRADUS_API Tensor tan(const Tensor& x);
GRADUS_API Tensor asin(const Tensor& x);
GRADUS_API Tensor acos(const Tensor& x);
GRADUS_API Tensor atan(const Tensor& x);
GRADUS_API Tensor sinh(const Tensor& x);
GRADUS_API Tensor cosh(const Tensor& x);
GRADUS_API Tensor tanh(const Tensor& x);
GRADUS_API Tensor erf(const Tensor& x);
GRADUS_API Tensor floor(const Tensor& x);
GRADUS_API Tensor ceil(const Tensor& x);
GRADUS_API Tensor round(const Tensor& x);
GRADUS_API Tensor trunc(const Tensor& x);
GRADUS_API Tensor sigmoid(const Tensor& x);
GRADUS_API Tensor log_sigmoid(const Tensor& x);
GRADUS_API Tensor relu(const Tensor& x);
GRADUS_API Tensor leaky_relu(const Tensor& x, double slope = 0.01);
GRADUS_API Tensor elu(const Tensor& x, double alpha = 1.0);
GRADUS_API Tensor silu(const Tensor& x);
enum class GeluApproximation { none, tanh };
/// x Phi(x) with erf, or its tanh approximation (Hendrycks and Gimpel, arXiv 1606.08415).
GRADUS_API Tensor gelu(const Tensor& x, GeluApproximation approximate = GeluApproximation::none);
GRADUS_API Tensor softplus(const Tensor& x);
GRADUS_API Tensor hardtanh(const Tensor& x, double low = -1, double high = 1);
/// Zeroes elements with probability p and scales the rest by 1 / (1 - p) (Srivastava et al., JMLR 2014). The identity
/// when not training.
GRADUS_API Tensor dropout(const Tensor& x, double p, bool training = true);
GRADUS_API Tensor where(const Tensor& condition, const Tensor& x, const Tensor& y);
GRADUS_API Tensor where(const Tensor& condition, const Tensor& x, Scalar y);
GRADUS_API Tensor masked_fill(const Tensor& x, const Tensor& mask, Scalar value);

// ---- reductions; over all dims when none is given (autograd/ops/reduction.cpp, extreme.cpp). 16-bit values are
// accumulated in float32. `keep` (write keepdim) leaves size 1 where a dim was.
GRADUS_API Tensor sum(const Tensor& x, Dims dims = {}, bool keep = false);  ///< int64 for integers and boolean
GRADUS_API Tensor mean(const Tensor& x, Dims dims = {}, bool keep = false);
GRADUS_API Tensor prod(const Tensor& x, Dims dims = {}, bool keep = false);
/// `correction` 1 is Bessel's. (stddev: a function named std would hide the namespace.)
GRADUS_API Tensor var(const Tensor& x, Dims dims = {}, int64_t correction = 1, bool keep = false);
GRADUS_API Tensor stddev(const Tensor& x, Dims dims = {}, int64_t correction = 1, bool keep = false);
GRADUS_API Tensor max(const Tensor& x);
GRADUS_API Tensor min(const Tensor& x);
/// {values, int64 indices of the first extreme}.
GRADUS_API std::pair<Tensor, Tensor> max(const Tensor& x, int64_t dim, bool keep = false);
GRADUS_API std::pair<Tensor, Tensor> min(const Tensor& x, int64_t dim, bool keep = false);
GRADUS_API Tensor argmax(const Tensor& x, std::optional<int64_t> dim = {}, bool keep = false);
GRADUS_API Tensor argmin(const Tensor& x, std::optional<int64_t> dim = {}, bool keep = false);
GRADUS_API Tensor any(const Tensor& x, Dims dims = {}, bool keep = false);
GRADUS_API Tensor all(const Tensor& x, Dims dims = {}, bool keep = false);
/// (sum |x|^p)^(1/p); p may be infinity.
GRADUS_API Tensor norm(const Tensor& x, double p = 2, Dims dims = {}, bool keep = false);
GRADUS_API Tensor logsumexp(const Tensor& x, Dims dims = {}, bool keep = false);
GRADUS_API Tensor cumsum(const Tensor& x, int64_t dim);  ///< int64 for integers and boolean
/// Sums x down to a shape that broadcasts to x's: the derivative of broadcasting.
GRADUS_API Tensor sum_to(const Tensor& x, const Shape& shape);
/// {values, int64 indices}; stable. NaN counts as the largest.
GRADUS_API std::pair<Tensor, Tensor> sort(const Tensor& x, int64_t dim = -1, bool descending = false);
/// The first k of sort().
GRADUS_API std::pair<Tensor, Tensor> topk(const Tensor& x, int64_t k, int64_t dim = -1, bool largest = true);

// ---- shape (autograd/ops/view.cpp); most are Tensor methods, these are the free ones
GRADUS_API Tensor alias(const Tensor& x);  ///< the same values as another node of the graph
GRADUS_API Tensor reshape(const Tensor& x, const Shape& shape);
GRADUS_API Tensor transpose(const Tensor& x, int64_t dim0, int64_t dim1);
GRADUS_API Tensor permute(const Tensor& x, const Shape& dims);
GRADUS_API Tensor unsqueeze(const Tensor& x, int64_t dim);
GRADUS_API Tensor squeeze(const Tensor& x, int64_t dim);
GRADUS_API Tensor flatten(const Tensor& x, int64_t start_dim = 0, int64_t end_dim = -1);
GRADUS_API Tensor broadcast_to(const Tensor& x, const Shape& shape);
/// Zeros of `shape` with g at [start:end:step] of dim: the derivative of a slice.
GRADUS_API Tensor slice_backward(const Tensor& g, const Shape& shape, int64_t dim, int64_t start, int64_t end,
                                 int64_t step);
GRADUS_API Tensor flip(const Tensor& x, const Shape& dims);
GRADUS_API Tensor roll(const Tensor& x, int64_t shift, int64_t dim);

// ---- joining and taking apart (autograd/ops/join.cpp)
GRADUS_API Tensor cat(std::span<const Tensor> tensors, int64_t dim = 0);
GRADUS_API Tensor cat(std::initializer_list<Tensor> tensors, int64_t dim = 0);
GRADUS_API Tensor stack(std::span<const Tensor> tensors, int64_t dim = 0);
GRADUS_API Tensor stack(std::initializer_list<Tensor> tensors, int64_t dim = 0);
/// Views of `size` along dim (the last may be smaller).
GRADUS_API std::vector<Tensor> split(const Tensor& x, int64_t size, int64_t dim = 0);
GRADUS_API std::vector<Tensor> split(const Tensor& x, const Shape& sizes, int64_t dim = 0);
GRADUS_API std::vector<Tensor> chunk(const Tensor& x, int64_t chunks, int64_t dim = 0);
GRADUS_API std::vector<Tensor> unbind(const Tensor& x, int64_t dim = 0);
/// {before, after} for the last dim, then the one before it, ..., as in PyTorch; negative crops.
GRADUS_API Tensor pad(const Tensor& x, const std::vector<int64_t>& padding, Scalar value = 0);
GRADUS_API Tensor tril(const Tensor& x, int64_t diagonal = 0);
GRADUS_API Tensor triu(const Tensor& x, int64_t diagonal = 0);

// ---- indexing (autograd/ops/index.cpp, gather.cpp); indices are int64 (int32 is converted), and one out of range is
// an IndexError with its place and the range. They are not negative, but in index() and x[...].
/// Part of a dim for index(): x[start:end:step]; what is left out reaches to the end.
struct Slice {
  std::optional<int64_t> start = {}, end = {};
  int64_t step = 1;
};
/// Inserts a dim of size 1.
struct NewDim {};
using Index = std::variant<int64_t, Slice, NewDim, Tensor>;
/// x[...] of NumPy with numbers, slices, new dims, and integer or boolean tensors. Negative indices count from the end.
/// Numbers, slices and new dims alone give a view. Tensors broadcast together; their dims take the place of those they
/// index where these are neighbours, else they come first (numbers select before that, as in PyTorch).
GRADUS_API Tensor index(const Tensor& x, const std::vector<Index>& indices);
/// The slices of x at index [k] along dim.
GRADUS_API Tensor index_select(const Tensor& x, int64_t dim, const Tensor& index);
/// A copy of x with source's slices added at index [k] along dim; repeated indices add up, in their order.
GRADUS_API Tensor index_add(const Tensor& x, int64_t dim, const Tensor& index, const Tensor& source);
/// The elements of x where mask (boolean, broadcast with x) is true: [count].
GRADUS_API Tensor masked_select(const Tensor& x, const Tensor& mask);
/// Positions of the non-zero elements, int64 [count, rank].
GRADUS_API Tensor nonzero(const Tensor& x);
/// y[i][j] = x[index[i][j]][j] for dim 0, and so on: index has x's rank, is no longer than x but at dim, and gives y
/// its shape.
GRADUS_API Tensor gather(const Tensor& x, int64_t dim, const Tensor& index);
/// A copy of x with source added at index along dim, the reverse of gather; repeated indices add up, in their order.
/// source may be longer than index.
GRADUS_API Tensor scatter_add(const Tensor& x, int64_t dim, const Tensor& index, const Tensor& source);
/// int64 [..., num_classes] with 1 at each index, else 0.
GRADUS_API Tensor one_hot(const Tensor& index, int64_t num_classes);
/// Rows of weight [V, D] at index [...]: [..., D]. Rows of padding_idx get no gradient.
GRADUS_API Tensor embedding(const Tensor& index, const Tensor& weight, std::optional<int64_t> padding_idx = {});

// ---- linear algebra (autograd/ops/matmul.cpp)
/// PyTorch's matmul: vectors, matrices, and batches that broadcast.
GRADUS_API Tensor matmul(const Tensor& x, const Tensor& y);
/// x [..., in] times weight [out, in] transposed, plus bias [out] (may be undefined).
GRADUS_API Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias = {});
GRADUS_API Tensor outer(const Tensor& x, const Tensor& y);

// ---- convolution and pooling, NCHW (autograd/ops/conv.cpp, pool.cpp)
/// Height and width; one number stands for both.
struct Pair {
  int64_t h = 0, w = 0;
  Pair() = default;
  Pair(int64_t both) : h(both), w(both) {}
  Pair(int both) : Pair(static_cast<int64_t>(both)) {}
  Pair(int64_t height, int64_t width) : h(height), w(width) {}
};
struct Conv2dParams {
  Pair stride = 1, padding = 0, dilation = 1;
  int64_t groups = 1;
};
/// x [N, C, H, W], weight [O, C / groups, kh, kw], bias [O] or undefined -> [N, O, OH, OW] (cross-correlation).
GRADUS_API Tensor conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias = {},
                         const Conv2dParams& params = {});
struct ConvTranspose2dParams {
  Pair stride = 1, padding = 0, output_padding = 0, dilation = 1;
  int64_t groups = 1;
};
/// x [N, C, H, W], weight [C, O / groups, kh, kw] -> [N, O, OH, OW]: the derivative of conv2d for its input.
GRADUS_API Tensor conv_transpose2d(const Tensor& x, const Tensor& weight, const Tensor& bias = {},
                                   const ConvTranspose2dParams& params = {});
struct Pool2dParams {
  std::optional<Pair> stride = {};  ///< default: the kernel size
  Pair padding = 0, dilation = 1;
  bool count_include_pad = true;  ///< avg_pool2d: padding counts in the mean
};
GRADUS_API Tensor max_pool2d(const Tensor& x, Pair kernel, const Pool2dParams& params = {});
GRADUS_API Tensor avg_pool2d(const Tensor& x, Pair kernel, const Pool2dParams& params = {});
GRADUS_API Tensor adaptive_avg_pool2d(const Tensor& x, Pair output);
GRADUS_API Tensor adaptive_max_pool2d(const Tensor& x, Pair output);

// ---- fused (autograd/ops/softmax.cpp, norm.cpp, attention.cpp, cross_entropy.cpp)
GRADUS_API Tensor softmax(const Tensor& x, int64_t dim = -1);
GRADUS_API Tensor log_softmax(const Tensor& x, int64_t dim = -1);
/// Over the last `normalized.rank()` dims (Ba et al., arXiv 1607.06450). weight, bias: `normalized`, or undefined.
GRADUS_API Tensor layer_norm(const Tensor& x, const Shape& normalized, const Tensor& weight = {},
                             const Tensor& bias = {}, double eps = 1e-5);
/// x / sqrt(mean(x^2) + eps) * weight over the last dims (Zhang and Sennrich, arXiv 1910.07467).
GRADUS_API Tensor rms_norm(const Tensor& x, const Shape& normalized, const Tensor& weight = {}, double eps = 1e-6);
/// x [N, C, ...] (Wu and He, arXiv 1803.08494).
GRADUS_API Tensor group_norm(const Tensor& x, int64_t groups, const Tensor& weight = {}, const Tensor& bias = {},
                             double eps = 1e-5);
/// x [N, C, ...] (Ioffe and Szegedy, arXiv 1502.03167). Training: statistics of the batch, and running ones are moved
/// by `momentum` in place (unbiased variance); else the running ones are used.
GRADUS_API Tensor batch_norm(const Tensor& x, const Tensor& running_mean, const Tensor& running_var,
                             const Tensor& weight = {}, const Tensor& bias = {}, bool training = true,
                             double momentum = 0.1, double eps = 1e-5);
struct AttentionParams {
  bool causal = false;               ///< position t sees positions <= t
  std::optional<double> scale = {};  ///< default 1 / sqrt(D)
  Tensor mask = {};                  ///< boolean (true = look) or additive, broadcastable to [B, H, T, S]; not fused
  double dropout = 0;                ///< on the attention weights; not fused
};
/// softmax(q k^T scale) v without the T x S tensor: q [B, H, T, D], k, v [B, H, S, D] -> [B, H, T, D].
GRADUS_API Tensor scaled_dot_product_attention(const Tensor& q, const Tensor& k, const Tensor& v,
                                               const AttentionParams& params = {});
/// The same for a sequence that looks at itself: qkv [B, T, 3 E] holds the queries, keys and values of `heads` heads
/// one after another, the result [B, T, E] their outputs. The three gradients are written where they belong, with no
/// copy between this and the projection before it.
GRADUS_API Tensor self_attention(const Tensor& qkv, int64_t heads, const AttentionParams& params = {});

// ---- losses (autograd/ops/cross_entropy.cpp, loss.cpp)
enum class Reduction { mean, sum, none };
struct CrossEntropyParams {
  Tensor weight = {};  ///< [C], one factor for each class
  int64_t ignore_index = -100;
  double label_smoothing = 0;
  Reduction reduction = Reduction::mean;  ///< mean: over the weights of the targets that count
};
/// logits [N, C, ...], target int64 [N, ...] of classes, or probabilities of the logits' shape.
GRADUS_API Tensor cross_entropy(const Tensor& logits, const Tensor& target, const CrossEntropyParams& params = {});
/// log-probabilities [N, C, ...] instead of logits.
GRADUS_API Tensor nll_loss(const Tensor& log_probabilities, const Tensor& target,
                           const CrossEntropyParams& params = {});
GRADUS_API Tensor mse_loss(const Tensor& x, const Tensor& target, Reduction reduction = Reduction::mean);
GRADUS_API Tensor l1_loss(const Tensor& x, const Tensor& target, Reduction reduction = Reduction::mean);
GRADUS_API Tensor huber_loss(const Tensor& x, const Tensor& target, double delta = 1,
                             Reduction reduction = Reduction::mean);
/// The Huber loss divided by its delta, here named beta: slope 1 beyond beta. l1_loss when beta is 0.
GRADUS_API Tensor smooth_l1_loss(const Tensor& x, const Tensor& target, double beta = 1,
                                 Reduction reduction = Reduction::mean);
/// `weight`, broadcast to the losses, multiplies them before they are reduced.
GRADUS_API Tensor binary_cross_entropy(const Tensor& probability, const Tensor& target,
                                       Reduction reduction = Reduction::mean, const Tensor& weight = {});
/// `pos_weight`, broadcast as well, multiplies the part of positive targets.
GRADUS_API Tensor binary_cross_entropy_with_logits(const Tensor& logits, const Tensor& target,
                                                   Reduction reduction = Reduction::mean, const Tensor& pos_weight = {},
                                                   const Tensor& weight = {});
/// sum target (log target - x), x being log-probabilities; `mean` divides by the batch (PyTorch's batchmean).
/// log_target: `target` holds logarithms too.
GRADUS_API Tensor kl_div(const Tensor& log_probabilities, const Tensor& target, Reduction reduction = Reduction::mean,
                         bool log_target = false);

}  // namespace gradus
