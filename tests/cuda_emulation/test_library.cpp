// How the plug-in finds NVIDIA's libraries: the order of the search, what is passed over, what the reason says; and
// that the trampolines reach what a real library has, where there is one.
#include <cublasLt.h>
#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <optional>

#include <gradus/cuda/backend/library.h>
#include <gradus/cuda/backend/trampoline.h>

#include "catch.h"

#if __has_include(<nccl.h>)
#include <nccl.h>
#define GRADUS_HAVE_NCCL_HEADER
#endif

using Catch::Matchers::ContainsSubstring;
using gradus::cuda::Library;
namespace fs = std::filesystem;

namespace {

const fs::path built = GRADUS_FAKE_LIBRARIES;  // one folder each for libgradus_fake.so.2: new, old, poor
const std::string file = "libgradus_fake.so.2";

class Variable {
 public:
  Variable(const char* name, const std::string& value) : name_(name) {
    if (const char* before = std::getenv(name)) before_ = before;
    setenv(name, value.c_str(), 1);
  }
  ~Variable() { before_ ? setenv(name_, before_->c_str(), 1) : unsetenv(name_); }
  Variable(const Variable&) = delete;
  Variable& operator=(const Variable&) = delete;

 private:
  const char* name_;
  std::optional<std::string> before_;
};

class Folder {
 public:
  Folder() {
    std::string name = (fs::temp_directory_path() / "gradus_library_XXXXXX").string();
    REQUIRE(mkdtemp(name.data()) != nullptr);
    path = name;
  }
  ~Folder() { fs::remove_all(path); }
  // One of the fakes, copied to where Python's packages lie below this prefix.
  std::string install(const std::string& fake, const std::string& package,
                      const std::string& site = "lib/python3.11/site-packages") const {
    const fs::path folder = path / site / "nvidia" / package / "lib";
    fs::create_directories(folder);
    fs::copy_file(built / fake / file, folder / file);
    return (folder / file).string();
  }
  fs::path path;
};

// A machine on which nothing is installed.
struct Bare {
  Folder home;
  Variable variables[5] = {{"GRADUS_CUDA_LIB_PATH", ""},
                           {"HOME", home.path.string()},
                           {"VIRTUAL_ENV", ""},
                           {"CONDA_PREFIX", ""},
                           {"CUDA_HOME", ""}};
};

int version_of(const Library& library) { return reinterpret_cast<int (*)()>(library.find("fake_version"))(); }

Library find_fake(std::vector<std::string> files = {file}) {
  return gradus::cuda::open_library(
      {"fake", std::move(files), {"fake_version", "fake_add"}, version_of, 20000, "pip install fake"});
}
// Opens, looks and closes, so that the next search finds it closed.
std::string path_of_fake(std::vector<std::string> files = {file}) {
  const Library library = find_fake(std::move(files));
  if (library.handle) dlclose(library.handle);
  return library.path;
}

Library& library() {
  static Library instance;
  return instance;
}

}  // namespace

// What cublasLtCreate allocates before it finds no driver is lost.
extern "C" const char* __lsan_default_suppressions() { return "leak:libcublasLt"; }

extern "C" {
int fake_add(int a, int b);
int fake_subtract(int a, int b);
GRADUS_TRAMPOLINE(int, fake_add, (int a, int b), (a, b), -1)
GRADUS_TRAMPOLINE(int, fake_subtract, (int a, int b), (a, b), -1)
}

TEST_CASE("a folder of GRADUS_CUDA_LIB_PATH comes first, in their order") {
  const Bare bare;
  Folder prefix;
  const std::string other = fs::path(prefix.install("new", "fake")).parent_path().string();
  const std::string own = (built / "new").string();
  const Variable python("VIRTUAL_ENV", prefix.path.string());
  {
    const Variable variable("GRADUS_CUDA_LIB_PATH", ":/nowhere:" + own + ":" + other);
    CHECK(path_of_fake() == own + "/" + file);
  }
  const Variable variable("GRADUS_CUDA_LIB_PATH", other + ":" + own);
  const Library library = find_fake();
  CHECK(library.path == other + "/" + file);
  CHECK(library.version == "2.1.3");
  CHECK(library.error.empty());
  CHECK(library.name == "fake");
  CHECK(library.find("fake_multiply") == nullptr);
  dlclose(library.handle);
}

TEST_CASE("what the loader knows comes before Python's packages, which are found where Python keeps them") {
  const Bare bare;
  Folder prefix;
  const Variable python("VIRTUAL_ENV", prefix.path.string());
  SECTION("a virtual environment") {
    const std::string path = prefix.install("new", "cu13");
    CHECK(path_of_fake() == path);
    void* known = dlopen((built / "new" / file).c_str(), RTLD_NOW | RTLD_LOCAL);
    REQUIRE(known);
    CHECK(path_of_fake() == (built / "new" / file).string());  // by its soname
    dlclose(known);
  }
  SECTION("lib64") {
    const std::string path = prefix.install("new", "fake", "lib64/python3.13/site-packages");
    CHECK(path_of_fake() == path);
  }
  SECTION("Debian's dist-packages") {
    const std::string path = prefix.install("new", "fake", "lib/python3/dist-packages");
    CHECK(path_of_fake() == path);
  }
  SECTION("the user's packages") {
    const std::string path = bare.home.install("new", "fake", ".local/lib/python3.9/site-packages");
    CHECK(path_of_fake() == path);
  }
  SECTION("the newest file, whatever its folder") {
    prefix.install("new", "a_cu12");
    const fs::path newer = fs::path(prefix.install("new", "b_cu13")).parent_path() / "libgradus_fake.so.3";
    fs::copy_file(built / "new" / file, newer);
    CHECK(path_of_fake({"libgradus_fake.so.3", file}) == newer.string());
  }
}

TEST_CASE("a library that is too old is passed over") {
  const Bare bare;
  const Variable variable("GRADUS_CUDA_LIB_PATH",
                          (built / "old").string() + ":" + (built / "poor").string() + ":" + (built / "new").string());
  CHECK(path_of_fake() == (built / "new" / file).string());
}

TEST_CASE("without one the reason says what was tried and what to do") {
  const Bare bare;
  SECTION("nothing there") {
    const Library library = find_fake({"libgradus_fake.so.3", file});
    CHECK_FALSE(library);
    CHECK(library.handle == nullptr);
    CHECK(library.path.empty());
    CHECK(library.find("fake_add") == nullptr);
    CHECK_THAT(library.error, ContainsSubstring("fake: no usable libgradus_fake.so.3 or libgradus_fake.so.2") &&
                                  ContainsSubstring("GRADUS_CUDA_LIB_PATH (not set)") &&
                                  ContainsSubstring("pip install fake"));
  }
  SECTION("only old ones, and a file that is no library") {
    Folder folder;
    std::fclose(std::fopen((folder.path / file).c_str(), "w"));
    const Variable variable("GRADUS_CUDA_LIB_PATH",
                            (built / "old").string() + ":" + (built / "poor").string() + ":" + folder.path.string());
    const Library library = find_fake();
    CHECK(library.handle == nullptr);
    CHECK(library.version.empty());
    CHECK_THAT(library.error,
               ContainsSubstring("old/libgradus_fake.so.2: version 1.9.0 is too old, 2.0.0 is the oldest") &&
                   ContainsSubstring("poor/libgradus_fake.so.2: too old, it has no fake_add") &&
                   ContainsSubstring(folder.path.string() + "/" + file + ": file too short"));
  }
}

TEST_CASE("a trampoline calls the library, and returns something else where there is none") {
  const Bare bare;
  const Variable variable("GRADUS_CUDA_LIB_PATH", (built / "new").string());
  library() = find_fake();
  REQUIRE(library().handle);
  CHECK(fake_add(2, 3) == 5);
  CHECK(fake_subtract(3, 2) == -1);
}

TEST_CASE("cuBLASLt's functions are reached, where it is installed") {
  const Library& real = gradus::cuda::blaslt_library();
  cublasLtHandle_t handle = nullptr;
  cublasLtMatmulDesc_t operation = nullptr;
  if (!real) {
    std::printf("SKIPPED: %s\n", real.error.c_str());
    CHECK(cublasLtCreate(&handle) == CUBLAS_STATUS_NOT_INITIALIZED);
    CHECK_THAT(real.error, ContainsSubstring("pip install"));
    return;
  }
  CHECK_THAT(real.path, ContainsSubstring("libcublasLt.so"));
  CHECK(real.version == std::to_string(cublasLtGetVersion() / 10000) + "." +
                            std::to_string(cublasLtGetVersion() / 100 % 100) + "." +
                            std::to_string(cublasLtGetVersion() % 100));
  CHECK(std::string(cublasLtGetStatusName(CUBLAS_STATUS_NOT_SUPPORTED)) == "CUBLAS_STATUS_NOT_SUPPORTED");
  // Descriptors need no driver.
  REQUIRE(cublasLtMatmulDescCreate(&operation, CUBLAS_COMPUTE_32F, CUDA_R_32F) == CUBLAS_STATUS_SUCCESS);
  const int32_t transposed = CUBLAS_OP_T;
  CHECK(cublasLtMatmulDescSetAttribute(operation, CUBLASLT_MATMUL_DESC_TRANSA, &transposed, 4) ==
        CUBLAS_STATUS_SUCCESS);
  CHECK(cublasLtMatmulDescSetAttribute(operation, CUBLASLT_MATMUL_DESC_TRANSA, &transposed, 3) ==
        CUBLAS_STATUS_INVALID_VALUE);
  CHECK(cublasLtMatmulDescDestroy(operation) == CUBLAS_STATUS_SUCCESS);
  const cublasStatus_t created = cublasLtCreate(&handle);
  CHECK((created == CUBLAS_STATUS_SUCCESS || created == CUBLAS_STATUS_NOT_INITIALIZED));  // without a driver
  if (created == CUBLAS_STATUS_SUCCESS) cublasLtDestroy(handle);
}

#if defined(GRADUS_HAVE_NCCL_HEADER)
TEST_CASE("NCCL's functions are reached, where it is installed") {
  const Library& real = gradus::cuda::nccl_library();
  int version = 0;
  if (!real) {
    std::printf("SKIPPED: %s\n", real.error.c_str());
    CHECK(ncclGetVersion(&version) == ncclSystemError);
    CHECK(std::string(ncclGetLastError(nullptr)) == real.error);
    return;
  }
  CHECK(ncclGetVersion(&version) == ncclSuccess);
  CHECK(version >= 21800);
  CHECK_THAT(real.path, ContainsSubstring("libnccl.so"));
  CHECK(std::string(ncclGetErrorString(ncclSuccess)) == "no error");
}
#endif

TEST_CASE("cuDNN says its version, where it is installed") {
  const Library& real = gradus::cuda::cudnn_library();
  if (!real)
    std::printf("SKIPPED: %s\n", real.error.c_str());
  else
    CHECK_THAT(real.version, ContainsSubstring("9."));
}
