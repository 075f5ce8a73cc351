// CIFAR-10 and CIFAR-100 in their binary form: records of one or two label bytes and 3 x 32 x 32 pixels.
#include <algorithm>
#include <filesystem>
#include <utility>

#include <gradus/core/detail/check.h>
#include <gradus/core/factories.h>
#include <gradus/data/detail/reader.h>
#include <gradus/data/readers.h>
#include <gradus/data/transforms.h>

namespace gradus::data {
namespace {

constexpr int64_t picture_bytes = 3 * 32 * 32;

struct Format {
  const char* op;
  uint64_t label_bytes;  // the last one is the label
  int classes;
};

/// Appends a file's records.
void read_records(const Format& format, const std::string& path, std::vector<uint8_t>& pixels,
                  std::vector<int64_t>& labels) {
  detail::Reader file(format.op, path);
  const uint64_t record = format.label_bytes + picture_bytes, records = file.limit() / record;
  if (records * record != file.limit())
    file.fail(fmt::format("{} bytes are no whole number of records of {}", file.limit(), record));
  for (uint64_t i = 0; i < records; ++i) {
    uint8_t label[2];
    file.read(label, format.label_bytes, "a label");
    labels.push_back(label[format.label_bytes - 1]);
    if (labels.back() >= format.classes)
      file.fail(fmt::format("label {} is {}; want 0 to {}", i, labels.back(), format.classes - 1));
    pixels.resize(pixels.size() + picture_bytes);
    file.read(pixels.data() + pixels.size() - picture_bytes, picture_bytes, "a picture");
  }
}

TensorDataset load(const Format& format, const std::string& part, const std::string& folder,
                   const std::vector<std::string>& train, const char* test, Transform transform,
                   std::vector<std::string> classes) {
  GRADUS_CHECK(part == "train" || part == "test", ValueError, "{}: part is \"{}\"; want \"train\" or \"test\"",
               format.op, part);
  std::vector<uint8_t> pixels;
  std::vector<int64_t> labels;
  for (const std::string& name : part == "train" ? train : std::vector<std::string>{test})
    read_records(format, (std::filesystem::path(folder) / name).string(), pixels, labels);
  const auto count = static_cast<int64_t>(labels.size());
  const Tensor images = empty({count, 3, 32, 32}, {.dtype = uint8});
  std::copy(pixels.begin(), pixels.end(), images.mutable_data<uint8_t>());
  return {images, tensor(std::span<const int64_t>(labels)), std::move(transform), std::move(classes)};
}

/// The names in the archive's own list, one a line; none when it is not there or is of another length.
std::vector<std::string> class_names(const std::string& path, size_t count) {
  if (std::error_code error; !std::filesystem::is_regular_file(path, error)) return {};
  std::vector<std::string> names;
  const std::string text = read_text(path);
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    if (end > at) names.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return names.size() == count ? names : std::vector<std::string>{};
}

}  // namespace

TensorDataset cifar10(const std::string& part, const std::string& folder) {
  return load({"cifar10", 1, 10}, part, folder,
              {"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"},
              "test_batch.bin", standardize({0.4914, 0.4822, 0.4465}, {0.2470, 0.2435, 0.2616}),
              {"airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"});
}

TensorDataset cifar100(const std::string& part, const std::string& folder) {
  return load({"cifar100", 2, 100}, part, folder, {"train.bin"}, "test.bin",
              standardize({0.5071, 0.4865, 0.4409}, {0.2673, 0.2564, 0.2762}),
              class_names((std::filesystem::path(folder) / "fine_label_names.txt").string(), 100));
}

}  // namespace gradus::data
