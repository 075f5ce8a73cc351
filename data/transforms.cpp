// Image transforms: what turns a batch of stored pictures into what a network reads.
#include <gradus/data/transforms.h>

#include <cmath>

#include <gradus/core/detail/check.h>
#include <gradus/core/factories.h>
#include <gradus/core/parallel.h>

namespace gradus::data {

Transform standardize(double mean, double std) {
  GRADUS_CHECK(std::isfinite(mean) && std::isfinite(std) && std > 0, ValueError,
               "standardize: mean {}, std {}; want finite numbers and std above 0", mean, std);
  std::vector<float> table(256);  // of 256 values, division and all are looked up
  for (int value = 0; value < 256; ++value)
    table[static_cast<size_t>(value)] = static_cast<float>((value / 255.0 - mean) / std);
  return [table = std::move(table)](const Tensor& images) {
    GRADUS_CHECK(images.dtype() == uint8, DtypeError, "standardize: images are {}; want uint8", images.dtype());
    const Tensor x = dense(images), y = empty(images.shape());
    const uint8_t* from = x.data<uint8_t>();
    float* to = y.mutable_data<float>();
    parallel_for(0, x.numel(), 1 << 15, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) to[i] = table[from[i]];
    });
    return y;
  };
}

}  // namespace gradus::data
