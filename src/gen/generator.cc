#include "gen/generator.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include <torch/torch.h>

#include "base/error.h"
#include "base/random.h"

namespace ckv {
namespace {

int64_t LongestPrompt(const std::vector<GenerateRequest>& requests) {
  size_t longest = 0;
  for (const GenerateRequest& request : requests) {
    longest = std::max(longest, request.prompt.size());
  }
  return static_cast<int64_t>(longest);
}

void CheckGenerateOptions(const GenerateOptions& options, const DecoderConfig& config) {
  options.sampling.Check();
  if (options.max_new_tokens < 1) {
    throw ConfigError("--max-tokens", Str(options.max_new_tokens, ", but must be >= 1"));
  }
  CKV_CHECK(options.num_ids >= 0 && options.num_ids <= config.vocab_size, options.num_ids,
            " ids of ", config.vocab_size);
}

// One batch on its way.
class GenerationBatch {
 public:
  GenerationBatch(Decoder& decoder, const std::vector<GenerateRequest>& requests,
                  const GenerateOptions& options, const GenerateHooks& hooks)
      : decoder_(decoder),
        options_(options),
        hooks_(hooks),
        device_(decoder->head_weight().device()),
        rows_(MakeRows(decoder->config(), requests, options)),
        num_active_(rows_.size()),
        results_(rows_.size()),
        cache_(NewCache(decoder, requests, rows_)) {}

  std::vector<Generation> Run(const std::vector<GenerateRequest>& requests) {
    DecoderInput input = LeftPadded(requests);
    input.tokens = input.tokens.to(device_);
    if (input.key_mask.defined()) input.key_mask = input.key_mask.to(device_);
    while (true) {
      const Tensor chosen = Choose(Logits(input));
      if (num_active_ == 0) return std::move(results_);
      input = DecoderInput{chosen.unsqueeze(1), {}, {}};
    }
  }

 private:
  struct Row {
    Random random;
    size_t max_tokens;
    FinishReason at_max_tokens;
    bool active = true;
  };

  static std::vector<Row> MakeRows(const DecoderConfig& config,
                                   const std::vector<GenerateRequest>& requests,
                                   const GenerateOptions& options) {
    std::vector<Row> rows;
    for (const GenerateRequest& request : requests) {
      // The last token of all is chosen but never read, so it needs no position.
      const int64_t room =
          config.max_position_embeddings - static_cast<int64_t>(request.prompt.size()) + 1;
      const bool fits = options.max_new_tokens <= room;
      rows.push_back({Random(request.seed),
                      static_cast<size_t>(std::min(options.max_new_tokens, room)),
                      fits ? FinishReason::kMaxTokens : FinishReason::kContextFull});
    }
    return rows;
  }

  static KvCache NewCache(Decoder& decoder, const std::vector<GenerateRequest>& requests,
                          const std::vector<Row>& rows) {
    size_t most = 1;
    for (const Row& row : rows) most = std::max(most, row.max_tokens);
    return decoder->NewCache(static_cast<int64_t>(requests.size()),
                             LongestPrompt(requests) + static_cast<int64_t>(most) - 1);
  }

  // Feeds tokens; [B, ids] of what may come next.
  Tensor Logits(const DecoderInput& input) {
    DecoderRun run;
    run.cache = &cache_;
    run.last_only = true;
    const Tensor logits = decoder_->Logits(decoder_->Hidden(input, run).squeeze(1));
    return options_.num_ids > 0 ? logits.narrow(1, 0, options_.num_ids) : logits;
  }

  // The next token of every row [B]; of rows that are complete any token.
  Tensor Choose(const Tensor& logits) {
    if (hooks_.on_logits) hooks_.on_logits(logits);
    Tensor uniform;
    if (!options_.sampling.greedy()) {
      uniform = at::empty({static_cast<int64_t>(rows_.size())}, at::kDouble);
      for (size_t row = 0; row < rows_.size(); ++row) {
        uniform.data_ptr<double>()[row] = rows_[row].random.Uniform();
      }
      uniform = uniform.to(device_);
    }
    const Choice choice = ChooseTokens(logits, options_.sampling, uniform);
    // One transfer for both; every id is exact as a double.
    const Tensor host =
        at::stack({choice.ids.to(at::kDouble), choice.log_probs.to(at::kDouble)}).cpu();
    const double* ids = host.data_ptr<double>();
    for (size_t row = 0; row < rows_.size(); ++row) {
      if (rows_[row].active) Take(row, static_cast<int32_t>(ids[row]), ids[rows_.size() + row]);
    }
    return choice.ids;
  }

  void Take(size_t row, int32_t id, double log_prob) {
    Generation& result = results_[row];
    if (std::isnan(log_prob)) {
      throw DivergedError(static_cast<int64_t>(result.tokens.size()),
                          "the model's output is not a number");
    }
    const std::vector<int32_t>& stops = options_.stop_ids;
    if (std::find(stops.begin(), stops.end(), id) != stops.end()) {
      Finish(row, FinishReason::kStop);
      return;
    }
    result.tokens.push_back(id);
    result.log_probs.push_back(log_prob);
    if (hooks_.on_token) hooks_.on_token(row, id);
    if (result.tokens.size() == rows_[row].max_tokens) Finish(row, rows_[row].at_max_tokens);
  }

  void Finish(size_t row, FinishReason reason) {
    rows_[row].active = false;
    --num_active_;
    results_[row].finish = reason;
    if (hooks_.on_finish) hooks_.on_finish(row, results_[row]);
  }

  Decoder& decoder_;
  const GenerateOptions& options_;
  const GenerateHooks& hooks_;
  at::Device device_;
  std::vector<Row> rows_;
  size_t num_active_;
  std::vector<Generation> results_;
  KvCache cache_;
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
  if (requests.empty()) return {};
  at::NoGradGuard no_grad;
  decoder->eval();
  return GenerationBatch(decoder, requests, options, hooks).Run(requests);
}

}  // namespace ckv
