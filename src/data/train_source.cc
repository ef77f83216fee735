#include "data/train_source.h"

#include <algorithm>
#include <utility>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/hash.h"
#include "base/random.h"
#include "data/permutation.h"

namespace ckv {
namespace {

constexpr char kPosition[] = "data position";

// A count of the state, or an error.
int64_t CountOf(const Json& value, const char* what) {
  const bool good = value.is_number_integer() && value >= 0 && value <= INT64_MAX;
  if (!good) throw FormatError(kPosition, "", Str("'", what, "' is not a count"));
  return value.get<int64_t>();
}

}  // namespace

TrainSource::TrainSource(std::vector<MixturePart> parts, const TrainSourceOptions& options,
                         const BatchLayout& layout)
    : options_(options), layout_(layout) {
  CKV_CHECK(layout.rows > 0 && layout.rank >= 0 && layout.rank < layout.world, "rank ", layout.rank,
            " of ", layout.world, " with ", layout.rows, " rows");
  double sum = 0;
  for (const MixturePart& part : parts) sum += part.weight;
  for (MixturePart& part : parts) {
    const int64_t targets = part.range.size() - 1;
    CKV_CHECK(targets >= options.seq_len && part.weight > 0, "a part of ", targets, " targets");
    Part own = {std::move(part), 0, targets / options.seq_len, targets % options.seq_len, 0};
    own.share = own.mixture.weight / sum;
    parts_.push_back(std::move(own));
  }
}

size_t TrainSource::NextPart() const {
  size_t best = 0;
  double best_deficit = 0;
  for (size_t i = 0; i < parts_.size(); ++i) {
    const double deficit =
        parts_[i].share * static_cast<double>(samples_ + 1) - static_cast<double>(parts_[i].count);
    if (i == 0 || deficit > best_deficit) {
      best = i;
      best_deficit = deficit;
    }
  }
  return best;
}

int64_t TrainSource::WindowStart(size_t part, int64_t count) const {
  const Part& own = parts_[part];
  const int64_t begin = own.mixture.range.begin;
  const int64_t in_epoch = count % own.windows;
  if (!options_.shuffle) return begin + in_epoch * options_.seq_len;

  const auto epoch = static_cast<uint64_t>(count / own.windows);
  const uint64_t key = MixBits(MixBits(MixBits(options_.seed) ^ part) ^ epoch);
  const auto shift = static_cast<int64_t>(MixBits(~key) % (static_cast<uint64_t>(own.slack) + 1));
  const auto window = static_cast<int64_t>(
      PermuteIndex(static_cast<uint64_t>(in_epoch), static_cast<uint64_t>(own.windows), key));
  return begin + shift + window * options_.seq_len;
}

bool TrainSource::Next(TokenBatch* batch) {
  const auto [first, rows, total] = ShareOfBatch(layout_);
  ClearBatch(std::max<int64_t>(rows, 1), options_.seq_len, options_.reset_attention, batch);
  for (int64_t g = 0; g < total; ++g) {
    const size_t part = NextPart();
    const int64_t row = g - first;
    if (row >= 0 && row < rows) {
      FillRow(*parts_[part].mixture.range.data, WindowStart(part, parts_[part].count),
              options_.seq_len, options_.reset_attention, row, batch);
    }
    ++parts_[part].count;
    ++samples_;
  }
  return true;
}

Json TrainSource::Identity() const {
  Json datasets = Json::array();
  for (const Part& part : parts_) {
    const TokenRange& range = part.mixture.range;
    datasets.push_back({{"hash", HashHex(range.data->hash())},
                        {"begin", range.begin},
                        {"end", range.end},
                        {"weight", part.mixture.weight}});
  }
  return {{"version", 1},
          {"seq_len", options_.seq_len},
          {"shuffle", options_.shuffle},
          {"seed", options_.seed},
          {"datasets", datasets}};
}

Json TrainSource::State() const {
  Json state = Identity();
  state["samples"] = samples_;
  Json counts = Json::array();
  for (const Part& part : parts_) counts.push_back(part.count);
  state["counts"] = counts;
  return state;
}

void TrainSource::Restore(const Json& state) {
  if (!state.is_object()) throw FormatError(kPosition, "", "is not a JSON object");
  const Json identity = Identity();
  for (const auto& item : identity.items()) {
    const auto found = state.find(item.key());
    const Json saved = found == state.end() ? Json("nothing") : *found;
    if (saved == item.value()) continue;
    throw FormatError(kPosition, "",
                      Str("was saved with ", item.key(), " ", saved.dump(), ", but this run has ",
                          item.value().dump()));
  }
  if (!state.contains("counts") || !state["counts"].is_array() ||
      state["counts"].size() != parts_.size()) {
    throw FormatError(kPosition, "", Str("'counts' is not a list of ", parts_.size(), " counts"));
  }
  std::vector<int64_t> counts;
  int64_t rest = CountOf(state.value("samples", Json()), "samples");
  const int64_t samples = rest;
  for (const Json& count : state["counts"]) {
    counts.push_back(CountOf(count, "counts"));
    if (counts.back() > rest) break;
    rest -= counts.back();
  }
  if (rest != 0 || counts.size() != parts_.size()) {
    throw FormatError(kPosition, "", "'counts' do not add up to 'samples'");
  }
  samples_ = samples;
  for (size_t i = 0; i < parts_.size(); ++i) parts_[i].count = counts[i];
}

int64_t TrainSource::num_tokens() const {
  int64_t tokens = 0;
  for (const Part& part : parts_) tokens += part.windows * options_.seq_len;
  return tokens;
}

}  // namespace ckv
