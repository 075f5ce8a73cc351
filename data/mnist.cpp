// Fashion-MNIST and MNIST: four IDX files in a folder, found where Debian's package or the user puts them.
#include <array>
#include <cstdlib>
#include <filesystem>
#include <utility>

#include <gradus/core/detail/check.h>
#include <gradus/core/factories.h>
#include <gradus/data/readers.h>
#include <gradus/data/transforms.h>

namespace gradus::data {
namespace {

/// The file or its gzip form; empty when the folder has neither.
std::string find_file(const std::string& folder, const std::string& name) {
  for (const char* ending : {"", ".gz"}) {
    const std::filesystem::path path = std::filesystem::path(folder) / (name + ending);
    if (std::error_code error; std::filesystem::is_regular_file(path, error)) return path.string();
  }
  return {};
}

/// "train" or "t10k", as the files are called.
std::string prefix_of(const char* op, const std::string& part) {
  GRADUS_CHECK(part == "train" || part == "test", ValueError, "{}: part is \"{}\"; want \"train\" or \"test\"", op,
               part);
  return part == "train" ? "train" : "t10k";
}

/// What the pictures' pixels are on average, as shares of 255.
struct Pixels {
  double mean, std;
};

TensorDataset load(const char* op, const std::string& part, const std::string& folder, Pixels pixels,
                   std::vector<std::string> classes) {
  const std::string prefix = prefix_of(op, part);
  const std::string image_file = find_file(folder, prefix + "-images-idx3-ubyte"),
                    label_file = find_file(folder, prefix + "-labels-idx1-ubyte");
  GRADUS_CHECK(!image_file.empty() && !label_file.empty(), IoError, "{}: {} has no {}-{}-ubyte (plain or .gz)", op,
               folder, prefix, image_file.empty() ? "images-idx3" : "labels-idx1");
  const Tensor images = read_idx(image_file), labels = read_idx(label_file);
  GRADUS_CHECK(images.dtype() == uint8 && images.rank() == 3 && images.size(1) == 28 && images.size(2) == 28, IoError,
               "{}: {} holds {}{}; want uint8[N, 28, 28]", op, image_file, images.dtype(), images.shape());
  GRADUS_CHECK(labels.dtype() == uint8 && labels.shape() == Shape({images.size(0)}), IoError,
               "{}: {} holds {}{}; want uint8[{}], a label for each picture", op, label_file, labels.dtype(),
               labels.shape(), images.size(0));
  Tensor targets = empty(labels.shape(), {.dtype = int64});
  for (int64_t i = 0; i < labels.numel(); ++i) {
    const uint8_t label = labels.data<uint8_t>()[i];
    GRADUS_CHECK(label < 10, IoError, "{}: {}: label {} is {}; want 0 to 9", op, label_file, i, label);
    targets.mutable_data<int64_t>()[i] = label;
  }
  return {reshaped(images, {images.size(0), 1, 28, 28}), targets, standardize({pixels.mean}, {pixels.std}),
          std::move(classes)};
}

std::string fashion_mnist_folder() {
  std::vector<std::string> folders;
  if (const char* wanted = std::getenv("GRADUS_DATA"); wanted && *wanted) folders.push_back(wanted);
  folders.push_back("/usr/share/datasets/fashion-mnist");
  folders.push_back("build/data-root/usr/share/datasets/fashion-mnist");
  for (const std::string& folder : folders)
    if (!find_file(folder, "train-images-idx3-ubyte").empty()) return folder;
  throw IoError(fmt::format(
      "fashion_mnist: no data set in {}; install it with: apt-get install dataset-fashion-mnist, or let GRADUS_DATA "
      "name a folder with the four IDX files",
      fmt::join(folders, ", ")));
}

}  // namespace

TensorDataset fashion_mnist(const std::string& part, const std::string& folder) {
  prefix_of("fashion_mnist", part);
  return load(
      "fashion_mnist", part, folder.empty() ? fashion_mnist_folder() : folder, {0.2860, 0.3530},
      {"T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"});
}

TensorDataset mnist(const std::string& part, const std::string& folder) {
  return load("mnist", part, folder, {0.1307, 0.3081}, {"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"});
}

}  // namespace gradus::data
