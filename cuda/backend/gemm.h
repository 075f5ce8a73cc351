// Matrix products on the device. The gemm slot, convolution and attention are made of them.
#pragma once

#include <gradus/core/tensor.h>

namespace gradus::cuda {

/// c [batch, m, n] (+)= a [batch, m, k] b [batch, k, n] + bias [n] or absent: the gemm slot, and a little more. c may
/// be strided with unit stride in n, its matrices between each other's rows too; and it may be float32 where a and b
/// have 16 bits. Runs in the current stream of the running op's device.
///
/// float32 is multiplied in full precision; with GRADUS_TF32=1 in the environment its factors are rounded to 10 bits of
/// mantissa (TF32), which is several times as fast. Sums are taken in float32, those of float64 in float64, in an order
/// that depends on shapes and addresses alone.
///
/// Throws DeviceError when cuBLASLt is missing, too old, or fails.
void gemm(Tensor& c, const Tensor& a, const Tensor& b, const Tensor& bias, bool accumulate);

/// The same with two batch dims, c [B, H, m, n] (+)= a [B, H, m, k] b [B, H, k, n]: one call of the library where their
/// strides allow it, else one for each of the fewer of B and H.
void gemm_2d_batch(Tensor& c, const Tensor& a, const Tensor& b, bool accumulate);

}  // namespace gradus::cuda
