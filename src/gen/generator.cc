#include "gen/generator.h"

#include <algorithm>
#include <numeric>
#include <optional>
#include <utility>

#include <torch/torch.h>

#include "base/error.h"
#include "gen/cached_steps.h"
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
//
// With the engine the cache has room for all rows from the beginning, and stays: rows that are
// complete leave empty places at its end. A step is queued before what the one before has chosen is
// known; so rows change only when no step is on its way.
class BatchLoop {
 public:
  BatchLoop(Decoder& decoder, const std::vector<GenerateRequest>& requests,
            const GenerateOptions& options, const GenerateHooks& hooks)
      : decoder_(decoder),
        requests_(requests),
        options_(options),
        device_(decoder->head_weight().device()),
        num_ids_(options.num_ids > 0 ? options.num_ids : decoder->config().vocab_size),
        max_rows_(options.max_rows == 0
                      ? requests.size()
                      : std::min(requests.size(), static_cast<size_t>(options.max_rows))),
        equal_lengths_(decoder->config().rope.scaling == "dynamic"),
        with_engine_(CachedSteps::Serve(decoder, options)),
        engine_chooses_(CachedSteps::CanChoose(options, hooks)),
        state_(
            NewChoiceState(options.sampling, static_cast<int64_t>(max_rows_), num_ids_, device_)),
        results_(requests.size()),
        rows_(options, hooks, state_, &results_) {
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
      if (with_engine_ && engine_chooses_) {
        StepAhead();
      } else {
        tokens_ = rows_.Choose(StepLogits());
      }
    }
  }

 private:
  size_t waiting() const { return requests_.size() - next_; }

  // A complete row still takes part in steps; it must not run past the end of the cache.
  bool CacheIsFull() const { return cache_->length() == cache_->max_tokens(); }

  Tensor StepLogits() {
    if (with_engine_) return steps_->Logits(tokens_);
    return NextLogits(decoder_, {tokens_.unsqueeze(1), {}, {}}, &*cache_, {}, num_ids_);
  }

  // Steps whose tokens the engine chooses, until rows should change.
  void StepAhead() {
    steps_->Start(tokens_);
    bool goes_on = true;
    while (true) {
      goes_on = goes_on && !rows_.done() && !rows_.many_complete();
      if (goes_on) steps_->Fill();
      if (steps_->in_flight() == 0) break;
      const DecodeChoice choice = steps_->Collect();
      rows_.Accept(choice.ids, choice.log_probs);
    }
    tokens_ = steps_->Release();
  }

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
    if (!rows_.many_complete() && !CacheIsFull()) return false;
    places.resize(std::min(places.size(), waiting()));
    const Tensor chosen = BeginBeside(places);
    tokens_.index_copy_(0, at::tensor(places, at::kLong).to(device_), chosen);
    return true;
  }

  // Begins as many prompts as may go together in a cache without other rows.
  void StartBatch() {
    rows_.DropComplete(/*at_once=*/true);
    const std::vector<int64_t> places = FirstPlaces(BatchSize());
    if (with_engine_ && steps_.has_value()) {
      cache_->Clear();
      tokens_ = BeginBeside(places);
      return;
    }
    // Rows that come later must fit too.
    const size_t last = equal_lengths_ ? next_ + places.size() : requests_.size();
    int64_t capacity = 1;
    for (size_t i = next_; i < last; ++i) {
      capacity = std::max(capacity, LengthOf(requests_[i]) + starts_[i].max_tokens - 1);
    }
    cache_.reset();  // before its successor takes memory
    const Fresh fresh = TakeRequests(places.size());
    cache_.emplace(decoder_->NewCache(static_cast<int64_t>(fresh.prompts.size()), capacity));
    const Tensor logits = RunPrompts(fresh, *cache_);
    if (fresh.prompts.size() < places.size()) cache_->SelectRows(fresh.row_of);
    tokens_ = rows_.Put(places, fresh.starts, logits);
    if (!with_engine_) return;
    DecodeEngineOptions options;
    options.sampling = options_.sampling;
    options.num_ids = num_ids_;
    options.choose = engine_chooses_;
    if (engine_chooses_) options.state = state_;
    steps_.emplace(decoder_, *cache_, options);
  }

  size_t BatchSize() const {
    const size_t most = std::min(waiting(), max_rows_);
    if (!equal_lengths_) return most;
    size_t count = 1;
    while (count < most && LengthOf(requests_[next_ + count]) == LengthOf(requests_[next_])) {
      ++count;
    }
    return count;
  }

  // Requests that begin together. Equal neighbours, samples of one prompt, are run once.
  struct Fresh {
    std::vector<GenerateRequest> prompts;
    std::vector<int64_t> row_of;  // the prompt of each request
    std::vector<RowStart> starts;
  };

  Fresh TakeRequests(size_t count) {
    Fresh fresh;
    for (size_t i = 0; i < count; ++i, ++next_) {
      const GenerateRequest& request = requests_[next_];
      if (fresh.prompts.empty() || fresh.prompts.back().prompt != request.prompt) {
        fresh.prompts.push_back(request);
      }
      fresh.row_of.push_back(static_cast<int64_t>(fresh.prompts.size()) - 1);
      fresh.starts.push_back(starts_[next_]);
    }
    return fresh;
  }

  // Runs prompts into a cache of a row each; logits [N, num_ids] of the N requests.
  Tensor RunPrompts(const Fresh& fresh, KvCache& cache) {
    DecoderInput input = LeftPadded(fresh.prompts);
    input.tokens = input.tokens.to(device_);
    if (input.key_mask.defined()) input.key_mask = input.key_mask.to(device_);
    const Tensor logits = NextLogits(decoder_, input, &cache, options_.prefill, num_ids_);
    if (fresh.prompts.size() == fresh.row_of.size()) return logits;
    return logits.index_select(0, at::tensor(fresh.row_of, at::kLong).to(device_));
  }

  // Runs the next prompts, one for each place, beside the rows that the cache has, and chooses
  // their first tokens, [N].
  Tensor BeginBeside(const std::vector<int64_t>& places) {
    const Fresh fresh = TakeRequests(places.size());
    const auto count = static_cast<int64_t>(fresh.prompts.size());
    KvCache own = decoder_->NewCache(count, LongestPrompt(fresh.prompts));
    const Tensor logits = RunPrompts(fresh, own);
    cache_->ReplaceRows(places, own, fresh.row_of);
    return rows_.Put(places, fresh.starts, logits);
  }

  void DropComplete() {
    const auto kept = rows_.DropComplete(CacheIsFull());
    if (!kept.has_value()) return;
    if (with_engine_) {
      cache_->CompactRows(*kept);
    } else {
      cache_->SelectRows(*kept);
    }
    tokens_ = tokens_.index_select(0, at::tensor(*kept, at::kLong).to(device_));
  }

  Decoder& decoder_;
  const std::vector<GenerateRequest>& requests_;
  const GenerateOptions& options_;
  at::Device device_;
  int64_t num_ids_;
  size_t max_rows_;
  bool equal_lengths_;  // of rows in one batch: "dynamic" RoPE scaling follows the longest
  bool with_engine_;
  bool engine_chooses_;
  ChoiceState state_;
  std::vector<RowStart> starts_;
  std::vector<Generation> results_;
  GrowingRows rows_;
  std::optional<KvCache> cache_;
  std::optional<CachedSteps> steps_;
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
  if (decoder->head_weight().is_cuda()) decoder->PackProjections();
  return BatchLoop(decoder, requests, options, hooks).Run();
}

}  // namespace ckv
