#include "gen/generator.h"

#include <algorithm>
#include <numeric>
#include <optional>
#include <utility>

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

RowStart StartOf(size_t index, const GenerateRequest& request, const GenerateOptions& options,
                 const DecoderConfig& config) {
  const int64_t wanted =
      request.max_new_tokens > 0 ? request.max_new_tokens : options.max_new_tokens;
  // The last token of all is chosen but never read, so it needs no position.
  const int64_t room = config.max_position_embeddings - LengthOf(request) + 1;
  return {index, &request, std::min(wanted, room),
          wanted <= room ? FinishReason::kMaxTokens : FinishReason::kContextFull};
}

std::vector<int64_t> FirstPlaces(size_t count) {
  std::vector<int64_t> places(count);
  std::iota(places.begin(), places.end(), 0);
  return places;
}

// Continues all requests in a batch of at most `max_rows`, in their order: prompts that wait take
// the places of rows that are complete.
class BatchLoop {
 public:
  BatchLoop(Decoder& decoder, const std::vector<GenerateRequest>& requests,
            const GenerateOptions& options, const GenerateHooks& hooks)
      : decoder_(decoder),
        requests_(requests),
        options_(options),
        device_(decoder->head_weight().device()),
        num_ids_(options.num_ids > 0 ? options.num_ids : decoder->config().vocab_size),
        equal_lengths_(decoder->config().rope.scaling == "dynamic"),
        results_(requests.size()),
        rows_(options, hooks, num_ids_, device_, &results_) {
    for (size_t i = 0; i < requests.size(); ++i) {
      starts_.push_back(StartOf(i, requests[i], options, decoder->config()));
    }
  }

  std::vector<Generation> Run() {
    while (true) {
      while (TakeIn()) {
      }
      if (rows_.done()) return std::move(results_);
      if (waiting() == 0 || equal_lengths_) DropComplete();
      const DecoderInput step = {tokens_.unsqueeze(1), {}, {}};
      tokens_ = rows_.Choose(NextLogits(decoder_, step, &*cache_, {}, num_ids_));
    }
  }

 private:
  size_t waiting() const { return requests_.size() - next_; }

  // A complete row still takes part in steps; it must not run past the end of the cache.
  bool CacheIsFull() const { return cache_->length() == cache_->max_tokens(); }

  // Begins prompts that wait where rows are complete; false if there is nothing to do. Not for
  // every row alone, for several prompts at once cost less than one after another.
  bool TakeIn() {
    if (waiting() == 0) return false;
    if (rows_.done()) {
      StartBatch();
      return true;
    }
    std::vector<int64_t> places = rows_.CompletePlaces();
    if (equal_lengths_ || places.empty()) return false;
    if (places.size() * 8 < rows_.size() && !CacheIsFull()) return false;
    places.resize(std::min(places.size(), waiting()));
    int64_t longest = 1;
    for (size_t i = 0; i < places.size(); ++i) {
      longest = std::max(longest, LengthOf(requests_[next_ + i]));
    }
    std::optional<KvCache> fresh;
    const Tensor chosen = Begin(places, longest, &fresh);
    cache_->ReplaceRows(places, *fresh, FirstPlaces(places.size()));
    tokens_.index_copy_(0, at::tensor(places, at::kLong).to(device_), chosen);
    return true;
  }

  // Begins as many prompts as may go together, in a new cache.
  void StartBatch() {
    rows_.DropComplete(/*at_once=*/true);
    const size_t count = BatchSize();
    // Rows that come later must fit too.
    const size_t last = equal_lengths_ ? next_ + count : requests_.size();
    int64_t capacity = 1;
    for (size_t i = next_; i < last; ++i) {
      capacity = std::max(capacity, LengthOf(requests_[i]) + starts_[i].max_tokens - 1);
    }
    cache_.reset();  // before its successor takes memory
    tokens_ = Begin(FirstPlaces(count), capacity, &cache_);
  }

  size_t BatchSize() const {
    const size_t most = options_.max_rows == 0
                            ? waiting()
                            : std::min(waiting(), static_cast<size_t>(options_.max_rows));
    if (!equal_lengths_) return most;
    size_t count = 1;
    while (count < most && LengthOf(requests_[next_ + count]) == LengthOf(requests_[next_])) {
      ++count;
    }
    return count;
  }

  // Runs the next prompts, one for each place, into a new cache for rows of `capacity` tokens, and
  // chooses their first tokens, [N]. Equal neighbours, samples of one prompt, are run once.
  Tensor Begin(const std::vector<int64_t>& places, int64_t capacity,
               std::optional<KvCache>* cache) {
    std::vector<GenerateRequest> prompts;
    std::vector<int64_t> row_of;  // of each place
    std::vector<RowStart> starts;
    for (size_t i = 0; i < places.size(); ++i, ++next_) {
      const GenerateRequest& request = requests_[next_];
      if (prompts.empty() || prompts.back().prompt != request.prompt) prompts.push_back(request);
      row_of.push_back(static_cast<int64_t>(prompts.size()) - 1);
      starts.push_back(starts_[next_]);
    }
    DecoderInput input = LeftPadded(prompts);
    input.tokens = input.tokens.to(device_);
    if (input.key_mask.defined()) input.key_mask = input.key_mask.to(device_);
    cache->emplace(decoder_->NewCache(static_cast<int64_t>(prompts.size()), capacity));
    Tensor logits = NextLogits(decoder_, input, &**cache, options_.prefill, num_ids_);
    if (prompts.size() < places.size()) {
      (*cache)->SelectRows(row_of);
      logits = logits.index_select(0, at::tensor(row_of, at::kLong).to(device_));
    }
    return rows_.Put(places, starts, logits);
  }

  void DropComplete() {
    const auto kept = rows_.DropComplete(CacheIsFull());
    if (!kept.has_value()) return;
    cache_->SelectRows(*kept);
    tokens_ = tokens_.index_select(0, at::tensor(*kept, at::kLong).to(device_));
  }

  Decoder& decoder_;
  const std::vector<GenerateRequest>& requests_;
  const GenerateOptions& options_;
  at::Device device_;
  int64_t num_ids_;
  bool equal_lengths_;  // of rows in one batch: "dynamic" RoPE scaling follows the longest
  std::vector<RowStart> starts_;
  std::vector<Generation> results_;
  GrowingRows rows_;
  std::optional<KvCache> cache_;
  Tensor tokens_;    // [B] chosen last, not fed yet
  size_t next_ = 0;  // request that waits
};

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
  CKV_CHECK(options.prefill.cache == nullptr, "a cache for prompts");
  CKV_CHECK(options.num_ids >= 0 && options.num_ids <= config.vocab_size, options.num_ids,
            " ids of ", config.vocab_size);
  CKV_CHECK(options.max_rows >= 0, options.max_rows, " rows");
}

Tensor NextLogits(Decoder& decoder, const DecoderInput& input, KvCache* cache, DecoderRun run,
                  int64_t num_ids) {
  run.cache = cache;
  run.last_only = true;
  return decoder->Logits(decoder->Hidden(input, run).squeeze(1)).narrow(1, 0, num_ids);
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
  return BatchLoop(decoder, requests, options, hooks).Run();
}

}  // namespace ckv
