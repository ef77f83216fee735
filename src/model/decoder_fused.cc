// A layer in few operations: norms with the residual sum before them, projections that share their
// input as one product, and passes without gradient that add to the residual stream in place.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include "base/error.h"
#include "model/decoder_call.h"
#include "nn/fused_linear.h"
#include "nn/fused_norm.h"
#include "nn/kernel_call.h"

namespace ckv {
namespace {

Tensor Rows(const Tensor& x) { return x.view({-1, x.size(-1)}); }

}  // namespace

void DecoderImpl::PackWeights() {
  for (int layer = 0; layer < static_cast<int>(config_.layers()); ++layer) {
    PackInMemory(Layer(layer).attention->InputWeights());
    PackInMemory(Layer(layer).mlp->InputWeights());
  }
}

bool DecoderImpl::Fuses(const DecoderRun& run) const {
  if (config_.attention_bias || config_.mlp_bias) return false;
  return run.fusing == DecoderRun::Fusing::kAlways ||
         (run.fusing == DecoderRun::Fusing::kAuto && HasKernels(model_->embed->weight));
}

Tensor DecoderImpl::OutputNorm(const Tensor& hidden, const DecoderRun& run) {
  RmsNorm& norm = model_->norm;
  if (!Fuses(run)) return norm(hidden);
  return AddRmsNorm(hidden, {}, norm->weight(), norm->epsilon()).normed;
}

void DecoderImpl::SettleHidden(Slots& slots) {
  Tensor& pending = slots[SlotMap::kPending];
  if (!pending.defined()) return;
  slots[SlotMap::kHidden] = slots[SlotMap::kHidden] + pending;
  pending.reset();
}

// The stream is slots[kHidden] + slots[kPending]: a block's output waits for the next norm, which
// adds it on its way.
void DecoderImpl::RunFusedLayer(const LayerWork& work, bool last_pass, const Call& call,
                                Slots& slots) const {
  const KvSharingSpec& spec = config_.sharing();
  DecoderLayerImpl& layer = Layer(work.layer);
  Tensor x = slots[SlotMap::kHidden];
  Tensor delta = slots[SlotMap::kPending];
  slots[SlotMap::kPending].reset();
  const auto norm = [&](const RmsNorm& by) {
    const NormedSum result = AddRmsNorm(x, delta, by->weight(), by->epsilon());
    x = result.sum;
    delta.reset();
    return result.normed;
  };
  // Nobody else reads the stream of such a pass, unless it is the group's input.
  const auto may_overwrite = [&] {
    return !at::GradMode::is_enabled() && !last_pass && !delta.defined() &&
           !x.is_same(slots[SlotMap::kGroupInput]);
  };
  const auto add_product = [&](const Tensor& input, const Tensor& weight) {
    if (may_overwrite()) {
      Rows(x).addmm_(Rows(input), weight.t());
    } else {
      CKV_CHECK(!delta.defined(), "a sum of two is pending");
      delta = at::linear(input, weight);
    }
  };

  const bool attends = work.body && work.attention;
  if (work.compute_k || work.compute_v || attends) {
    const SharedAttention& attention = layer.attention;
    const SharedAttentionImpl::Heads heads = attention->ProjectTogether(
        norm(layer.input_norm), call.rope, attends, work.compute_k, work.compute_v);
    if (work.compute_k) {
      slots[call.slots.Keys(work.layer)] = heads.keys;
      call.StageKeys(work.layer, heads.keys, last_pass);
    }
    if (work.compute_v) {
      slots[call.slots.Values(work.layer)] = heads.values;
      call.StageValues(work.layer, heads.values, last_pass);
    }
    if (attends) {
      const int k_source = spec.k_source(work.layer);
      const int v_source = spec.v_source(work.layer);
      const Visibility& visibility = call.Sees(k_source, config_.HidesOwnPosition(work.layer),
                                               config_.WindowOf(work.layer), /*last=*/false);
      const Tensor mixed = attention->Mix(heads.queries, call.Keys(k_source, slots),
                                          call.Values(v_source, slots), visibility);
      add_product(mixed, attention->output_weight());
    }
  }
  if (work.body) {
    const Tensor packed = PackedLinear(norm(layer.post_norm), layer.mlp->InputWeights());
    add_product(GatedUnit(packed, config_.hidden_act), layer.mlp->output_weight());
  }
  slots[SlotMap::kHidden] = x;
  slots[SlotMap::kPending] = delta;
}

}  // namespace ckv
