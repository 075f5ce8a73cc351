// Defines the slots that core/kernels.h lists, and the error of an empty one.
#include <gradus/core/kernels.h>

#include <gradus/core/detail/check.h>

namespace gradus {

namespace kernels {
// Constant-initialised, so that the statics of kernel files may fill them in any order.
#define GRADUS_KERNEL(name, ...) constinit Kernel<__VA_ARGS__> name{#name};
GRADUS_KERNELS
#undef GRADUS_KERNEL
}  // namespace kernels

namespace detail {
void throw_no_kernel(const char* name, Device device) {
  throw DeviceError(fmt::format("{} has no {} kernel; move the tensor with x.to(Device::cpu())", name,
                                device.is_cpu() ? "cpu" : "cuda"));
}
}  // namespace detail

}  // namespace gradus
