// Parameters of kernels that several operations of a decode step share; builds with CUDA only.
#pragma once

#ifdef CKV_HAVE_CUDA

#include <string>

#include "nn/cuda/kernels.h"
#include "nn/decode_ops.h"

namespace ckv {

kernels::RotateParams RotateParamsOf(const RotateTarget& target);
kernels::Activation ActivationOf(const std::string& name);

}  // namespace ckv

#endif
