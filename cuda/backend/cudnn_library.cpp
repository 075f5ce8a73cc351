// cuDNN, opened at run time: so far only to say which one there is.
#include <cstddef>

#include <gradus/cuda/backend/library.h>

namespace gradus::cuda {

const Library& cudnn_library() {
  static const Library library = open_library({
      .name = "cuDNN",
      .files = {"libcudnn.so.9"},
      .functions = {"cudnnGetVersion"},
      .version =
          [](const Library& opened) {
            return static_cast<int>(reinterpret_cast<size_t (*)()>(opened.find("cudnnGetVersion"))());
          },
      .oldest = 90000,
      .install = "pip install nvidia-cudnn-cu13",
  });
  return library;
}

}  // namespace gradus::cuda
