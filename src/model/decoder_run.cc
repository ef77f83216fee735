// How a decoder runs its layers: by the plan, in a single pass, and block by block.
#include <algorithm>
#include <set>

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include "base/error.h"
#include "model/decoder_call.h"
#include "nn/checkpoint.h"
#include "nn/phase_clock.h"

namespace ckv {

Tensor DecoderImpl::RunPlan(const Work& work, const DecoderRun& run) {
  CKV_CHECK(run.checkpoint_layers == 0 || (work.cache == nullptr && run.layer_outputs == nullptr),
            "activation checkpointing goes with neither a cache nor layer outputs");
  const IterationPlan plan(config_.sharing(), run.forward_passes.value_or(config_.forward_passes),
                           run.backward_passes.value_or(config_.backward_passes));
  PlanOptions options;
  options.exact_savings = run.exact_savings;
  options.empty_past = work.cache == nullptr || work.cache->past_empty();
  options.wanted = work.wanted;
  options.start = config_.Start();
  const Program program(config_.sharing(), plan.Steps(options));

  const std::shared_ptr<Call> call = Open(work);
  call->in_place = RunsInPlace(run);
  call->fused = !call->in_place && Fuses(run);
  Slots slots(program.slots().size());
  slots[SlotMap::kHidden] = model_->embed(work.tokens);
  if (run.layer_outputs != nullptr) {
    run.layer_outputs->assign(static_cast<size_t>(config_.layers()), Tensor());
  }
  RunProgram(program, plan, call, slots, run);
  SettleHidden(slots);
  if (work.cache != nullptr) work.cache->Commit();
  const bool all_ran = work.wanted == WantedOutput::kLastPosition && !run.exact_savings;
  return all_ran ? call->Last(slots[SlotMap::kHidden]) : slots[SlotMap::kHidden];
}

void DecoderImpl::RunProgram(const Program& program, const IterationPlan& plan,
                             const std::shared_ptr<Call>& call, Slots& slots,
                             const DecoderRun& run) const {
  const std::vector<ProgramOp>& ops = program.ops();
  std::vector<int64_t> passes;
  for (const LayerGroup& group : plan.groups()) passes.push_back(group.total());
  Slots before;  // those of one pass ago
  const double tolerance = run.tolerance.value_or(config_.pass_tolerance);
  const bool with_grad = at::GradMode::is_enabled();
  bool in_grad_pass = false;
  BeginPhase(Phase::kForward);
  size_t begin = 0;
  while (begin < ops.size()) {
    // Passes with gradient are all wanted.
    if (tolerance > 0.0 && ops[begin].kind == ProgramOp::Kind::kRestart &&
        !(with_grad && ops[begin].grad)) {
      const auto group = static_cast<size_t>(ops[begin].group);
      if (ops[begin].pass >= 2 &&
          Converged(plan.groups()[group], before, *call, slots, tolerance)) {
        const size_t next =
            with_grad ? program.FirstGradRestart(begin) : program.LastRestart(begin);
        passes[group] -= ops[next].pass - ops[begin].pass;
        begin = next;
      }
      before = slots;
    }
    if (ops[begin].grad != in_grad_pass) {
      in_grad_pass = ops[begin].grad;
      BeginPhase(in_grad_pass ? Phase::kForward : Phase::kNoGradForward);
    }
    // The group's input has a gradient, also where the first passes have none.
    if (ops[begin].kind == ProgramOp::Kind::kEnterGroup) SettleHidden(slots);
    if (ops[begin].grad) {
      begin = RunRecorded(program, begin, call, slots, run);
    } else {
      at::NoGradGuard no_grad;
      RunOps(program, begin, begin + 1, *call, slots);
      ++begin;
    }
  }
  if (run.passes_run == nullptr) return;
  for (size_t group = 0; group < passes.size(); ++group) {
    if (plan.groups()[group].iterative) run.passes_run->push_back(passes[group]);
  }
}

// Runs operations with gradient from `begin` on: one layer, or a segment to be computed again.
// Returns where they end.
size_t DecoderImpl::RunRecorded(const Program& program, size_t begin,
                                const std::shared_ptr<Call>& call, Slots& slots,
                                const DecoderRun& run) const {
  const std::vector<ProgramOp>& ops = program.ops();
  const bool checkpoint = run.checkpoint_layers > 0 && at::GradMode::is_enabled();
  const int64_t most = checkpoint ? run.checkpoint_layers : 1;
  size_t end = begin;
  int64_t layers = 0;
  while (end < ops.size() && ops[end].grad && layers < most) {
    layers += ops[end].kind == ProgramOp::Kind::kLayer ? 1 : 0;
    ++end;
  }
  if (checkpoint) {
    RunSegment(program, begin, end, call, slots);
  } else {
    RunOps(program, begin, end, *call, slots);
  }
  const ProgramOp& done = ops[end - 1];
  if (run.layer_outputs != nullptr && done.kind == ProgramOp::Kind::kLayer && done.last_pass) {
    SettleHidden(slots);
    (*run.layer_outputs)[static_cast<size_t>(done.work.layer)] = slots[SlotMap::kHidden];
  }
  return end;
}

bool DecoderImpl::Converged(const LayerGroup& group, const Slots& before, const Call& call,
                            const Slots& slots, double tolerance) const {
  const KvSharingSpec& spec = config_.sharing();
  std::set<size_t> looked_up;  // slots that a pass reads from the one before
  for (int reader = group.start; reader < group.stop; ++reader) {
    if (spec.k_source(reader) > reader) looked_up.insert(call.slots.Keys(spec.k_source(reader)));
    if (spec.v_source(reader) > reader) looked_up.insert(call.slots.Values(spec.v_source(reader)));
  }
  std::vector<Tensor> changes;
  for (const size_t slot : looked_up) {
    if (!slots[slot].defined()) continue;
    Tensor now = slots[slot].to(at::kDouble);
    Tensor change = now - before[slot].to(at::kDouble);
    if (call.column_mask.defined()) {
      now = now * call.column_mask;
      change = change * call.column_mask;
    }
    changes.push_back(at::linalg_vector_norm(change) /
                      at::linalg_vector_norm(now).clamp_min(1e-300));
  }
  return changes.empty() || at::stack(changes).max().item<double>() <= tolerance;
}

void DecoderImpl::RunOps(const Program& program, size_t begin, size_t end, const Call& call,
                         Slots& slots) const {
  for (size_t i = begin; i < end; ++i) {
    const ProgramOp& op = program.ops()[i];
    switch (op.kind) {
      case ProgramOp::Kind::kEnterGroup:
        SettleHidden(slots);
        slots[SlotMap::kGroupInput] =
            call.in_place ? slots[SlotMap::kHidden].clone() : slots[SlotMap::kHidden];
        break;
      case ProgramOp::Kind::kRestart:
        slots[SlotMap::kHidden] =
            call.in_place ? slots[SlotMap::kGroupInput].clone() : slots[SlotMap::kGroupInput];
        slots[SlotMap::kPending].reset();
        break;
      case ProgramOp::Kind::kGuess:
        RunGuess(op.work, call, slots);
        break;
      case ProgramOp::Kind::kLayer:
        if (call.in_place) {
          RunInPlaceLayer(op.work, op.last_pass, call, slots);
        } else {
          RunLayer(op.work, op.grad, op.last_pass, call, slots);
        }
        break;
    }
    for (const size_t slot : op.dead) slots[slot].reset();
  }
}

void DecoderImpl::RunSegment(const Program& program, size_t begin, size_t end,
                             const std::shared_ptr<Call>& call, Slots& slots) const {
  SettleHidden(slots);
  std::vector<size_t> in;
  for (const size_t slot : program.Inputs(begin, end)) {
    if (slots[slot].defined()) in.push_back(slot);  // an undefined one stands for zeros
  }
  const std::vector<size_t> out = program.Outputs(begin, end);
  std::vector<Tensor> inputs;
  for (const size_t slot : in) inputs.push_back(slots[slot]);
  // Each layer once: a segment may hold several passes of it.
  std::set<int> layers;
  for (size_t i = begin; i < end; ++i) {
    const ProgramOp& op = program.ops()[i];
    const bool computes = op.kind == ProgramOp::Kind::kLayer || op.kind == ProgramOp::Kind::kGuess;
    if (computes) layers.insert(op.work.layer);
  }
  std::vector<Tensor> parameters;
  for (const int layer : layers) {
    for (const Tensor& parameter : Layer(layer).parameters()) parameters.push_back(parameter);
  }
  // The program is copied: it must live until the backward step.
  const SegmentFn segment = [this, program, begin, end, call, in,
                             out](const std::vector<Tensor>& given) {
    Slots own(program.slots().size());
    for (size_t i = 0; i < in.size(); ++i) own[in[i]] = given[i];
    RunOps(program, begin, end, *call, own);
    SettleHidden(own);
    std::vector<Tensor> results;
    for (const size_t slot : out) results.push_back(own[slot]);
    return results;
  };
  const bool random =
      is_training() && (config_.attention_dropout > 0.0 || (has_lora() && lora_.dropout > 0.0));
  const std::vector<Tensor> results = RunCheckpointed(segment, inputs, parameters, random);
  for (size_t i = begin; i < end; ++i) {
    for (const size_t slot : program.ops()[i].dead) slots[slot].reset();
  }
  for (size_t i = 0; i < out.size(); ++i) slots[out[i]] = results[i];
}

void DecoderImpl::RunGuess(const LayerWork& work, const Call& call, Slots& slots) const {
  if (hooks_ != nullptr) hooks_->BeforeLayer(work.layer);
  SettleHidden(slots);
  DecoderLayerImpl& layer = Layer(work.layer);
  const Tensor normed = layer.input_norm(slots[SlotMap::kHidden]);
  if (work.compute_k) {
    const Tensor keys = layer.attention->Keys(normed, call.rope);
    slots[call.slots.Keys(work.layer)] = keys;
    call.StageKeys(work.layer, keys, /*last_pass=*/false);
  }
  if (work.compute_v) {
    const Tensor values = layer.attention->Values(normed);
    slots[call.slots.Values(work.layer)] = values;
    call.StageValues(work.layer, values, /*last_pass=*/false);
  }
}

void DecoderImpl::GivenOut(int layer, const Tensor& output) const {
  if (hooks_ != nullptr && output.defined() && output.requires_grad()) {
    hooks_->AfterLayer(layer, output);
  }
}

void DecoderImpl::RunLayer(const LayerWork& work, bool grad, bool last_pass, const Call& call,
                           Slots& slots) const {
  if (call.fused && !work.last_position) return RunFusedLayer(work, grad, last_pass, call, slots);
  SettleHidden(slots);
  DecoderLayerImpl& layer = Layer(work.layer);
  if (hooks_ != nullptr) hooks_->BeforeLayer(work.layer);
  Tensor x = slots[SlotMap::kHidden];
  Tensor normed;
  if (work.compute_k || work.compute_v || (work.body && work.attention)) {
    normed = layer.input_norm(x);
  }
  if (work.compute_k) {
    const Tensor& keys = slots[call.slots.Keys(work.layer)] =
        layer.attention->Keys(normed, call.rope);
    GivenOut(work.layer, keys);
    call.StageKeys(work.layer, keys, last_pass);
  }
  if (work.compute_v) {
    const Tensor& values = slots[call.slots.Values(work.layer)] = layer.attention->Values(normed);
    GivenOut(work.layer, values);
    call.StageValues(work.layer, values, last_pass);
  }
  if (!work.body) return;

  if (work.last_position && x.size(1) > 1) {
    x = call.Last(x);
    if (normed.defined()) normed = call.Last(normed);
  }
  if (work.attention) {
    x = x + Attend(work, normed, call, slots);
  } else if (layer.attention->OutputBias().defined()) {
    x = x + layer.attention->OutputBias();
  }
  slots[SlotMap::kHidden] = x + layer.mlp(layer.post_norm(x));
  GivenOut(work.layer, slots[SlotMap::kHidden]);
}

Tensor DecoderImpl::Attend(const LayerWork& work, const Tensor& normed, const Call& call,
                           const Slots& slots) const {
  const KvSharingSpec& spec = config_.sharing();
  SharedAttention& attention = Layer(work.layer).attention;
  const int k_source = spec.k_source(work.layer);
  const int v_source = spec.v_source(work.layer);
  const bool strict = config_.HidesOwnPosition(work.layer);
  const std::optional<int64_t> window = config_.WindowOf(work.layer);
  if (call.step()) {
    return attention->AttendStep(normed, call.cache->KeySlots(k_source),
                                 call.cache->ValueSlots(v_source), call.rope,
                                 call.cache->Span(k_source, strict, window));
  }
  const bool last = work.last_position;
  return attention->Attend(normed, call.Keys(k_source, slots), call.Values(v_source, slots),
                           last ? call.last_rope : call.rope,
                           call.Sees(k_source, strict, window, last));
}

Tensor DecoderImpl::RunSinglePass(const Work& work, const DecoderRun& run) {
  const std::shared_ptr<Call> call = Open(work);
  const KvSharingSpec& spec = config_.sharing();
  Slots slots(call->slots.size());
  slots[SlotMap::kHidden] = model_->embed(work.tokens);
  if (run.layer_outputs != nullptr) run.layer_outputs->clear();
  // Nobody waits for what lies above the topmost owner unless the output is wanted.
  const bool output = work.wanted != WantedOutput::kNothing || !run.exact_savings;
  const int top_owner = spec.kv_layers().back();
  const int end = output ? spec.num_layers() : top_owner + 1;
  for (int layer = 0; layer < end; ++layer) {
    LayerWork of_layer;
    of_layer.layer = layer;
    of_layer.compute_k = spec.computes_k(layer);
    of_layer.compute_v = spec.computes_v(layer);
    of_layer.body = output || layer < top_owner;
    RunLayer(of_layer, /*grad=*/true, /*last_pass=*/true, *call, slots);
    if (run.layer_outputs != nullptr) run.layer_outputs->push_back(slots[SlotMap::kHidden]);
  }
  if (work.cache != nullptr) work.cache->Commit();
  if (work.tape != nullptr) work.tape->Commit();
  return slots[SlotMap::kHidden];
}

}  // namespace ckv
