// Image transforms: functions of a batch of pictures [N, C, H, W] on the CPU. The random ones draw from
// default_generator(), which a DataLoader sets for each batch: there they depend on seed, epoch and batch alone.
#pragma once

#include <functional>
#include <vector>

#include <gradus/core/tensor.h>

namespace gradus::data {

using Transform = std::function<Tensor(const Tensor& images)>;

/// uint8 [0, 255] of any shape to float32 [0, 1].
GRADUS_API Transform to_float();
/// float32 (x - mean) / std, with one mean and std for each channel, or one for all.
GRADUS_API Transform normalize(std::vector<double> mean, std::vector<double> std);
/// uint8 to float32: to_float() and normalize() in one pass.
GRADUS_API Transform standardize(std::vector<double> mean, std::vector<double> std);
/// Each picture mirrored left to right with probability p. Any dtype.
GRADUS_API Transform random_horizontal_flip(double p = 0.5);
/// Each picture padded by `padding` zeros on all sides and cut to height x width at a random place. Any dtype.
GRADUS_API Transform random_crop(int64_t height, int64_t width, int64_t padding = 0);
/// The middle of each picture; of an odd rest the smaller half is cut off first. Any dtype.
GRADUS_API Transform center_crop(int64_t height, int64_t width);
/// float32, bilinear, with the corners' pixel centres half a pixel inside (align_corners = false), without smoothing.
GRADUS_API Transform resize(int64_t height, int64_t width);
/// With probability p a rectangle of `area` (share of the picture), of random place and aspect ratio 0.3 to 3.3, is set
/// to 0 (Zhong et al., arXiv 1708.04896). Any dtype.
GRADUS_API Transform random_erasing(double p = 0.5, double area = 0.1);
/// One after the other.
GRADUS_API Transform compose(std::vector<Transform> transforms);

}  // namespace gradus::data
