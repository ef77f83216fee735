#include "gen/generator.h"

#include <algorithm>

#include <torch/torch.h>

#include "base/error.h"
#include "gen/growing_rows.h"

namespace ckv {
namespace {

int64_t LengthOf(const GenerateRequest& request) {
  return static_cast<int64_t>(request.prompt.size());
}

int64_t LongestPrompt(const std::vector<GenerateRequest>& requests) {
  int64_t longest = 0;
  for (const GenerateRequest& request : requests) longest = std::max(longest, LengthOf(request));
  return longest;
}

// How many of `requests`, from `first` on, make one batch.
size_t TakeBatch(const std::vector<GenerateRequest>& requests, size_t first,
                 const GenerateOptions& options, const DecoderConfig& config) {
  const size_t left = requests.size() - first;
  const size_t most =
      options.max_rows == 0 ? left : std::min(left, static_cast<size_t>(options.max_rows));
  if (config.rope.scaling != "dynamic") return most;
  size_t count = 1;
  while (count < most && LengthOf(requests[first + count]) == LengthOf(requests[first])) ++count;
  return count;
}

RowStart StartOf(size_t index, const GenerateRequest& request, const GenerateOptions& options,
                 const DecoderConfig& config) {
  const int64_t wanted =
      request.max_new_tokens > 0 ? request.max_new_tokens : options.max_new_tokens;
  // The last token of all is chosen but never read, so it needs no position.
  const int64_t room = config.max_position_embeddings - LengthOf(request) + 1;
  return {index, &request, std::min(wanted, room),
          wanted <= room ? FinishReason::kMaxTokens : FinishReason::kContextFull};
}

// Continues requests [first, first + count) as one batch.
void GenerateBatch(Decoder& decoder, const std::vector<GenerateRequest>& requests, size_t first,
                   size_t count, const GenerateOptions& options, const GenerateHooks& hooks,
                   std::vector<Generation>* results) {
  const DecoderConfig& config = decoder->config();
  const auto begin = requests.begin() + static_cast<std::ptrdiff_t>(first);
  const std::vector<GenerateRequest> batch(begin, begin + static_cast<std::ptrdiff_t>(count));
  std::vector<RowStart> starts;
  int64_t most = 1;
  for (size_t row = 0; row < count; ++row) {
    starts.push_back(StartOf(first + row, batch[row], options, config));
    most = std::max(most, starts.back().max_tokens);
  }
  const at::Device device = decoder->head_weight().device();
  KvCache cache = decoder->NewCache(static_cast<int64_t>(count), LongestPrompt(batch) + most - 1);
  DecoderInput input = LeftPadded(batch);
  input.tokens = input.tokens.to(device);
  if (input.key_mask.defined()) input.key_mask = input.key_mask.to(device);
  const int64_t num_ids = options.num_ids > 0 ? options.num_ids : config.vocab_size;
  GrowingRows rows(options, hooks, num_ids, device, results);
  Tensor chosen = rows.Add(starts, NextLogits(decoder, input, &cache, num_ids));  // [B]
  while (!rows.done()) {
    if (const auto kept = rows.DropComplete()) {
      cache.SelectRows(*kept);
      chosen = chosen.index_select(0, at::tensor(*kept, at::kLong).to(device));
    }
    chosen = rows.Choose(NextLogits(decoder, {chosen.unsqueeze(1), {}, {}}, &cache, num_ids));
  }
}

}  // namespace

void CheckPrompt(const std::vector<int32_t>& prompt, const DecoderConfig& config) {
  if (prompt.empty()) throw ConfigError("prompt", "is empty; at least one token is needed");
  const auto length = static_cast<int64_t>(prompt.size());
  if (length > config.max_position_embeddings) {
    throw ConfigError("prompt", Str("has ", length, " tokens, but the model takes at most ",
                                    config.max_position_embeddings, " (max_position_embeddings)"));
  }
  for (const int32_t id : prompt) {
    if (id < 0 || id >= config.vocab_size) {
      throw ConfigError("prompt",
                        Str("token id ", id, " is outside the vocabulary of ", config.vocab_size));
    }
  }
}

void CheckGenerateOptions(const GenerateOptions& options, const DecoderConfig& config) {
  options.sampling.Check();
  if (options.max_new_tokens < 1) {
    throw ConfigError("--max-tokens", Str(options.max_new_tokens, ", but must be >= 1"));
  }
  if (options.top_log_probs < 0) {
    throw ConfigError("--logprobs", Str(options.top_log_probs, ", but must be >= 0"));
  }
  CKV_CHECK(options.num_ids >= 0 && options.num_ids <= config.vocab_size, options.num_ids,
            " ids of ", config.vocab_size);
  CKV_CHECK(options.max_rows >= 0, options.max_rows, " rows");
}

Tensor NextLogits(Decoder& decoder, const DecoderInput& input, KvCache* cache, int64_t num_ids) {
  DecoderRun run;
  run.cache = cache;
  const Tensor logits = decoder->Logits(decoder->Hidden(input, run).select(1, -1));
  return num_ids > 0 ? logits.narrow(1, 0, num_ids) : logits;
}

DecoderInput LeftPadded(const std::vector<GenerateRequest>& requests) {
  const auto batch = static_cast<int64_t>(requests.size());
  const int64_t length = LongestPrompt(requests);
  CKV_CHECK(length > 0, "no prompts");
  DecoderInput input;
  input.tokens = at::zeros({batch, length}, at::kLong);
  Tensor mask = at::zeros({batch, length}, at::kBool);
  bool padded = false;
  for (int64_t row = 0; row < batch; ++row) {
    const std::vector<int32_t>& prompt = requests[static_cast<size_t>(row)].prompt;
    const auto own = static_cast<int64_t>(prompt.size());
    CKV_CHECK(own > 0, "prompt ", row, " is empty");
    std::copy(prompt.begin(), prompt.end(),
              input.tokens.data_ptr<int64_t>() + (row + 1) * length - own);
    mask.select(0, row).narrow(0, length - own, own).fill_(true);
    padded = padded || own < length;
  }
  if (padded) input.key_mask = mask;
  return input;
}

std::vector<Generation> Generate(Decoder& decoder, const std::vector<GenerateRequest>& requests,
                                 const GenerateOptions& options, const GenerateHooks& hooks) {
  CheckGenerateOptions(options, decoder->config());
  for (const GenerateRequest& request : requests) CheckPrompt(request.prompt, decoder->config());
  at::NoGradGuard no_grad;
  decoder->eval();
  std::vector<Generation> results(requests.size());
  size_t count = 0;
  for (size_t first = 0; first < requests.size(); first += count) {
    count = TakeBatch(requests, first, options, decoder->config());
    GenerateBatch(decoder, requests, first, count, options, hooks, &results);
  }
  return results;
}

}  // namespace ckv
