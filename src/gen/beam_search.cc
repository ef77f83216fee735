#include "gen/beam_search.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include <torch/torch.h>

#include "base/error.h"
#include "gen/generator.h"

namespace ckv {
namespace {

struct Beam {
  std::vector<int32_t> tokens;
  std::vector<double> log_probs;
  double sum = 0.0;
};

// A beam and a token behind it, before anyone pays for a copy of the beam.
struct Extension {
  size_t beam = 0;
  int32_t id = 0;
  double sum = 0.0;
};

class BeamSearcher {
 public:
  BeamSearcher(Decoder& decoder, const std::vector<int32_t>& prompt, const BeamOptions& options)
      : decoder_(decoder),
        options_(options),
        device_(decoder->head_weight().device()),
        num_ids_(options.num_ids > 0 ? options.num_ids : decoder->config().vocab_size) {
    const auto length = static_cast<int64_t>(prompt.size());
    const int64_t room = decoder->config().max_position_embeddings - length + 1;
    max_tokens_ = std::min(options.max_new_tokens, room);
    at_max_tokens_ =
        options.max_new_tokens <= room ? FinishReason::kMaxTokens : FinishReason::kContextFull;
  }

  std::vector<BeamResult> Run(const std::vector<int32_t>& prompt) {
    const auto length = static_cast<int64_t>(prompt.size());
    KvCache cache = decoder_->NewCache(1, length + max_tokens_ - 1);
    Tensor tokens = at::tensor(prompt, at::kLong).unsqueeze(0).to(device_);
    for (int64_t step = 1;; ++step) {
      const Tensor logits = NextLogits(decoder_, {tokens, {}, {}}, &cache,
                                       step == 1 ? options_.prefill : DecoderRun(), num_ids_);
      const std::vector<int64_t> parents = Extend(Candidates(logits), step);
      if (parents.empty() || NothingCanImprove(step)) break;
      cache.SelectRows(parents);
      tokens = LastTokens();
    }
    if (complete_.size() > static_cast<size_t>(options_.num_results)) {
      complete_.resize(static_cast<size_t>(options_.num_results));
    }
    return std::move(complete_);
  }

 private:
  // The best extensions of all beams, best first. Enough that, whatever stop ids are among them, as
  // many as there are beams do not end.
  std::vector<Extension> Candidates(const Tensor& logits) {
    std::vector<double> sums;
    for (const Beam& beam : beams_) sums.push_back(beam.sum);
    const Tensor totals = logits.to(at::kDouble).log_softmax(1) +
                          at::tensor(sums, at::kDouble).to(device_).unsqueeze(1);  // [n, num_ids]
    const int64_t wanted =
        options_.num_beams * (2 + static_cast<int64_t>(options_.stop_ids.size()));
    const auto [values, places] = totals.flatten().topk(std::min(wanted, totals.numel()), 0,
                                                        /*largest=*/true, /*sorted=*/true);
    const Tensor host = at::stack({values, places.to(at::kDouble)}).cpu();
    const double* value = host.data_ptr<double>();
    std::vector<Extension> extensions;
    for (int64_t i = 0; i < host.size(1); ++i) {
      if (std::isnan(value[i])) {
        throw DivergedError(static_cast<int64_t>(beams_[0].tokens.size()),
                            "the model's output is not a number");
      }
      if (std::isinf(value[i])) break;  // nothing behind it is possible
      const auto place = static_cast<int64_t>(value[host.size(1) + i]);
      extensions.push_back({static_cast<size_t>(place / num_ids_),
                            static_cast<int32_t>(place % num_ids_), value[i]});
    }
    return extensions;
  }

  // Sets aside the extensions that end and makes the best others the beams; returns the beams'
  // former places. `step` is their length.
  std::vector<int64_t> Extend(const std::vector<Extension>& extensions, int64_t step) {
    std::vector<Beam> next;
    std::vector<int64_t> parents;
    for (const Extension& extension : extensions) {
      if (next.size() == static_cast<size_t>(options_.num_beams)) break;
      Beam beam = beams_[extension.beam];
      const double log_prob = extension.sum - beam.sum;
      beam.sum = extension.sum;
      const std::vector<int32_t>& stops = options_.stop_ids;
      if (std::find(stops.begin(), stops.end(), extension.id) != stops.end()) {
        SetAside(beam, step, FinishReason::kStop);
        continue;
      }
      beam.tokens.push_back(extension.id);
      beam.log_probs.push_back(log_prob);
      if (options_.is_complete && options_.is_complete(beam.tokens)) {
        SetAside(beam, step, FinishReason::kStopText);
      } else if (step == max_tokens_) {
        SetAside(beam, step, at_max_tokens_);
      } else {
        parents.push_back(static_cast<int64_t>(extension.beam));
        next.push_back(std::move(beam));
      }
    }
    beams_ = std::move(next);
    return parents;
  }

  double Score(double sum, int64_t length) const {
    return sum / std::pow(static_cast<double>(length), options_.length_penalty);
  }

  void SetAside(const Beam& beam, int64_t length, FinishReason reason) {
    BeamResult result;
    result.generation.tokens = beam.tokens;
    result.generation.log_probs = beam.log_probs;
    result.generation.finish = reason;
    result.score = Score(beam.sum, length);
    const auto place = std::upper_bound(
        complete_.begin(), complete_.end(), result,
        [](const BeamResult& a, const BeamResult& b) { return a.score > b.score; });
    complete_.insert(place, std::move(result));
    if (complete_.size() > static_cast<size_t>(options_.num_beams)) complete_.pop_back();
  }

  // A sum only falls as a beam grows; what its length does for the score depends on the penalty.
  bool NothingCanImprove(int64_t step) const {
    if (complete_.size() < static_cast<size_t>(options_.num_results)) return false;
    const double to_beat = complete_[static_cast<size_t>(options_.num_results) - 1].score;
    const int64_t best_length = options_.length_penalty > 0.0 ? max_tokens_ : step + 1;
    return std::all_of(beams_.begin(), beams_.end(),
                       [&](const Beam& beam) { return Score(beam.sum, best_length) <= to_beat; });
  }

  Tensor LastTokens() const {  // [n, 1]
    std::vector<int64_t> ids;
    for (const Beam& beam : beams_) ids.push_back(beam.tokens.back());
    return at::tensor(ids, at::kLong).unsqueeze(1).to(device_);
  }

  Decoder& decoder_;
  const BeamOptions& options_;
  at::Device device_;
  int64_t num_ids_;
  int64_t max_tokens_ = 0;
  FinishReason at_max_tokens_ = FinishReason::kMaxTokens;
  std::vector<Beam> beams_ = std::vector<Beam>(1);
  std::vector<BeamResult> complete_;  // best first
};

}  // namespace

void BeamOptions::Check() const {
  if (num_beams < 1) throw ConfigError("--beams", Str(num_beams, ", but must be >= 1"));
  if (num_results < 1 || num_results > num_beams) {
    throw ConfigError("--samples",
                      Str(num_results, ", but must be from 1 to the ", num_beams, " beams"));
  }
  if (!std::isfinite(length_penalty)) {
    throw ConfigError("--length-penalty", Str(length_penalty, ", but must be a number"));
  }
  if (max_new_tokens < 1) {
    throw ConfigError("--max-tokens", Str(max_new_tokens, ", but must be >= 1"));
  }
}

std::vector<BeamResult> BeamSearch(Decoder& decoder, const std::vector<int32_t>& prompt,
                                   const BeamOptions& options) {
  options.Check();
  CheckPrompt(prompt, decoder->config());
  at::NoGradGuard no_grad;
  decoder->eval();
  return BeamSearcher(decoder, prompt, options).Run(prompt);
}

}  // namespace ckv
