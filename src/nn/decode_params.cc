#include "nn/decode_params.h"

#ifdef CKV_HAVE_CUDA

#include <ATen/ATen.h>

namespace ckv {

kernels::RotateParams RotateParamsOf(const RotateTarget& target) {
  kernels::RotateParams params = {};
  params.cos = target.cos.data_ptr<float>();
  params.sin = target.sin.data_ptr<float>();
  params.lengths = target.lengths.data_ptr<int32_t>();
  params.q = target.q.data_ptr();
  params.heads = static_cast<int>(target.q.size(1));
  params.head_dim = static_cast<int>(target.q.size(2));
  params.kv_heads = static_cast<int>(target.kv_heads);
  if (target.keys.defined()) {
    params.keys = target.keys.data_ptr();
    params.key_slots = static_cast<int>(target.keys.size(2));
  }
  if (target.values.defined()) {
    params.values = target.values.data_ptr();
    params.value_slots = static_cast<int>(target.values.size(2));
  }
  return params;
}

kernels::Activation ActivationOf(const std::string& name) {
  return name == "silu"   ? kernels::Activation::kSilu
         : name == "gelu" ? kernels::Activation::kGelu
                          : kernels::Activation::kGeluTanh;
}

}  // namespace ckv

#endif
