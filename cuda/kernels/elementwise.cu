// The elementwise slot: finds the kernel of a functor and brings the operands into its form.
#include <string>

#include <gradus/core/factories.h>
#include <gradus/core/kernels.h>
#include <gradus/cuda/kernels/elementwise.cuh>

namespace gradus::cuda {

ElementwiseFunction& elementwise_function(Elementwise op, Dtype dtype) {
  static ElementwiseFunction table[num_elementwise][num_dtypes] = {};
  return table[static_cast<int>(op)][static_cast<int>(dtype)];
}

namespace {

constexpr const char* names[] = {
#define GRADUS_ELEMENTWISE_NAME(name, Functor, arity, kind) #name,
    GRADUS_ELEMENTWISE(GRADUS_ELEMENTWISE_NAME)
#undef GRADUS_ELEMENTWISE_NAME
};

bool is_flat(const Tensor& x, int64_t numel) {
  return x.is_contiguous() && x.numel() == numel && reinterpret_cast<uintptr_t>(x.raw_data()) % 16 == 0;
}

void elementwise_kernel(Elementwise op, Tensor& y, std::span<const Tensor* const> inputs, const Params& params) {
  const Dtype dtype = inputs.back()->dtype();
  const ElementwiseFunction function = elementwise_function(op, dtype);
  if (!function)
    throw DtypeError(std::string(names[static_cast<int>(op)]) + ": " + std::string(name(dtype)) +
                     " is not supported; convert with x.to(...)");
  if (y.numel() == 0) return;

  const Tensor* operands[max_inputs + 1] = {&y};
  ElementwiseCall call{{}, {}, dtype, params, is_flat(y, y.numel())};
  call.data[0] = static_cast<char*>(const_cast<void*>(y.raw_data()));
  for (size_t k = 1; k <= inputs.size(); ++k) {
    const Tensor& x = *inputs[k - 1];
    if (gradus::detail::overlaps_partly(y, x)) {  // a shifted or transposed window on the output's own memory
      Tensor fresh = empty(y.shape(), {.dtype = y.dtype(), .device = y.device()});
      elementwise_kernel(op, fresh, inputs, params);
      return kernels::copy(y.device(), y, fresh);
    }
    operands[k] = &x;
    call.data[k] = static_cast<char*>(const_cast<void*>(x.raw_data()));
    call.flat = call.flat && is_flat(x, y.numel());
  }
  call.space = gradus::detail::strided_space(std::span(operands, inputs.size() + 1));
  function(call);
}

[[maybe_unused]] const bool filled = kernels::elementwise.set(DeviceType::cuda, elementwise_kernel);

}  // namespace
}  // namespace gradus::cuda
