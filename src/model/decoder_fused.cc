// A layer in few operations: norms with the residual sum before them, projections that share their
// input as one product, and passes without gradient that add to the residual stream in place.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include "base/error.h"
#include "model/decoder_call.h"
#include "nn/fp8.h"
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

const Fp8Rows& DecoderImpl::Call::InFp8(const std::vector<Tensor>& weights) const {
  int64_t rows = 0;
  for (const Tensor& weight : weights) rows += weight.size(0);
  Fp8Rows& found = fp8_weights_[{weights.front().data_ptr(), rows}];
  if (!found.values.defined()) found = QuantizeRows(JoinedWeights(weights));
  return found;
}

const Tensor& DecoderImpl::Call::WithoutLast(size_t slot, const Tensor& x) const {
  Shortened& found = without_last_[slot];
  // One made without gradient is of no use to a pass with.
  const bool with_grad = at::GradMode::is_enabled() && x.requires_grad();
  if (!found.from.is_same(x) || found.to.requires_grad() != with_grad) {
    found = {x, x.narrow(2, 0, x.size(2) - 1)};
  }
  return found.to;
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
  const bool low = config_.fp8_passes && !at::GradMode::is_enabled() && !last_pass;
  const auto in_fp8 = [&](const Tensor& input, const std::vector<Tensor>& weights) {
    return low && HasFp8Products(input, weights.front());
  };
  const auto product = [&](const Tensor& input, const std::vector<Tensor>& weights) {
    if (!in_fp8(input, weights)) return PackedLinear(input, weights);
    return ScaledProduct(QuantizeRows(Rows(input)), call.InFp8(weights), input.scalar_type())
        .view({input.size(0), input.size(1), -1});
  };
  const auto add_product = [&](const Tensor& input, const Tensor& weight) {
    if (in_fp8(input, {weight})) {
      CKV_CHECK(!delta.defined(), "a sum of two is pending");
      delta = product(input, {weight});
    } else if (may_overwrite()) {
      Rows(x).addmm_(Rows(input), weight.t());
    } else {
      CKV_CHECK(!delta.defined(), "a sum of two is pending");
      delta = at::linear(input, weight);
    }
  };
  // The same for an input that lacks the first position.
  const auto add_behind_first = [&](const Tensor& input, const Tensor& weight) {
    const int64_t rows = input.size(0);
    if (!in_fp8(input, {weight}) && may_overwrite()) {
      x.narrow(1, 1, input.size(1)).baddbmm_(input, weight.t().unsqueeze(0).expand({rows, -1, -1}));
    } else {
      CKV_CHECK(!delta.defined(), "a sum of two is pending");
      const Tensor nothing = at::zeros({rows, 1, weight.size(0)}, x.options());
      delta = at::cat({nothing, product(input, {weight})}, 1);
    }
  };

  const bool attends = work.body && work.attention;
  const int k_source = spec.k_source(work.layer);
  const int v_source = spec.v_source(work.layer);
  const Visibility* visibility = nullptr;
  if (attends) {
    visibility = &call.Sees(k_source, config_.HidesOwnPosition(work.layer),
                            config_.WindowOf(work.layer), /*last=*/false);
  }
  // Where the own position is hidden, the queries but the first over the keys but the last are
  // plain causal attention; the first query gets nothing.
  const bool shifted = attends && visibility->strict() && visibility->only_order() &&
                       visibility->past() == 0 && call.num_tokens > 1 &&
                       config_.attention_kernel == "sdpa";
  if (work.compute_k || work.compute_v || attends) {
    const SharedAttention& attention = layer.attention;
    const Tensor normed = norm(layer.input_norm);
    std::vector<HeadProjection> projections =
        attention->Projections(attends, work.compute_k, work.compute_v);
    if (shifted) projections.front().skip = 1;
    std::vector<Tensor> weights;
    for (const HeadProjection& projection : projections) weights.push_back(projection.weight);
    const int64_t head_dim = config_.head_width();
    const std::vector<Tensor> heads =
        in_fp8(normed, weights)
            ? RotateProduct(product(normed, weights), projections, head_dim, call.rope)
            : ProjectHeads(normed, projections, head_dim, call.rope);
    size_t next = attends ? 1 : 0;
    if (work.compute_k) {
      const Tensor& keys = slots[call.slots.Keys(work.layer)] = heads[next++];
      call.StageKeys(work.layer, keys, last_pass);
    }
    if (work.compute_v) {
      const Tensor& values = slots[call.slots.Values(work.layer)] = heads[next++];
      call.StageValues(work.layer, values, last_pass);
    }
    if (shifted) {
      const Tensor mixed = attention->MixCausal(
          heads.front(), call.WithoutLast(call.slots.Keys(k_source), call.Keys(k_source, slots)),
          call.WithoutLast(call.slots.Values(v_source), call.Values(v_source, slots)));
      add_behind_first(mixed, attention->output_weight());
    } else if (attends) {
      add_product(attention->Mix(heads.front(), call.Keys(k_source, slots),
                                 call.Values(v_source, slots), *visibility),
                  attention->output_weight());
    }
  }
  if (work.body) {
    const Tensor packed = product(norm(layer.post_norm), layer.mlp->InputWeights());
    add_product(GatedUnit(packed, config_.hidden_act), layer.mlp->output_weight());
  }
  slots[SlotMap::kHidden] = x;
  slots[SlotMap::kPending] = delta;
}

}  // namespace ckv
