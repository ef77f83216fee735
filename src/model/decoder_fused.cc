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

const Fp8Rows& DecoderImpl::Call::InFp8(const std::vector<Tensor>& weights) const {
  int64_t rows = 0;
  for (const Tensor& weight : weights) rows += weight.size(0);
  Fp8Rows& found = fp8_weights_[{weights.front().unsafeGetTensorImpl(), rows}];
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
  if (config_.attention_bias || config_.mlp_bias || has_lora()) return false;
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

// The residual stream within a layer, and the products that read it and add to it.
class DecoderImpl::FusedStream {
 public:
  FusedStream(const Call& call, Slots& slots, bool without_grad, bool fp8)
      : call_(call),
        group_input_(slots[SlotMap::kGroupInput]),
        without_grad_(without_grad),
        fp8_(fp8 && without_grad),
        x_(slots[SlotMap::kHidden]),
        delta_(slots[SlotMap::kPending]) {}

  // The norm of the stream.
  Tensor Norm(const RmsNorm& by) {
    const NormedSum result = AddRmsNorm(x_, delta_, by->weight(), by->epsilon());
    x_ = result.sum;
    delta_.reset();
    return result.normed;
  }

  bool InFp8(const Tensor& input, const std::vector<Tensor>& weights) const {
    return fp8_ && HasFp8Products(input, weights.front());
  }

  Tensor Product(const Tensor& input, const std::vector<Tensor>& weights) const {
    if (!InFp8(input, weights)) return PackedLinear(input, weights);
    return ScaledProduct(QuantizeRows(Rows(input)), call_.InFp8(weights), input.scalar_type())
        .view({input.size(0), input.size(1), -1});
  }

  // Stream += input weight^T.
  void Add(const Tensor& input, const Tensor& weight) {
    if (!InFp8(input, {weight}) && MayOverwrite()) {
      Rows(x_).addmm_(Rows(input), weight.t());
    } else {
      SetDelta(Product(input, {weight}));
    }
  }

  // The same for an input that lacks the first position, which gets nothing.
  void AddBehindFirst(const Tensor& input, const Tensor& weight) {
    const int64_t rows = input.size(0);
    if (!InFp8(input, {weight}) && MayOverwrite()) {
      x_.narrow(1, 1, input.size(1))
          .baddbmm_(input, weight.t().unsqueeze(0).expand({rows, -1, -1}));
    } else {
      const Tensor nothing =
          at::zeros({rows, 1, weight.size(0)}, x_.options().requires_grad(false));
      SetDelta(at::cat({nothing, Product(input, {weight})}, 1));
    }
  }

  void Leave(Slots& slots) const {
    slots[SlotMap::kHidden] = x_;
    slots[SlotMap::kPending] = delta_;
  }

 private:
  // Nobody else reads the stream of a pass that the plan runs without gradient, unless it is the
  // group's input. A pass with gradient may run without one too, to be run again.
  bool MayOverwrite() const {
    return without_grad_ && !delta_.defined() && !x_.is_same(group_input_);
  }
  void SetDelta(const Tensor& delta) {
    CKV_CHECK(!delta_.defined(), "a sum of two is pending");
    delta_ = delta;
  }

  const Call& call_;
  const Tensor group_input_;
  const bool without_grad_;
  const bool fp8_;
  Tensor x_;
  Tensor delta_;  // what the next norm adds to x_; undefined = nothing
};

void DecoderImpl::RunFusedLayer(const LayerWork& work, bool grad, bool last_pass, const Call& call,
                                Slots& slots) const {
  if (hooks_ != nullptr) hooks_->BeforeLayer(work.layer);
  DecoderLayerImpl& layer = Layer(work.layer);
  const Tensor before = slots[SlotMap::kHidden];
  FusedStream stream(call, slots, /*without_grad=*/!grad, config_.fp8_passes);
  if (work.compute_k || work.compute_v || (work.body && work.attention)) {
    FusedAttention(work, last_pass, call, slots, stream);
  }
  if (work.body) {
    const Tensor packed = stream.Product(stream.Norm(layer.post_norm), layer.mlp->InputWeights());
    stream.Add(GatedUnit(packed, config_.hidden_act), layer.mlp->output_weight());
  }
  stream.Leave(slots);
  // A layer that does not attend leaves what it was given, which is not its own.
  if (!slots[SlotMap::kHidden].is_same(before)) GivenOut(work.layer, slots[SlotMap::kHidden]);
  GivenOut(work.layer, slots[SlotMap::kPending]);
}

void DecoderImpl::FusedAttention(const LayerWork& work, bool last_pass, const Call& call,
                                 Slots& slots, FusedStream& stream) const {
  const KvSharingSpec& spec = config_.sharing();
  DecoderLayerImpl& layer = Layer(work.layer);
  const SharedAttention& attention = layer.attention;
  const bool attends = work.body && work.attention;
  const int k_source = spec.k_source(work.layer);
  const int v_source = spec.v_source(work.layer);
  const Visibility* visibility = nullptr;
  if (attends) {
    visibility = &call.Sees(k_source, config_.HidesOwnPosition(work.layer),
                            config_.WindowOf(work.layer), /*last=*/false);
  }
  // Where the own position is hidden, the queries but the first over the keys but the last are
  // plain causal attention.
  const bool shifted = attends && visibility->strict() && visibility->only_order() &&
                       visibility->past() == 0 && call.num_tokens > 1 &&
                       config_.attention_kernel == "sdpa";

  const Tensor normed = stream.Norm(layer.input_norm);
  std::vector<HeadProjection> projections =
      attention->Projections(attends, work.compute_k, work.compute_v);
  if (shifted) projections.front().skip = 1;
  std::vector<Tensor> weights;
  for (const HeadProjection& projection : projections) weights.push_back(projection.weight);
  const int64_t head_dim = config_.head_width();
  const std::vector<Tensor> heads =
      stream.InFp8(normed, weights)
          ? RotateProduct(stream.Product(normed, weights), projections, head_dim, call.rope)
          : ProjectHeads(normed, projections, head_dim, call.rope);
  size_t next = attends ? 1 : 0;
  if (work.compute_k) {
    const Tensor& keys = slots[call.slots.Keys(work.layer)] = heads[next++];
    GivenOut(work.layer, keys);
    call.StageKeys(work.layer, keys, last_pass);
  }
  if (work.compute_v) {
    const Tensor& values = slots[call.slots.Values(work.layer)] = heads[next++];
    GivenOut(work.layer, values);
    call.StageValues(work.layer, values, last_pass);
  }
  if (!attends) return;
  const Tensor keys = call.Keys(k_source, slots);
  const Tensor values = call.Values(v_source, slots);
  if (shifted) {
    stream.AddBehindFirst(
        attention->MixCausal(heads.front(), call.WithoutLast(call.slots.Keys(k_source), keys),
                             call.WithoutLast(call.slots.Values(v_source), values)),
        attention->output_weight());
  } else {
    stream.Add(attention->Mix(heads.front(), keys, values, *visibility),
               attention->output_weight());
  }
}

}  // namespace ckv
