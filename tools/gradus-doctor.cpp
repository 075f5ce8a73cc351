// gradus-doctor: what Gradus finds on this machine, what it does not, why, and what would help.
#include <dlfcn.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <fmt/format.h>

#include <gradus/core/backend.h>
#include <gradus/core/build_info.h>
#include <gradus/core/parallel.h>
#include <gradus/distributed/detail/engine.h>
#include <gradus/version.h>

namespace {

constexpr const char* usage = R"(usage: gradus-doctor [--require-cuda]
Prints what Gradus finds: CPU, CUDA driver, devices, libraries, network adapters.
  --require-cuda   exit with 1 when no CUDA device can be used
)";

namespace fs = std::filesystem;

std::string first_line(const fs::path& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

std::vector<fs::path> entries(const char* folder) {
  std::vector<fs::path> found;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) found.push_back(entry.path());
  std::sort(found.begin(), found.end());
  return found;
}

void cpu() {
  const double memory = static_cast<double>(gradus::memory_stats().limit) / (1 << 30);
  fmt::print("cpu\n  loops      {}\n  threads    {} (GRADUS_NUM_THREADS, set_num_threads)\n  memory     {:.1f} GiB\n",
             gradus::instruction_set(), gradus::num_threads(), memory);
  fmt::print("  oneDNN     {}\n", gradus::uses_onednn()
                                      ? "yes"
                                      : "no: Eigen does matrix products, more slowly (install libdnnl-dev, rebuild)");
}

// The parts of a driver, for when it does not work.
void driver() {
  const std::string module = first_line("/proc/driver/nvidia/version");
  fmt::print("  kernel     {}\n", module.empty() ? "no NVIDIA kernel module is loaded" : module);
  size_t nodes = 0;
  for (const fs::path& path : entries("/dev")) {
    const std::string name = path.filename();
    nodes += name.size() > 6 && name.starts_with("nvidia") && name.find_first_not_of("0123456789", 6) == name.npos;
  }
  fmt::print("  /dev       {}\n",
             nodes ? fmt::format("{} GPUs", nodes) : "no /dev/nvidia0: no GPU, or a container without --gpus all");
  void* library = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL);
  fmt::print("  libcuda    {}\n",
             library ? "found" : "not found: the driver's library is not installed, or not in this container");
}

bool cuda() {
  std::string reason;
  gradus::Backend* const backend = gradus::find_cuda_backend(&reason);
  fmt::print("cuda\n");
  if (backend) {
    fmt::print("{}", backend->report());
  } else {
    fmt::print("  usable     no: {}\n", reason);
    driver();
  }
  return backend != nullptr;
}

// What processes talk by: Gloo on CPUs; adapters of InfiniBand and RoCE, which NCCL uses between machines.
void network() {
  std::string reason;
  const gradus::dist::detail::EngineMaker* const gloo = gradus::dist::detail::find_gloo(&reason);
  fmt::print("network\n  Gloo       {}\n", gloo ? fmt::format("yes, {}", gloo->version()) : "no: " + reason);
  const std::vector<fs::path> adapters = entries("/sys/class/infiniband");
  if (adapters.empty()) fmt::print("  infiniband no: processes on several machines will talk over TCP\n");
  for (const fs::path& adapter : adapters)
    for (const fs::path& port : entries((adapter / "ports").c_str()))
      fmt::print("  infiniband {} port {}: {}, {}\n", adapter.filename().string(), port.filename().string(),
                 first_line(port / "state"), first_line(port / "rate"));
}

}  // namespace

int main(int argc, char** argv) {
  bool require_cuda = false;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--require-cuda") == 0) {
      require_cuda = true;
    } else {
      const bool asked = std::strcmp(argv[i], "--help") == 0 || std::strcmp(argv[i], "-h") == 0;
      if (!asked) fmt::print(stderr, "gradus-doctor: unknown option {}\n", argv[i]);
      fmt::print(asked ? stdout : stderr, "{}", usage);
      return asked ? 0 : 2;
    }
  }
  try {
    fmt::print("Gradus {}\n", GRADUS_VERSION);
    cpu();
    const bool usable = cuda();
    network();
    return require_cuda && !usable ? 1 : 0;
  } catch (const std::exception& error) {
    fmt::print(stderr, "gradus-doctor: {}\n", error.what());
    return 1;
  }
}
