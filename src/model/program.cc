#include "model/program.h"

#include <algorithm>

namespace ckv {
namespace {

void AddOnce(std::vector<size_t>& list, size_t slot) {
  if (std::find(list.begin(), list.end(), slot) == list.end()) list.push_back(slot);
}

}  // namespace

Program::Program(const KvSharingSpec& spec, const std::vector<PassStep>& steps)
    : slots_(spec.num_layers()) {
  for (const PassStep& step : steps) {
    ProgramOp op;
    op.group = step.group;
    op.pass = step.pass;
    op.grad = step.grad;
    op.last_pass = step.last;
    if (step.first && !step.last) {
      op.kind = ProgramOp::Kind::kEnterGroup;
      op.reads = {SlotMap::kHidden};
      op.writes = {SlotMap::kGroupInput};
      ops_.push_back(op);
    } else if (!step.first) {
      op.kind = ProgramOp::Kind::kRestart;
      op.reads = {SlotMap::kGroupInput};
      op.writes = {SlotMap::kHidden};
      ops_.push_back(op);
    }
    for (const LayerWork& work : step.guesses) AddGuess(step, work);
    for (const LayerWork& work : step.layers) AddLayer(spec, step, work);
  }
  FindDeadSlots();
}

void Program::AddGuess(const PassStep& step, const LayerWork& work) {
  ProgramOp op;
  op.kind = ProgramOp::Kind::kGuess;
  op.work = work;
  op.group = step.group;
  op.pass = step.pass;
  op.grad = step.grad;
  op.last_pass = false;  // the group's passes are to come
  op.reads = {SlotMap::kHidden};
  if (work.compute_k) op.writes.push_back(slots_.Keys(work.layer));
  if (work.compute_v) op.writes.push_back(slots_.Values(work.layer));
  ops_.push_back(op);
}

void Program::AddLayer(const KvSharingSpec& spec, const PassStep& step, const LayerWork& work) {
  ProgramOp op;
  op.work = work;
  op.group = step.group;
  op.pass = step.pass;
  op.grad = step.grad;
  op.last_pass = step.last;
  op.reads = {SlotMap::kHidden};
  if (work.compute_k) op.writes.push_back(slots_.Keys(work.layer));
  if (work.compute_v) op.writes.push_back(slots_.Values(work.layer));
  if (work.body) {
    // A slot written by the operation itself is not an input of it.
    if (work.attention) {
      const size_t keys = slots_.Keys(spec.k_source(work.layer));
      const size_t values = slots_.Values(spec.v_source(work.layer));
      for (const size_t slot : {keys, values}) {
        if (std::find(op.writes.begin(), op.writes.end(), slot) == op.writes.end()) {
          op.reads.push_back(slot);
        }
      }
    }
    op.writes.push_back(SlotMap::kHidden);
  }
  ops_.push_back(op);
}

void Program::FindDeadSlots() {
  std::vector<bool> needed(slots_.size(), false);
  needed[SlotMap::kHidden] = true;  // the result
  for (size_t i = ops_.size(); i-- > 0;) {
    ProgramOp& op = ops_[i];
    for (const std::vector<size_t>* list : {&op.reads, &op.writes}) {
      for (const size_t slot : *list) {
        if (!needed[slot]) AddOnce(op.dead, slot);
      }
    }
    for (const size_t slot : op.writes) needed[slot] = false;
    for (const size_t slot : op.reads) needed[slot] = true;
  }
}

std::vector<size_t> Program::Inputs(size_t begin, size_t end) const {
  std::vector<size_t> inputs;
  std::vector<bool> written(slots_.size(), false);
  for (size_t i = begin; i < end; ++i) {
    for (const size_t slot : ops_[i].reads) {
      if (!written[slot]) AddOnce(inputs, slot);
    }
    for (const size_t slot : ops_[i].writes) written[slot] = true;
  }
  return inputs;
}

std::vector<size_t> Program::Outputs(size_t begin, size_t end) const {
  std::vector<bool> alive(slots_.size(), false);
  for (size_t i = begin; i < end; ++i) {
    for (const size_t slot : ops_[i].writes) alive[slot] = true;
    for (const size_t slot : ops_[i].dead) alive[slot] = false;
  }
  std::vector<size_t> outputs;
  for (size_t slot = 0; slot < alive.size(); ++slot) {
    if (alive[slot]) outputs.push_back(slot);
  }
  return outputs;
}

size_t Program::LastRestart(size_t restart) const {
  size_t last = restart;
  while (ops_[last].kind != ProgramOp::Kind::kRestart || !ops_[last].last_pass) ++last;
  return last;
}

size_t Program::FirstGradRestart(size_t restart) const {
  size_t first = restart;
  while (ops_[first].kind != ProgramOp::Kind::kRestart || !ops_[first].grad) ++first;
  return first;
}

}  // namespace ckv
