#include "gen/session.h"

#include <algorithm>

#include <torch/torch.h>

#include "base/error.h"
#include "gen/generator.h"
#include "gen/growing_rows.h"

namespace ckv {

GenerationSession::GenerationSession(Decoder& decoder, int64_t max_tokens)
    : decoder_(decoder), max_tokens_(max_tokens), cache_(decoder->NewCache(1, max_tokens)) {
  CKV_CHECK(max_tokens >= 1 && max_tokens <= decoder->config().max_position_embeddings, max_tokens,
            " tokens");
  decoder->eval();
  if (decoder->head_weight().is_cuda()) decoder->PackProjections();
}

bool GenerationSession::CacheBegins(const std::vector<int32_t>& text) const {
  return cached_.size() < text.size() && std::equal(cached_.begin(), cached_.end(), text.begin());
}

void GenerationSession::PrepareEngine(const GenerateOptions& options, bool chooses,
                                      int64_t num_ids) {
  if (engine_.steps != nullptr && engine_.sampling == options.sampling &&
      engine_.chooses == chooses && engine_.num_ids == num_ids) {
    return;
  }
  engine_.steps.reset();
  DecodeEngineOptions of_engine;
  of_engine.sampling = engine_.sampling = options.sampling;
  of_engine.num_ids = engine_.num_ids = num_ids;
  of_engine.choose = engine_.chooses = chooses;
  engine_.state = NewChoiceState(options.sampling, 1, num_ids, decoder_->head_weight().device());
  if (chooses) of_engine.state = engine_.state;
  engine_.steps = std::make_unique<CachedSteps>(decoder_, cache_, of_engine);
}

Generation GenerationSession::Continue(const GenerateRequest& request,
                                       const GenerateOptions& options, const GenerateHooks& hooks) {
  const std::vector<int32_t>& text = request.prompt;
  CheckGenerateOptions(options, decoder_->config());
  CheckPrompt(text, decoder_->config());
  const auto length = static_cast<int64_t>(text.size());
  if (length > max_tokens_) {
    throw ConfigError("prompt", Str("has ", length, " tokens, but the cache holds ", max_tokens_));
  }
  at::NoGradGuard no_grad;
  if (engine_.steps != nullptr) engine_.steps->Release();  // a turn may have ended in an error
  if (!CacheBegins(text)) {
    cache_.Clear();
    cached_.clear();
  }
  const int64_t wanted =
      request.max_new_tokens > 0 ? request.max_new_tokens : options.max_new_tokens;
  const int64_t room = max_tokens_ - length + 1;  // the last token is never read
  const RowStart start{0, &request, std::min(wanted, room),
                       wanted <= room ? FinishReason::kMaxTokens : FinishReason::kContextFull};
  const at::Device device = decoder_->head_weight().device();
  const int64_t num_ids = options.num_ids > 0 ? options.num_ids : decoder_->config().vocab_size;
  const bool with_engine = CachedSteps::Serve(decoder_, options);
  const bool engine_chooses = with_engine && CachedSteps::CanChoose(options, hooks);
  if (with_engine) PrepareEngine(options, engine_chooses, num_ids);
  std::vector<Generation> results(1);
  const ChoiceState state =
      with_engine ? engine_.state : NewChoiceState(options.sampling, 1, num_ids, device);
  GrowingRows row(options, hooks, state, &results);
  const std::vector<int32_t> fresh(text.begin() + static_cast<std::ptrdiff_t>(cached_.size()),
                                   text.end());
  num_computed_ = static_cast<int64_t>(fresh.size());
  Tensor tokens = at::tensor(fresh, at::kLong).unsqueeze(0).to(device);  // [1, T]
  Tensor logits = NextLogits(decoder_, {tokens, {}, {}}, &cache_, options.prefill, num_ids);
  cached_ = text;
  tokens = row.Put({0}, {start}, logits);
  if (engine_chooses) engine_.steps->Start(tokens);
  while (!row.done()) {
    const int32_t fed = results[0].tokens.back();
    if (engine_chooses) {
      engine_.steps->Fill();
      const DecodeChoice choice = engine_.steps->Collect();
      cached_.push_back(fed);
      row.Accept(choice.ids, choice.log_probs);
      continue;
    }
    logits = with_engine
                 ? engine_.steps->Logits(tokens)
                 : NextLogits(decoder_, {tokens.unsqueeze(1), {}, {}}, &cache_, {}, num_ids);
    cached_.push_back(fed);
    tokens = row.Choose(logits);
  }
  // What was queued beyond the last token never was.
  if (engine_chooses) engine_.steps->Release();
  return results[0];
}

}  // namespace ckv
