// Running a sequence block by block: token by token, or in chunks.
#include <algorithm>

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include "base/error.h"
#include "model/decoder_call.h"

namespace ckv {
namespace {

// Tokens that each row has in columns [start, start + length); empty if all have all.
std::vector<int64_t> CountsWithin(const std::vector<int64_t>& counts, int64_t start,
                                  int64_t length) {
  std::vector<int64_t> within;
  bool all = true;
  for (const int64_t count : counts) {
    within.push_back(std::clamp<int64_t>(count - start, 0, length));
    all = all && within.back() == length;
  }
  return all ? std::vector<int64_t>() : within;
}

void AppendColumns(const std::vector<Tensor>& block, std::vector<std::vector<Tensor>>* all) {
  all->resize(block.size());
  for (size_t layer = 0; layer < block.size(); ++layer) (*all)[layer].push_back(block[layer]);
}

}  // namespace

// The part of the work that columns [start, start + length) are.
DecoderImpl::Work DecoderImpl::Block(const Work& work, int64_t start, int64_t length) {
  Work block = work;
  block.tokens = work.tokens.narrow(1, start, length);
  block.counts = CountsWithin(work.counts, start, length);
  if (work.segments.defined()) {
    block.segments = work.segments.narrow(1, start, length);
    block.key_segments = work.segments.narrow(1, 0, start + length);
  }
  block.tape_tokens = start;
  if (work.last_columns.defined()) {
    block.last_columns = (work.last_columns - start).clamp(0, length - 1);
  }
  if (work.wanted == WantedOutput::kLastPosition) {
    const auto ends_here = [&](int64_t count) { return count > start && count <= start + length; };
    const bool wanted = work.counts.empty()
                            ? ends_here(work.num_tokens())
                            : std::any_of(work.counts.begin(), work.counts.end(), ends_here);
    if (!wanted) block.wanted = WantedOutput::kNothing;
  }
  return block;
}

Tensor DecoderImpl::RunBlocks(Work work, const DecoderRun& run, int64_t block_tokens) {
  CKV_CHECK(run.checkpoint_layers == 0, "activation checkpointing needs the parallel order");
  const int64_t num_tokens = work.num_tokens();
  std::optional<KvCache> own_cache;
  std::optional<KvTape> own_tape;
  if (work.cache == nullptr && (at::GradMode::is_enabled() || work.segments.defined())) {
    work.tape = &own_tape.emplace(config_.sharing().num_layers());
  } else if (work.cache == nullptr) {
    work.cache = &own_cache.emplace(NewCache(work.tokens.size(0), num_tokens));
  }
  const bool only_last = work.wanted == WantedOutput::kLastPosition;
  std::vector<Tensor> parts;
  Tensor last;
  std::vector<std::vector<Tensor>> layer_outputs;  // [layer][block]
  std::vector<Tensor> of_block;
  DecoderRun block_run = run;
  if (run.layer_outputs != nullptr) block_run.layer_outputs = &of_block;
  for (int64_t start = 0; start < num_tokens; start += block_tokens) {
    const int64_t length = std::min(block_tokens, num_tokens - start);
    const Work block = Block(work, start, length);
    const Tensor hidden = length == 1 ? RunSinglePass(block, block_run)
                                      : RunPlan(block, PassesFor(length, block_run));
    if (run.layer_outputs != nullptr) AppendColumns(of_block, &layer_outputs);
    if (!only_last) {
      parts.push_back(hidden);
    } else if (block.wanted == WantedOutput::kLastPosition) {
      const bool first = !last.defined() || !work.last_columns.defined();
      last =
          first ? hidden : at::where((work.last_columns >= start).view({-1, 1, 1}), hidden, last);
    }
  }
  if (run.layer_outputs != nullptr) {
    run.layer_outputs->clear();
    for (const std::vector<Tensor>& columns : layer_outputs) {
      run.layer_outputs->push_back(at::cat(columns, 1));
    }
  }
  return only_last ? last : at::cat(parts, 1);
}

// No more passes than tokens: those are exact.
DecoderRun DecoderImpl::PassesFor(int64_t num_tokens, const DecoderRun& run) const {
  const int64_t forward = run.forward_passes.value_or(config_.forward_passes);
  const int64_t backward =
      std::max<int64_t>(run.backward_passes.value_or(config_.backward_passes), 1);
  DecoderRun fewer = run;
  fewer.backward_passes = 1;
  fewer.forward_passes = std::min(forward + backward, num_tokens) - 1;
  return fewer;
}

}  // namespace ckv
