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
}

bool GenerationSession::CacheBegins(const std::vector<int32_t>& text) const {
  return cached_.size() < text.size() && std::equal(cached_.begin(), cached_.end(), text.begin());
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
  std::vector<Generation> results(1);
  GrowingRows row(options, hooks, num_ids, device, &results);
  const std::vector<int32_t> fresh(text.begin() + static_cast<std::ptrdiff_t>(cached_.size()),
                                   text.end());
  num_computed_ = static_cast<int64_t>(fresh.size());
  Tensor tokens = at::tensor(fresh, at::kLong).unsqueeze(0).to(device);  // [1, T]
  Tensor logits = NextLogits(decoder_, {tokens, {}, {}}, &cache_, options.prefill, num_ids);
  cached_ = text;
  tokens = row.Put({0}, {start}, logits).unsqueeze(1);
  while (!row.done()) {
    logits = NextLogits(decoder_, {tokens, {}, {}}, &cache_, {}, num_ids);
    cached_.push_back(results[0].tokens.back());
    tokens = row.Choose(logits).unsqueeze(1);
  }
  return results[0];
}

}  // namespace ckv
