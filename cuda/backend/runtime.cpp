// Errors of the CUDA runtime in words, and spare events.
#include <gradus/cuda/backend/runtime.h>

#include <cstdlib>
#include <map>
#include <mutex>
#include <string_view>
#include <utility>
#include <vector>

#include <gradus/core/detail/check.h>
#include <gradus/core/kernel.h>

namespace gradus::cuda {
namespace {

// "kernel = gradus::cuda::(anonymous namespace)::softmax_rows<float>; ..." of a signature becomes softmax_rows<float>;
// any other text stays.
std::string_view kernel_of(std::string_view text) {
  constexpr std::string_view mark = "kernel = ";
  const size_t begin = text.find(mark);
  if (begin == text.npos) return text;
  text.remove_prefix(begin + mark.size());
  text = text.substr(0, std::min(text.find(';'), text.rfind(']')));
  const size_t arguments = std::min(text.find('<'), text.size()), scope = text.substr(0, arguments).rfind("::");
  return scope == text.npos ? text : text.substr(scope + 2);
}

const char* hint_of(int code) {
  switch (code) {
    case cudaErrorNoKernelImageForDevice:
      return "the plug-in was compiled for other GPUs; build it with -DCMAKE_CUDA_ARCHITECTURES=native";
    case cudaErrorInsufficientDriver: return "the driver is older than the CUDA toolkit; install a newer driver";
    case cudaErrorNoDevice: return "no GPU is visible; look at nvidia-smi and CUDA_VISIBLE_DEVICES";
    case cudaErrorDevicesUnavailable: return "another process has taken the GPU for itself alone";
    case cudaErrorSystemDriverMismatch: return "the driver's kernel module and library differ; restart the machine";
    default: return "run with GRADUS_SYNC=1 to learn which op it was";
  }
}

struct SpareEvents {
  std::mutex mutex;
  std::map<int, std::vector<cudaEvent_t>> of_device;
};
SpareEvents& spare() {
  static SpareEvents* instance = new SpareEvents;  // never destroyed: tensors may outlive main()
  return *instance;
}
cudaEvent_t take_spare(int device) {
  const std::lock_guard lock(spare().mutex);
  std::vector<cudaEvent_t>& events = spare().of_device[device];
  if (events.empty()) return nullptr;
  const cudaEvent_t event = events.back();
  events.pop_back();
  return event;
}

}  // namespace

bool is_sticky(int code) {
  switch (code) {
    case cudaErrorIllegalAddress:
    case cudaErrorLaunchFailure:
    case cudaErrorLaunchTimeout:
    case cudaErrorHardwareStackError:
    case cudaErrorIllegalInstruction:
    case cudaErrorMisalignedAddress:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorAssert:
    case cudaErrorECCUncorrectable: return true;
    default: return false;
  }
}

void fail(int code, const char* what) {
  const auto error = static_cast<cudaError_t>(code);
  const gradus::detail::Running running = gradus::detail::running();
  cudaGetLastError();  // forget it, where that is possible
  const std::string where = running.op ? fmt::format("{} on {}", running.op, running.device) : "cuda";
  if (is_sticky(code))
    throw DeviceError(fmt::format(
        "{}: {} ({}), seen at {}; the error may be of an earlier op. CUDA tensors of this process cannot be used any "
        "more, those on the CPU can; {}",
        where, cudaGetErrorString(error), cudaGetErrorName(error), kernel_of(what),
        synchronous() ? "GRADUS_SYNC=1 is set, so the op named here made it" : hint_of(code)));
  throw DeviceError(fmt::format("{}: {} ({}) at {}; {}", where, cudaGetErrorString(error), cudaGetErrorName(error),
                                kernel_of(what), hint_of(code)));
}

bool synchronous() {
  static const bool value = [] {
    const char* text = std::getenv("GRADUS_SYNC");
    return text && std::string_view(text) != "0";
  }();
  return value;
}

PooledEvent::PooledEvent(StreamOf where) : device_(where.device) {
  const DeviceScope scope(device_);
  if (!(handle_ = take_spare(device_))) GRADUS_CUDA(cudaEventCreateWithFlags(&handle_, cudaEventDisableTiming));
  GRADUS_CUDA(cudaEventRecord(handle_, where.stream));
}

PooledEvent::~PooledEvent() {
  if (!handle_) return;
  const std::lock_guard lock(spare().mutex);
  spare().of_device[device_].push_back(handle_);
}

bool PooledEvent::is_reached() const noexcept {
  const cudaError_t code = cudaEventQuery(handle_);
  if (code != cudaSuccess) cudaGetLastError();
  return code == cudaSuccess;
}

}  // namespace gradus::cuda
