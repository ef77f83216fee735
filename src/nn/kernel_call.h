// What the files that call our CUDA kernels share. In builds without CUDA no tensor has a kernel.
#pragma once

#include <ATen/core/Tensor.h>

#include "nn/cuda/kernels.h"

namespace ckv {

// A bf16 or fp16 tensor on a GPU, in a build with kernels.
bool HasKernels(const at::Tensor& tensor);

#ifdef CKV_HAVE_CUDA
kernels::HalfType HalfTypeOf(const at::Tensor& tensor);

// The stream that LibTorch queues work of this thread on.
CUstream_st* CurrentStream();
#endif

}  // namespace ckv
