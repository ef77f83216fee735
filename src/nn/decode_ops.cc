#include "nn/decode_ops.h"

#include <ATen/ATen.h>

#include "base/error.h"
#include "nn/decode_params.h"
#include "nn/kernel_call.h"
#include "nn/rope.h"

namespace ckv {
namespace {

// x [B, heads, D] to the slots of the rows' positions.
void StoreRows(const Tensor& x, const Tensor& positions, Tensor& store) {
  const Tensor rows = at::arange(x.size(0), positions.options());
  store.transpose(1, 2).index_put_({rows, positions.remainder(store.size(2))}, x);
}

void ComposedRotateAndStore(const Tensor& packed, RotateTarget& target) {
  const int64_t batch = packed.size(0);
  const int64_t heads = target.q.size(1);
  const Tensor positions = target.lengths.narrow(0, 0, batch).to(at::kLong);
  const Tensor all = packed.view({batch, target.packed_heads(), -1});
  const RopeTable table = {target.cos.index_select(0, positions).unsqueeze(1),
                           target.sin.index_select(0, positions).unsqueeze(1)};  // [B, 1, D / 2]
  target.q.copy_(ApplyRope(all.narrow(1, 0, heads), table));
  int64_t next = heads;
  if (target.keys.defined()) {
    StoreRows(ApplyRope(all.narrow(1, next, target.kv_heads), table), positions, target.keys);
    next += target.kv_heads;
  }
  if (target.values.defined()) {
    StoreRows(all.narrow(1, next, target.kv_heads), positions, target.values);
  }
}

}  // namespace

void RmsNormInto(const Tensor& x, const Tensor& weight, double epsilon, Tensor& out) {
  CKV_CHECK(x.dim() == 2 && x.is_contiguous() && out.is_contiguous() && x.sizes() == out.sizes() &&
                weight.numel() == x.size(1),
            "norm of ", x.sizes(), " into ", out.sizes());
  if (!HasKernels(x) || x.size(1) % 2 != 0) {
    out.copy_(at::rms_norm(x, {x.size(1)}, weight, epsilon));
    return;
  }
#ifdef CKV_HAVE_CUDA
  kernels::RmsNormParams params = {};
  params.type = HalfTypeOf(x);
  params.x = x.data_ptr();
  params.weight = weight.data_ptr();
  params.out = out.data_ptr();
  params.epsilon = static_cast<float>(epsilon);
  params.batch = static_cast<int>(x.size(0));
  params.width = static_cast<int>(x.size(1));
  kernels::RmsNorm(params, CurrentStream());
#endif
}

void RotateAndStore(const Tensor& packed, RotateTarget& target) {
  CKV_CHECK(packed.dim() == 2 && packed.is_contiguous() && packed.size(0) == target.q.size(0) &&
                packed.size(1) == target.packed_heads() * target.q.size(2),
            "packed projections ", packed.sizes(), " for queries ", target.q.sizes());
  if (!HasKernels(packed)) {
    ComposedRotateAndStore(packed, target);
    return;
  }
#ifdef CKV_HAVE_CUDA
  kernels::RotateStoreParams params = {};
  params.type = HalfTypeOf(packed);
  params.packed = packed.data_ptr();
  params.batch = static_cast<int>(packed.size(0));
  params.rotate = RotateParamsOf(target);
  kernels::RotateAndStore(params, CurrentStream());
#endif
}

void GateInto(const Tensor& packed, const std::string& activation, Tensor& out) {
  CKV_CHECK(packed.dim() == 2 && packed.is_contiguous() && out.is_contiguous() &&
                packed.size(0) == out.size(0) && packed.size(1) == 2 * out.size(1),
            "gate and up ", packed.sizes(), " into ", out.sizes());
  if (!HasKernels(packed) || out.size(1) % 2 != 0) {
    const Tensor gate = packed.narrow(1, 0, out.size(1));
    const Tensor up = packed.narrow(1, out.size(1), out.size(1));
    const Tensor active = activation == "silu"
                              ? at::silu(gate)
                              : at::gelu(gate, activation == "gelu" ? "none" : "tanh");
    at::mul_out(out, active, up);
    return;
  }
#ifdef CKV_HAVE_CUDA
  kernels::GateParams params = {};
  params.type = HalfTypeOf(packed);
  params.packed = packed.data_ptr();
  params.out = out.data_ptr();
  params.batch = static_cast<int>(out.size(0));
  params.width = static_cast<int>(out.size(1));
  params.activation = ActivationOf(activation);
  kernels::Gate(params, CurrentStream());
#endif
}

void GreedyChoiceInto(const Tensor& logits, Tensor& ids, Tensor& log_probs) {
  CKV_CHECK(logits.dim() == 2 && logits.is_contiguous() && ids.is_contiguous() &&
                log_probs.is_contiguous() && ids.numel() == logits.size(0) &&
                log_probs.numel() == logits.size(0),
            "choice from ", logits.sizes(), " into ", ids.sizes());
  if (!HasKernels(logits)) {
    const Tensor best = logits.argmax(1, /*keepdim=*/true);
    ids.copy_(best.squeeze(1));
    log_probs.copy_(at::log_softmax(logits, 1, log_probs.scalar_type()).gather(1, best).squeeze(1));
    return;
  }
#ifdef CKV_HAVE_CUDA
  kernels::GreedyParams params = {};
  params.type = HalfTypeOf(logits);
  params.logits = logits.data_ptr();
  params.ids = ids.data_ptr<int64_t>();
  params.log_probs = log_probs.data_ptr<float>();
  params.batch = static_cast<int>(logits.size(0));
  params.vocab = static_cast<int>(logits.size(1));
  kernels::GreedyChoice(params, CurrentStream());
#endif
}

}  // namespace ckv
