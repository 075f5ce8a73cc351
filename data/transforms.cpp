// Image transforms. Pictures are copied row by row; the random ones draw one number for each decision, on the host.
#include <gradus/data/transforms.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include <gradus/core/detail/check.h>
#include <gradus/core/factories.h>
#include <gradus/core/parallel.h>
#include <gradus/core/random.h>

namespace gradus::data {
namespace {

/// Pictures as rows of bytes: planes (N C), rows of a plane, bytes of a row and of a pixel.
struct Planes {
  Tensor x;
  int64_t pictures, channels, height, width, pixel;

  Planes(const char* op, const Tensor& images) : x(checked(op, images)) {
    pictures = x.size(0), channels = x.size(1), height = x.size(2), width = x.size(3), pixel = itemsize(x.dtype());
  }
  char* row(int64_t picture, int64_t channel, int64_t r) const {
    const int64_t index = ((picture * channels + channel) * height + r) * width * pixel;
    return const_cast<char*>(static_cast<const char*>(x.raw_data())) + index;
  }

  static Tensor checked(const char* op, const Tensor& images) {
    gradus::detail::check_defined(op, "images", images);
    GRADUS_CHECK(images.rank() == 4, ShapeError, "{}: images are {}; want [N, C, H, W]", op, images.shape());
    GRADUS_CHECK(images.device().is_cpu(), DeviceError, "{}: images are on {}; transform them on the cpu", op,
                 images.device());
    return dense(images.detach());
  }
};

Planes empty_planes(const char* op, const Planes& like, int64_t height, int64_t width) {
  return {op, empty({like.pictures, like.channels, height, width}, {.dtype = like.x.dtype()})};
}

/// n uniform numbers in [0, 1).
std::vector<float> draw(int64_t n) {
  const Tensor u = rand({n});
  return {u.data<float>(), u.data<float>() + n};
}

/// The integer in [0, n) that u in [0, 1) stands for.
int64_t pick(float u, int64_t n) { return std::min(static_cast<int64_t>(u * static_cast<float>(n)), n - 1); }

void check_probability(const char* op, double p) {
  GRADUS_CHECK(p >= 0 && p <= 1, ValueError, "{}: p is {}; want 0 to 1", op, p);
}
void check_size(const char* op, int64_t height, int64_t width) {
  GRADUS_CHECK(height >= 1 && width >= 1, ValueError, "{}: {} x {}; want 1 or more each way", op, height, width);
}
void check_statistics(const char* op, const std::vector<double>& mean, const std::vector<double>& std) {
  GRADUS_CHECK(!mean.empty() && mean.size() == std.size(), ValueError,
               "{}: {} means and {} standard deviations; want one of each for each channel, or one", op, mean.size(),
               std.size());
  for (size_t c = 0; c < mean.size(); ++c)
    GRADUS_CHECK(std::isfinite(mean[c]) && std::isfinite(std[c]) && std[c] > 0, ValueError,
                 "{}: mean {}, std {}; want finite numbers and std above 0", op, mean[c], std[c]);
}

/// Calls body(channel, from, to, count) for pieces of x and y of the same channel, where there are `channels` of them.
template <class From, class To, class Body>
void for_each_plane(const char* op, const Tensor& x, const Tensor& y, size_t channels, Body body) {
  const auto c = static_cast<int64_t>(channels);
  GRADUS_CHECK(c == 1 || (x.rank() == 4 && x.size(1) == c), ShapeError, "{}: images are {}; want [N, {}, H, W]", op,
               x.shape(), c);
  const int64_t planes = c == 1 ? 1 : x.size(0) * c, plane = planes ? x.numel() / planes : 0;
  const From* from = x.data<From>();
  To* to = y.mutable_data<To>();
  parallel_for(0, x.numel(), 1 << 15, [&](int64_t begin, int64_t end) {
    while (begin < end) {
      const int64_t index = begin / plane, stop = std::min(end, (index + 1) * plane);
      body(static_cast<size_t>(index % c), from + begin, to + begin, stop - begin);
      begin = stop;
    }
  });
}

/// Copies the part of `from` that a window of the size of `to` at (top, left) sees; the rest of `to` becomes 0.
void copy_window(const Planes& from, const Planes& to, int64_t picture, int64_t top, int64_t left) {
  const int64_t first = std::clamp<int64_t>(-left, 0, to.width),
                last = std::clamp<int64_t>(from.width - left, first, to.width);  // columns of `to` with a source
  for (int64_t c = 0; c < to.channels; ++c) {
    for (int64_t r = 0; r < to.height; ++r) {
      char* row = to.row(picture, c, r);
      const int64_t source = top + r;
      if (source < 0 || source >= from.height) {
        std::memset(row, 0, static_cast<size_t>(to.width * to.pixel));
        continue;
      }
      std::memset(row, 0, static_cast<size_t>(first * to.pixel));
      std::memcpy(row + first * to.pixel, from.row(picture, c, source) + (left + first) * to.pixel,
                  static_cast<size_t>((last - first) * to.pixel));
      std::memset(row + last * to.pixel, 0, static_cast<size_t>((to.width - last) * to.pixel));
    }
  }
}

void mirror_row(char* row, int64_t width, int64_t pixel) {
  for (int64_t a = 0, b = width - 1; a < b; ++a, --b)
    std::swap_ranges(row + a * pixel, row + (a + 1) * pixel, row + b * pixel);
}

/// Where a pixel of a resized line comes from: two neighbours and the share of the second.
struct Blend {
  int64_t a, b;
  float share;
};
std::vector<Blend> blends(int64_t from, int64_t to) {
  std::vector<Blend> line;
  const double scale = static_cast<double>(from) / static_cast<double>(to);
  for (int64_t i = 0; i < to; ++i) {
    const double place = std::max(0.0, (static_cast<double>(i) + 0.5) * scale - 0.5);
    const int64_t a = std::min(static_cast<int64_t>(place), from - 1);
    line.push_back({a, std::min(a + 1, from - 1), static_cast<float>(place - static_cast<double>(a))});
  }
  return line;
}

/// uint8 to float32 (x / 255 - mean) / std.
Transform standardized(const char* op, const std::vector<double>& mean, const std::vector<double>& std) {
  check_statistics(op, mean, std);
  std::vector<float> table;  // (channels, 256): of 256 values the arithmetic is looked up
  for (size_t c = 0; c < mean.size(); ++c)
    for (int value = 0; value < 256; ++value) table.push_back(static_cast<float>((value / 255.0 - mean[c]) / std[c]));
  return [op, table = std::move(table)](const Tensor& images) {
    gradus::detail::check_defined(op, "images", images);
    GRADUS_CHECK(images.dtype() == uint8, DtypeError, "{}: images are {}; want uint8", op, images.dtype());
    const Tensor x = dense(images), y = empty(images.shape());
    for_each_plane<uint8_t, float>(op, x, y, table.size() / 256,
                                   [&](size_t channel, const uint8_t* from, float* to, int64_t count) {
                                     const float* values = table.data() + channel * 256;
                                     for (int64_t i = 0; i < count; ++i) to[i] = values[from[i]];
                                   });
    return y;
  };
}

}  // namespace

Transform to_float() { return standardized("to_float", {0}, {1}); }
Transform standardize(std::vector<double> mean, std::vector<double> std) {
  return standardized("standardize", mean, std);
}

Transform normalize(std::vector<double> mean, std::vector<double> std) {
  check_statistics("normalize", mean, std);
  return [mean = std::move(mean), std = std::move(std)](const Tensor& images) {
    gradus::detail::check_defined("normalize", "images", images);
    GRADUS_CHECK(images.dtype() == float32, DtypeError, "normalize: images are {}; want float32, from to_float()",
                 images.dtype());
    const Tensor x = dense(images.detach()), y = empty(images.shape());
    for_each_plane<float, float>(
        "normalize", x, y, mean.size(), [&](size_t channel, const float* from, float* to, int64_t count) {
          const auto m = static_cast<float>(mean[channel]), s = static_cast<float>(std[channel]);
          for (int64_t i = 0; i < count; ++i) to[i] = (from[i] - m) / s;
        });
    return y;
  };
}

Transform random_horizontal_flip(double p) {
  check_probability("random_horizontal_flip", p);
  return [p](const Tensor& images) {
    const Planes from("random_horizontal_flip", images),
        to = empty_planes("random_horizontal_flip", from, from.height, from.width);
    const std::vector<float> u = draw(from.pictures);
    for (int64_t n = 0; n < from.pictures; ++n) {
      copy_window(from, to, n, 0, 0);
      if (u[static_cast<size_t>(n)] >= p) continue;
      for (int64_t c = 0; c < to.channels; ++c)
        for (int64_t r = 0; r < to.height; ++r) mirror_row(to.row(n, c, r), to.width, to.pixel);
    }
    return to.x;
  };
}

Transform random_crop(int64_t height, int64_t width, int64_t padding) {
  check_size("random_crop", height, width);
  GRADUS_CHECK(padding >= 0 && padding <= 1 << 20, ValueError, "random_crop: padding is {}; want 0 or more", padding);
  return [=](const Tensor& images) {
    const Planes from("random_crop", images);
    const int64_t rows = from.height + 2 * padding - height + 1, columns = from.width + 2 * padding - width + 1;
    GRADUS_CHECK(rows >= 1 && columns >= 1, ShapeError, "random_crop: images are {}, padding {}; too small for {} x {}",
                 images.shape(), padding, height, width);
    const Planes to = empty_planes("random_crop", from, height, width);
    const std::vector<float> u = draw(2 * from.pictures);
    for (int64_t n = 0; n < from.pictures; ++n) {
      const auto i = static_cast<size_t>(2 * n);
      copy_window(from, to, n, pick(u[i], rows) - padding, pick(u[i + 1], columns) - padding);
    }
    return to.x;
  };
}

Transform center_crop(int64_t height, int64_t width) {
  check_size("center_crop", height, width);
  return [=](const Tensor& images) {
    const Planes from("center_crop", images);
    GRADUS_CHECK(from.height >= height && from.width >= width, ShapeError,
                 "center_crop: images are {}; too small for {} x {}", images.shape(), height, width);
    const Planes to = empty_planes("center_crop", from, height, width);
    for (int64_t n = 0; n < from.pictures; ++n)
      copy_window(from, to, n, (from.height - height) / 2, (from.width - width) / 2);
    return to.x;
  };
}

Transform resize(int64_t height, int64_t width) {
  check_size("resize", height, width);
  return [=](const Tensor& images) {
    const Planes from("resize", images);
    GRADUS_CHECK(images.dtype() == float32, DtypeError, "resize: images are {}; want float32, from to_float()",
                 images.dtype());
    GRADUS_CHECK(from.height >= 1 && from.width >= 1, ShapeError, "resize: images are {}; want at least one pixel",
                 images.shape());
    const Planes to = empty_planes("resize", from, height, width);
    const std::vector<Blend> vertical = blends(from.height, height), horizontal = blends(from.width, width);
    parallel_for(0, from.pictures * from.channels, 1, [&](int64_t begin, int64_t end) {
      for (int64_t plane = begin; plane < end; ++plane) {
        for (int64_t r = 0; r < height; ++r) {
          const Blend& v = vertical[static_cast<size_t>(r)];
          const auto* above = reinterpret_cast<const float*>(from.row(0, plane, v.a));
          const auto* below = reinterpret_cast<const float*>(from.row(0, plane, v.b));
          auto* row = reinterpret_cast<float*>(to.row(0, plane, r));
          for (const Blend& h : horizontal) {
            const float upper = above[h.a] + h.share * (above[h.b] - above[h.a]);
            const float lower = below[h.a] + h.share * (below[h.b] - below[h.a]);
            *row++ = upper + v.share * (lower - upper);
          }
        }
      }
    });
    return to.x;
  };
}

Transform random_erasing(double p, double area) {
  check_probability("random_erasing", p);
  GRADUS_CHECK(area > 0 && area < 1, ValueError, "random_erasing: area is {}; want a share between 0 and 1", area);
  return [=](const Tensor& images) {
    const Planes from("random_erasing", images), to = empty_planes("random_erasing", from, from.height, from.width);
    const std::vector<float> u = draw(4 * from.pictures);
    const double pixels = area * static_cast<double>(from.height * from.width);
    for (int64_t n = 0; n < from.pictures; ++n) {
      copy_window(from, to, n, 0, 0);
      const float* v = u.data() + 4 * n;
      if (v[0] >= p || pixels == 0) continue;
      const double aspect = 0.3 * std::pow(3.3 / 0.3, v[1]);  // height / width, uniform on a logarithmic scale
      const auto rounded = [](double size, int64_t most) { return std::clamp<int64_t>(std::llround(size), 1, most); };
      const int64_t height = rounded(std::sqrt(pixels * aspect), from.height),
                    width = rounded(std::sqrt(pixels / aspect), from.width);
      const int64_t top = pick(v[2], from.height - height + 1), left = pick(v[3], from.width - width + 1);
      for (int64_t c = 0; c < to.channels; ++c)
        for (int64_t r = top; r < top + height; ++r)
          std::memset(to.row(n, c, r) + left * to.pixel, 0, static_cast<size_t>(width * to.pixel));
    }
    return to.x;
  };
}

Transform compose(std::vector<Transform> transforms) {
  for (const Transform& transform : transforms)
    GRADUS_CHECK(transform, ValueError, "compose: one of the {} transforms is empty", transforms.size());
  return [transforms = std::move(transforms)](const Tensor& images) {
    Tensor x = images;
    for (const Transform& transform : transforms) x = transform(x);
    return x;
  };
}

}  // namespace gradus::data
