// Image transforms on batches, float32 [N, C, H, W] unless said otherwise; random ones draw from default_generator().
#pragma once

#include <functional>
#include <vector>

#include <gradus/core/tensor.h>

namespace gradus::data {

using Transform = std::function<Tensor(const Tensor& images)>;

/// uint8 [0, 255] to float32 [0, 1].
GRADUS_API Transform to_float();
/// uint8 [0, 255] of any shape to float32 (x / 255 - mean) / std, in one pass.
GRADUS_API Transform standardize(double mean, double std);
/// (x - mean) / std for each channel.
GRADUS_API Transform normalize(std::vector<double> mean, std::vector<double> std);
/// Each picture mirrored left to right with probability p.
GRADUS_API Transform random_horizontal_flip(double p = 0.5);
/// Each picture padded by `padding` zeros on all sides and cut to height x width at a random place.
GRADUS_API Transform random_crop(int64_t height, int64_t width, int64_t padding = 0);
GRADUS_API Transform center_crop(int64_t height, int64_t width);
/// Bilinear, with the corners' pixel centres half a pixel inside (align_corners = false).
GRADUS_API Transform resize(int64_t height, int64_t width);
/// A rectangle of `area` (share of the picture) set to 0 with probability p (Zhong et al., arXiv 1708.04896).
GRADUS_API Transform random_erasing(double p = 0.5, double area = 0.1);
/// One after the other.
GRADUS_API Transform compose(std::vector<Transform> transforms);

}  // namespace gradus::data
