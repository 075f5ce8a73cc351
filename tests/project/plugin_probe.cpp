// A program on the CPU, then one that asks for a CUDA device: prints what was loaded for the first and why the second
// gets no device. plugin_test reads it.
#include <gradus/gradus.h>

#include <cstdio>
#include <fstream>
#include <string>

using namespace gradus;

int main() {
  const auto on_cpu = [] { return sum(matmul(ones({64, 64}), ones({64, 64}))).item<double>() == 64.0 * 64 * 64; };
  if (!on_cpu()) return 1;

  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);)
    for (const char* name : {"libgradus_cuda", "libcuda", "libcublas", "libcudnn", "libnccl", "libnvidia"})
      if (line.find(name) != line.npos) std::printf("loaded for nothing: %s\n", line.c_str());

  try {
    const Tensor x = ones({2, 3}, {.device = Device::cuda()});
    std::printf("device: %s\n", cuda::device_info(x.device()).name.c_str());
  } catch (const DeviceError& error) {
    std::printf("no device: %s\n", error.what());
  }
  return on_cpu() ? 0 : 1;
}
