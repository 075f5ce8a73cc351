// How the plug-in of CUDA devices hands in its engine.
#include <gradus/core/backend.h>
#include <gradus/core/detail/check.h>
#include <gradus/distributed/detail/device_engine.h>

namespace gradus::dist::detail {
namespace {

DeviceEngineMaker* maker = nullptr;  // set while the plug-in is loaded

}  // namespace

void set_nccl(DeviceEngineMaker& made) { maker = &made; }

DeviceEngineMaker& nccl() {
  cuda_backend();
  GRADUS_CHECK(maker, DeviceError,
               "processes exchange CUDA tensors by NCCL, and the plug-in was built without its header, nccl.h; install "
               "libnccl-dev and build Gradus again, or use x.to(Device::cpu())");
  maker->version();
  return *maker;
}

}  // namespace gradus::dist::detail
