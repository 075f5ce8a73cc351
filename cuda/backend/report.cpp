// What gradus-doctor says of CUDA: driver, devices, links between them, libraries.
#include <fmt/format.h>

#include <gradus/cuda/backend/backend.h>
#include <gradus/cuda/backend/library.h>

namespace gradus::cuda {
namespace {

std::string version_text(int version) { return fmt::format("{}.{}", version / 1000, version % 1000 / 10); }

double gibibytes(size_t bytes) { return static_cast<double>(bytes) / (1 << 30); }

std::string device_line(int device) {
  cudaDeviceProp p;
  GRADUS_CUDA(cudaGetDeviceProperties(&p, device));
  const DeviceScope scope(device);
  size_t free_bytes = 0, total = 0;
  GRADUS_CUDA(cudaMemGetInfo(&free_bytes, &total));
  return fmt::format("  cuda:{}     {}, compute capability {}.{}, {} multiprocessors, {:.1f} of {:.1f} GiB free\n",
                     device, p.name, p.major, p.minor, p.multiProcessorCount, gibibytes(free_bytes), gibibytes(total));
}

// Native atomics across devices are what NVLink has and PCIe has not.
std::string link_between(int from, int to) {
  int access = 0, native = 0;
  GRADUS_CUDA(cudaDeviceCanAccessPeer(&access, from, to));
  GRADUS_CUDA(cudaDeviceGetP2PAttribute(&native, cudaDevP2PAttrNativeAtomicSupported, from, to));
  return !access ? "through the host" : native ? "NVLink" : "PCIe";
}

std::string links(int devices) {
  std::string text;
  for (int from = 0; from < devices; ++from)
    for (int to = from + 1; to < devices; ++to)
      text += fmt::format("  link       cuda:{} - cuda:{}: {}\n", from, to, link_between(from, to));
  return text;
}

std::string library_line(const Library& library) {
  if (!library) return fmt::format("  {:<10} no: {}\n", library.name, library.error);
  return fmt::format("  {:<10} {}{}{}\n", library.name, library.version, library.version.empty() ? "" : ", ",
                     library.path);
}

}  // namespace

std::string CudaBackend::report() {
  int driver = 0, runtime = 0;
  GRADUS_CUDA(cudaDriverGetVersion(&driver));
  GRADUS_CUDA(cudaRuntimeGetVersion(&runtime));
  std::string text = fmt::format("  driver     for CUDA up to {}\n  runtime    CUDA {}\n", version_text(driver),
                                 version_text(runtime));
  for (int device = 0; device < device_count(); ++device) text += device_line(device);
  text += links(device_count());
  for (const Library* library : {&blaslt_library(), &cudnn_library(), &nccl_library()}) text += library_line(*library);
  return text;
}

}  // namespace gradus::cuda
