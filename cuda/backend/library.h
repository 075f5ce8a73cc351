// NVIDIA's libraries are looked for and opened when they are first used: the plug-in is linked against none of them,
// and works without those that a program does not need. No CUDA header here; the functions are in *_library.cpp.
#pragma once

#include <string>
#include <vector>

namespace gradus::cuda {

/// An opened library, or why there is none.
struct Library {
  std::string name{};     ///< "cuBLASLt"
  std::string path{};     ///< the file, or empty
  std::string version{};  ///< "13.1.0", or empty
  std::string error{};    ///< what was tried and what to install, or empty
  void* handle = nullptr;

  explicit operator bool() const { return error.empty(); }
  /// The function's address, or null.
  void* find(const char* function) const;
};

struct LibraryRequest {
  std::string name;
  std::vector<std::string> files;      ///< newest first: "libcublasLt.so.13"
  std::vector<std::string> functions;  ///< a library that lacks one is too old
  /// Major * 10000 + minor * 100 + patch, as the library itself says it.
  int (*version)(const Library& library);
  int oldest;           ///< version that will do
  std::string install;  ///< "pip install nvidia-cublas"
};

/// Looks in the folders of GRADUS_CUDA_LIB_PATH (separated by colons), on the loader's path, in the toolkit's folder,
/// and in nvidia/*/lib of Python's site-packages. The first that will do stays open as long as the process. Never
/// throws.
Library open_library(const LibraryRequest& request);

/// The libraries that the backend uses, opened on the first call.
const Library& blaslt_library();
const Library& nccl_library();
const Library& cudnn_library();

}  // namespace gradus::cuda
