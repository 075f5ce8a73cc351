// One rank's NCCL communicator: made without blocking, ended in good order or by abort, its errors in words. All of
// NCCL is called by one thread.
#pragma once

#include <nccl.h>

#include <atomic>

#include <gradus/distributed/detail/device_engine.h>

namespace gradus::dist::nccl_engine {

class Communicator {
 public:
  /// Begins to meet the other members, on the thread's current device; the first call that completes has met them.
  Communicator(const detail::Member& member, Device device, Store& store);
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;
  ~Communicator();

  ncclComm_t get() const { return comm_; }
  /// Waits until NCCL has taken over what it was asked for: `result` is what the call returned, `call` its name. Throws
  /// when it failed, and after abort().
  void complete(ncclResult_t result, const char* call);
  /// Throws when something has failed since.
  void check();
  /// From any thread: complete() gives up, and the end aborts what the device is doing.
  void abort() noexcept { aborted_ = true; }

 private:
  bool finalize() noexcept;
  [[noreturn]] void fail(ncclResult_t result, const char* call) const;

  const Device device_;
  ncclComm_t comm_ = nullptr;
  bool failed_ = false;
  std::atomic<bool> aborted_ = false;
};

}  // namespace gradus::dist::nccl_engine
