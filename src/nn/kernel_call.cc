#include "nn/kernel_call.h"

#include <ATen/ATen.h>

#ifdef CKV_HAVE_CUDA
#include <c10/cuda/CUDAStream.h>
#endif

namespace ckv {

bool HasKernels(const at::Tensor& tensor) {
#ifdef CKV_HAVE_CUDA
  return tensor.is_cuda() &&
         (tensor.scalar_type() == at::kBFloat16 || tensor.scalar_type() == at::kHalf);
#else
  static_cast<void>(tensor);
  return false;
#endif
}

#ifdef CKV_HAVE_CUDA
kernels::HalfType HalfTypeOf(const at::Tensor& tensor) {
  return tensor.scalar_type() == at::kHalf ? kernels::HalfType::kFloat16
                                           : kernels::HalfType::kBfloat16;
}

CUstream_st* CurrentStream() { return c10::cuda::getCurrentCUDAStream().stream(); }
#endif

}  // namespace ckv
