// What the emulated plug-in says of NVIDIA's libraries: cuBLASLt and NCCL are its stand-ins.
#include <gradus/cuda/backend/library.h>

namespace gradus::cuda {

const Library& blaslt_library() {
  static const Library library{.name = "cuBLASLt", .path = "emulation"};
  return library;
}
const Library& nccl_library() {
  static const Library library{.name = "NCCL", .path = "emulation"};
  return library;
}
const Library& cudnn_library() {
  static const Library library{.name = "cuDNN", .error = "cuDNN: the emulation has no stand-in"};
  return library;
}

}  // namespace gradus::cuda
