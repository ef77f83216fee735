#include "eval/streaming.h"

#include <algorithm>
#include <cmath>

#include <torch/torch.h>

#include "base/error.h"

namespace ckv {
namespace {

// Tokens between two looks at the result: each waits for the device.
constexpr int64_t kTokensOfLook = 256;
constexpr int64_t kTokensOfRead = 8192;

void CheckStreamOptions(const StreamOptions& options, const DecoderConfig& config) {
  if (options.block_tokens < 1) {
    throw ConfigError("--block", Str(options.block_tokens, ", but must be >= 1"));
  }
  if (options.block_tokens > 1 && config.sharing().cyclic()) {
    throw ConfigError("--block", "must be 1: layers of this model read a layer above them");
  }
  if (options.max_tokens < 0) {
    throw ConfigError("--max-tokens", Str(options.max_tokens, ", but must be >= 0"));
  }
  const int64_t most = options.cache.window_length + options.block_tokens;
  if (most > config.max_position_embeddings) {
    throw ConfigError("--window",
                      Str("a cache of ", options.cache.window_length, " tokens and ",
                          options.block_tokens, " behind it need more than the model's ",
                          config.max_position_embeddings, " positions (max_position_embeddings)"));
  }
}

class Streamer {
 public:
  Streamer(Decoder& decoder, const StreamOptions& options, const StreamHooks& hooks)
      : decoder_(decoder),
        options_(options),
        hooks_(hooks),
        device_(decoder->head_weight().device()),
        cache_(decoder->NewCache(1, options.cache.window_length, options.cache)),
        nats_(at::zeros({}, at::TensorOptions(device_).dtype(at::kDouble))) {
    sums_.kv_bytes = cache_.bytes();
  }

  bool done() const { return options_.max_tokens > 0 && sums_.tokens == options_.max_tokens; }

  // Feeds all of `ids` but the last, which are targets only here.
  void Feed(const std::vector<int32_t>& ids) {
    const Tensor all = at::tensor(ids, at::kLong).to(device_);
    const int64_t last = all.size(0) - 1;
    for (int64_t at = 0; at < last && !done();) {
      int64_t count = std::min(options_.block_tokens, last - at);
      if (options_.max_tokens > 0) count = std::min(count, options_.max_tokens - sums_.tokens);
      CountBytes(ids.begin() + at + 1, ids.begin() + at + 1 + count);
      FeedBlock(all.narrow(0, at, count), all.narrow(0, at + 1, count));
      at += count;
    }
  }

  StreamSums Finish() {
    Look();
    return sums_;
  }

 private:
  using Place = std::vector<int32_t>::const_iterator;

  void CountBytes(Place begin, Place end) {
    if (options_.tokenizer == nullptr) return;
    for (Place id = begin; id != end; ++id) {
      if (*id < options_.tokenizer->vocab_size()) sums_.bytes += options_.tokenizer->ByteCost(*id);
    }
  }

  void FeedBlock(const Tensor& tokens, const Tensor& targets) {
    DecoderRun run;
    run.cache = &cache_;
    const Tensor logits =
        decoder_->Logits(decoder_->Hidden({tokens.unsqueeze(0), {}, {}}, run)).squeeze(0);
    if (hooks_.on_logits) hooks_.on_logits(logits, targets);
    const auto type = logits.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
    const Tensor log_probs = at::log_softmax(logits, -1, type);
    nats_ -= log_probs.gather(1, targets.unsqueeze(1)).sum(at::kDouble);
    sums_.tokens += tokens.size(0);
    if (sums_.tokens - looked_at_ < kTokensOfLook) return;
    Look();
    if (hooks_.on_progress) hooks_.on_progress(sums_);
  }

  void Look() {
    looked_at_ = sums_.tokens;
    sums_.nats = nats_.item<double>();
    sums_.cached_tokens = std::min(sums_.tokens, options_.cache.window_length);
    if (!std::isfinite(sums_.nats)) {
      throw DivergedError(sums_.tokens, "the model's output is not a number");
    }
  }

  Decoder& decoder_;
  const StreamOptions& options_;
  const StreamHooks& hooks_;
  at::Device device_;
  KvCache cache_;
  Tensor nats_;
  StreamSums sums_;
  int64_t looked_at_ = 0;
};

}  // namespace

StreamSums StreamPerplexity(Decoder& decoder, const NextTokens& next, const std::string& name,
                            const StreamOptions& options, const StreamHooks& hooks) {
  CheckStreamOptions(options, decoder->config());
  at::NoGradGuard no_grad;
  decoder->eval();
  Streamer streamer(decoder, options, hooks);
  std::vector<int32_t> ids;
  while (!streamer.done()) {
    const std::vector<int32_t> more = next(kTokensOfRead);
    if (more.empty()) break;
    ids.insert(ids.end(), more.begin(), more.end());
    streamer.Feed(ids);
    ids.assign(1, ids.back());
  }
  const StreamSums sums = streamer.Finish();
  if (sums.tokens == 0) throw FormatError(name, "", "has less than two tokens");
  return sums;
}

}  // namespace ckv
