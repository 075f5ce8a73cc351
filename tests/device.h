// The device that a run of the tests is about: GRADUS_TEST_DEVICE, «cpu» when unset, «cuda», «cuda:1».
#pragma once

#include <cstdlib>
#include <string>

#include <gradus/core/error.h>
#include <gradus/core/factories.h>
#include <gradus/cuda/cuda.h>

inline gradus::Device test_device() {
  static const gradus::Device device = [] {
    const char* text = std::getenv("GRADUS_TEST_DEVICE");
    const std::string name = text ? text : "cpu";
    for (const gradus::Device d : {gradus::Device::cpu(), gradus::Device::cuda(0), gradus::Device::cuda(1)})
      if (name == to_string(d) || name + ":0" == to_string(d)) return d;
    throw gradus::ValueError("GRADUS_TEST_DEVICE is " + name + "; want cpu, cuda or cuda:1");
  }();
  return device;
}

/// Waits for the device, which throws what went wrong there.
inline void wait_for_test_device() {
  if (test_device().is_cuda()) gradus::cuda::synchronize(test_device());
}

inline gradus::TensorOptions on_test_device(gradus::Dtype dtype = gradus::float32) {
  return {.dtype = dtype, .device = test_device()};
}
inline gradus::Tensor on_cpu(const gradus::Tensor& x) { return x.detach().to(gradus::Device::cpu()); }
