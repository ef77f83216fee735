#include "data/pair_source.h"

#include <algorithm>
#include <utility>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/hash.h"
#include "base/random.h"
#include "data/packed_window.h"
#include "data/permutation.h"

namespace ckv {

PairSource::PairSource(std::shared_ptr<const PairSet> pairs, const PairSourceOptions& options,
                       const BatchLayout& layout)
    : pairs_(std::move(pairs)), options_(options), layout_(layout), num_samples_(pairs_->size()) {
  CKV_CHECK(layout.rows > 0 && layout.rank >= 0 && layout.rank < layout.world, "rank ", layout.rank,
            " of ", layout.world, " with ", layout.rows, " rows");
  if (!options_.endless && options_.max_pairs > 0) {
    num_samples_ = std::min(num_samples_, options_.max_pairs);
  }
}

int64_t PairSource::PairOf(int64_t sample) const {
  if (!options_.endless) {
    return num_samples_ == pairs_->size()
               ? sample
               : static_cast<int64_t>(static_cast<double>(sample) *
                                      static_cast<double>(pairs_->size()) /
                                      static_cast<double>(num_samples_));
  }
  const int64_t in_epoch = sample % num_samples_;
  if (!options_.shuffle) return in_epoch;
  const auto epoch = static_cast<uint64_t>(sample / num_samples_);
  return static_cast<int64_t>(PermuteIndex(static_cast<uint64_t>(in_epoch),
                                           static_cast<uint64_t>(num_samples_),
                                           MixBits(MixBits(options_.seed) ^ epoch)));
}

bool PairSource::Next(TokenBatch* batch) {
  if (!options_.endless && position_ >= num_samples_) return false;
  const RankShare share = ShareOfBatch(layout_);
  const int64_t first = position_ + share.first;
  const int64_t rows =
      options_.endless ? share.rows : std::clamp<int64_t>(num_samples_ - first, 0, share.rows);
  int64_t longest = 2;
  for (int64_t row = 0; row < rows; ++row) {
    longest = std::max(longest, (*pairs_)[PairOf(first + row)].num_tokens);
  }
  const int64_t cols = std::min((longest - 1 + 7) / 8 * 8, std::max(options_.seq_len, longest - 1));
  ClearBatch(std::max<int64_t>(rows, 1), cols, /*reset_attention=*/false, batch);
  for (int64_t row = 0; row < rows; ++row) FillPair(PairOf(first + row), row, batch);
  position_ += share.total;
  return true;
}

void PairSource::FillPair(int64_t pair, int64_t row, TokenBatch* batch) const {
  const PairSet::Pair own = (*pairs_)[pair];
  int64_t* tokens = batch->tokens.data() + row * batch->cols;
  int64_t* targets = batch->targets.data() + row * batch->cols;
  std::copy(own.tokens, own.tokens + own.num_tokens - 1, tokens);
  const int64_t first = options_.prompt_loss ? 1 : own.num_prompt_tokens;
  std::copy(own.tokens + first, own.tokens + own.num_tokens, targets + first - 1);
}

Json PairSource::Identity() const {
  return {{"version", 1},
          {"kind", "pairs"},
          {"pairs", pairs_->size()},
          {"hash", HashHex(pairs_->hash())},
          {"shuffle", options_.shuffle},
          {"seed", options_.seed},
          {"prompt_loss", options_.prompt_loss}};
}

Json PairSource::State() const {
  Json state = Identity();
  state["samples"] = position_;
  return state;
}

void PairSource::Restore(const Json& state) {
  constexpr char kPlace[] = "data position";
  if (!state.is_object()) throw FormatError(kPlace, "", "is not a JSON object");
  const Json identity = Identity();
  for (const auto& item : identity.items()) {
    const auto found = state.find(item.key());
    const Json saved = found == state.end() ? Json("nothing") : *found;
    if (saved != item.value()) {
      throw FormatError(kPlace, "",
                        Str("was saved with ", item.key(), " ", saved.dump(), ", but this run has ",
                            item.value().dump()));
    }
  }
  const auto samples = state.find("samples");
  const bool good = samples != state.end() && samples->is_number_integer() && *samples >= 0 &&
                    *samples <= INT64_MAX / 2;
  if (!good) throw FormatError(kPlace, "", "'samples' is not a count");
  position_ = samples->get<int64_t>();
}

int64_t PairSource::num_tokens() const {
  int64_t tokens = 0;
  for (int64_t i = 0; i < num_samples_; ++i) {
    const PairSet::Pair pair = (*pairs_)[options_.endless ? i : PairOf(i)];
    tokens += pair.num_tokens - (options_.prompt_loss ? 1 : pair.num_prompt_tokens);
  }
  return tokens;
}

int64_t PairSource::samples() const {
  return options_.endless ? position_ : std::min(position_, num_samples_);
}

double PairSource::epochs(int64_t) const {
  return static_cast<double>(samples()) / static_cast<double>(num_samples_);
}

}  // namespace ckv
