// What moves bytes between CUDA devices: NCCL, in the plug-in of CUDA devices.
#pragma once

#include <string>

#include <gradus/core/box.h>
#include <gradus/distributed/detail/engine.h>

namespace gradus::dist::detail {

/// All but abort() is called by one thread.
class DeviceEngine {
 public:
  virtual ~DeviceEngine() = default;
  /// Puts the operation into the thread's current stream of the device. Ranks have compared it before. Any exception
  /// means that it failed.
  virtual void enqueue(const Collective& collective) = 0;
  /// Throws when something that is in the stream has failed since.
  virtual void check() = 0;
  /// From another thread: enqueue() throws as soon as it can, and the engine's end ends what the device is doing.
  virtual void abort() noexcept = 0;
};

/// Makes engines; immortal.
class DeviceEngineMaker {
 public:
  virtual ~DeviceEngineMaker() = default;
  /// Begins to meet the other members through `store`, whose keys are this group's alone. May throw anything.
  virtual Box<DeviceEngine> make(const Member& member, Device device, Store& store) = 0;
  /// For people. Throws DeviceError when the library cannot be used.
  virtual std::string version() const = 0;
};

/// NCCL. Throws DeviceError that says what is missing.
GRADUS_API DeviceEngineMaker& nccl();
/// For a static of the plug-in, which hands it in.
GRADUS_API void set_nccl(DeviceEngineMaker& maker);

}  // namespace gradus::dist::detail
