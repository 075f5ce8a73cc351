// Elementwise kernels: the part «comparison» of the list in core/elementwise.h.
#include <gradus/cuda/kernels/elementwise.cuh>

GRADUS_CUDA_ELEMENTWISE(GRADUS_ELEMENTWISE_COMPARISON)
