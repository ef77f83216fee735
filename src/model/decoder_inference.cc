// A prompt's layers for inference: packed products, and hidden states that change in place.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include "model/decoder_call.h"
#include "nn/joined.h"
#include "nn/prefill_ops.h"

namespace ckv {

void DecoderImpl::PackProjections() {
  const auto parameters = named_parameters();
  for (int layer = 0; layer < config_.sharing().num_layers(); ++layer) {
    const std::string prefix = Str("model.layers.", layer, ".");
    const auto join = [&](const std::vector<std::string>& names, const char* kind) {
      std::vector<Tensor> parts;
      for (const std::string& name : names) {
        const Tensor* part = parameters.find(prefix + name + kind);
        if (part != nullptr) parts.push_back(*part);
      }
      JoinInPlace(parts);
    };
    for (const char* kind : {".weight", ".bias"}) {
      join({"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"}, kind);
      join({"mlp.gate_proj", "mlp.up_proj"}, kind);
    }
  }
}

bool DecoderImpl::RunsInPlace(const DecoderRun& run) const {
  if (at::GradMode::is_enabled() || run.layer_outputs != nullptr || hooks_ != nullptr ||
      has_lora() || config_.fp8_passes) {
    return false;
  }
  return run.fusing == DecoderRun::Fusing::kAlways ||
         (run.fusing == DecoderRun::Fusing::kAuto &&
          HasPrefillKernels(model_->embed->weight, config_.hidden_size, config_.intermediate_size,
                            config_.head_width()));
}

void DecoderImpl::RunInPlaceLayer(const LayerWork& work, bool last_pass, const Call& call,
                                  Slots& slots) const {
  DecoderLayerImpl& layer = Layer(work.layer);
  Tensor x = slots[SlotMap::kHidden];
  const bool last = work.last_position && x.size(1) > 1;
  const bool attends = work.body && work.attention;
  // Layers above one that has taken the last position get no other.
  const RopeTable& rope = x.size(1) == call.num_tokens ? call.rope : call.last_rope;
  Tensor keys, values, queries, normed;
  if (work.compute_k || work.compute_v || attends) normed = layer.input_norm->Inference(x);
  if (work.compute_k) keys = call.KeyTarget(work.layer, last_pass);
  if (work.compute_v) values = call.ValueTarget(work.layer, last_pass);
  if (work.compute_k || work.compute_v || (attends && !last)) {
    queries = layer.attention->Project(normed, rope, attends && !last, keys, values);
  }
  if (work.compute_k) {
    slots[call.slots.Keys(work.layer)] = keys;
    call.StageKeys(work.layer, keys, last_pass);
  }
  if (work.compute_v) {
    slots[call.slots.Values(work.layer)] = values;
    call.StageValues(work.layer, values, last_pass);
  }
  if (!work.body) return;

  if (last) {
    x = call.Last(x).clone(at::MemoryFormat::Contiguous);
    if (attends)
      queries = layer.attention->Project(call.Last(normed), call.last_rope, true, {}, {});
  }
  Tensor stream = x.view({-1, x.size(2)});
  if (attends) {
    const KvSharingSpec& spec = config_.sharing();
    const int k_source = spec.k_source(work.layer);
    const Visibility& sees = call.Sees(k_source, config_.HidesOwnPosition(work.layer),
                                       config_.WindowOf(work.layer), work.last_position);
    layer.attention->AttendInto(queries, call.Keys(k_source, slots),
                                call.Values(spec.v_source(work.layer), slots), sees, stream);
  } else if (layer.attention->OutputBias().defined()) {
    stream.add_(layer.attention->OutputBias());
  }
  layer.mlp->AddTo(layer.post_norm->Inference(stream), stream);
  slots[SlotMap::kHidden] = x;
}

}  // namespace ckv
