// What the emulated plug-in says of NVIDIA's libraries: cuBLASLt and NCCL are its stand-ins, unless
// GRADUS_EMULATION_WITHOUT names one as missing.
#include <cstdlib>
#include <string_view>

#include <gradus/cuda/backend/library.h>

namespace gradus::cuda {

namespace {

Library stand_in(const char* name, const char* install) {
  const char* missing = std::getenv("GRADUS_EMULATION_WITHOUT");
  if (missing && std::string_view(missing) == name)
    return {.name = name, .error = std::string(name) + ": left out of the emulation. Install it (" + install + ")"};
  return {.name = name, .path = "emulation"};
}

}  // namespace

const Library& blaslt_library() {
  static const Library library = stand_in("cuBLASLt", "pip install nvidia-cublas");
  return library;
}
const Library& nccl_library() {
  static const Library library = stand_in("NCCL", "pip install nvidia-nccl");
  return library;
}
const Library& cudnn_library() {
  static const Library library{.name = "cuDNN", .error = "cuDNN: the emulation has no stand-in"};
  return library;
}

}  // namespace gradus::cuda
