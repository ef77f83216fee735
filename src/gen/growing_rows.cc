#include "gen/growing_rows.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include <ATen/ATen.h>

#include "base/error.h"

namespace ckv {

const char* FinishName(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop:
      return "stop";
    case FinishReason::kStopText:
      return "stop_text";
    case FinishReason::kMaxTokens:
      return "max_tokens";
    case FinishReason::kContextFull:
      return "context_full";
  }
  return "";
}

GrowingRows::GrowingRows(const GenerateOptions& options, const GenerateHooks& hooks,
                         int64_t num_ids, at::Device device, std::vector<Generation>* results)
    : options_(options),
      hooks_(hooks),
      num_ids_(num_ids),
      results_(results),
      draws_(at::empty({0}, at::TensorOptions(device).dtype(at::kLong))),
      seen_(at::empty({0, options.sampling.penalizes() ? num_ids : 0},
                      at::TensorOptions(device).dtype(at::kBool))) {}

Tensor GrowingRows::Put(const std::vector<int64_t>& places, const std::vector<RowStart>& starts,
                        const Tensor& logits) {
  CKV_CHECK(places.size() == starts.size(), places.size(), " places for ", starts.size(), " rows");
  std::vector<int64_t> seeds;
  for (size_t i = 0; i < starts.size(); ++i) {
    const RowStart& start = starts[i];
    CKV_CHECK(start.max_tokens >= 1, "a row without room for a token");
    const Row row = {start.index, static_cast<size_t>(start.max_tokens), start.at_max_tokens};
    const auto place = static_cast<size_t>(places[i]);
    CKV_CHECK(place <= rows_.size(), "a gap before row ", place);
    if (place == rows_.size()) {
      rows_.push_back(row);
    } else {
      CKV_CHECK(!rows_[place].active, "row ", place, " is not complete");
      rows_[place] = row;
    }
    seeds.push_back(static_cast<int64_t>(start.request->seed));
  }
  num_active_ += starts.size();
  Tensor draws = at::tensor(seeds, at::kLong).to(draws_.device());
  Tensor seen = SeenInPrompts(starts).to(seen_.device());
  const Tensor chosen = ChooseFor(places, logits, draws, seen);
  const auto fresh = static_cast<int64_t>(rows_.size()) - draws_.size(0);
  draws_ = at::cat({draws_, draws.new_empty({fresh})});
  seen_ = at::cat({seen_, seen.new_empty({fresh, seen.size(1)})});
  const Tensor index = at::tensor(places, at::kLong).to(draws_.device());
  draws_.index_copy_(0, index, draws);
  seen_.index_copy_(0, index, seen);
  return chosen;
}

Tensor GrowingRows::SeenInPrompts(const std::vector<RowStart>& starts) const {
  const int64_t width = seen_.size(1);
  const Tensor seen = at::zeros({static_cast<int64_t>(starts.size()), width}, at::kBool);
  bool* row = seen.data_ptr<bool>();
  for (const RowStart& start : starts) {
    for (const int32_t id : start.request->prompt) {
      if (id < width) row[id] = true;
    }
    row += width;
  }
  return seen;
}

Tensor GrowingRows::Choose(const Tensor& logits) {
  std::vector<int64_t> places(rows_.size());
  std::iota(places.begin(), places.end(), 0);
  return ChooseFor(places, logits, draws_, seen_);
}

// For the rows at `places`, whose states `draws` and `seen` go on in place.
Tensor GrowingRows::ChooseFor(const std::vector<int64_t>& places, const Tensor& logits,
                              Tensor& draws, Tensor& seen) {
  if (hooks_.on_logits) hooks_.on_logits(logits);
  const int64_t batch = logits.size(0);
  CKV_CHECK(static_cast<size_t>(batch) == places.size(), "logits ", logits.sizes());
  const Tensor uniform = options_.sampling.greedy() ? Tensor() : NextUniform(draws);
  const Choice choice = ChooseTokens(logits, options_.sampling, uniform, seen);
  if (options_.sampling.penalizes()) seen.scatter_(1, choice.ids.unsqueeze(1), true);

  // One transfer for all; every id is exact as a double.
  std::vector<Tensor> columns = {choice.ids.to(at::kDouble).unsqueeze(1),
                                 choice.log_probs.to(at::kDouble).unsqueeze(1)};
  const int64_t num_top = std::min(options_.top_log_probs, logits.size(1));
  if (num_top > 0) {
    const auto [log_probs, ids] = logits.to(at::kDouble).log_softmax(1).topk(num_top, 1);
    columns.push_back(ids.to(at::kDouble));
    columns.push_back(log_probs);
  }
  const Tensor host = at::cat(columns, 1).cpu();  // [B, 2 + 2 num_top]
  for (int64_t i = 0; i < batch; ++i) {
    Row& row = rows_[static_cast<size_t>(places[static_cast<size_t>(i)])];
    if (!row.active) continue;
    const double* values = host.data_ptr<double>() + i * host.size(1);
    std::vector<TokenLogProb> top;
    for (int64_t k = 0; k < num_top; ++k) {
      top.push_back({static_cast<int32_t>(values[2 + k]), values[2 + num_top + k]});
    }
    Take(row, static_cast<int32_t>(values[0]), values[1], top);
  }
  return choice.ids;
}

void GrowingRows::Take(Row& row, int32_t id, double log_prob,
                       const std::vector<TokenLogProb>& top) {
  Generation& result = (*results_)[row.index];
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
  if (!top.empty()) result.top.push_back(top);
  if (hooks_.on_token && !hooks_.on_token(row.index, id)) {
    Finish(row, FinishReason::kStopText);
  } else if (result.tokens.size() == row.max_tokens) {
    Finish(row, row.at_max_tokens);
  }
}

void GrowingRows::Finish(Row& row, FinishReason reason) {
  row.active = false;
  --num_active_;
  (*results_)[row.index].finish = reason;
  if (hooks_.on_finish) hooks_.on_finish(row.index, (*results_)[row.index]);
}

std::vector<int64_t> GrowingRows::CompletePlaces() const {
  std::vector<int64_t> places;
  for (size_t i = 0; i < rows_.size(); ++i) {
    if (!rows_[i].active) places.push_back(static_cast<int64_t>(i));
  }
  return places;
}

std::optional<std::vector<int64_t>> GrowingRows::DropComplete(bool at_once) {
  const size_t idle = rows_.size() - num_active_;
  if (idle == 0 || (idle * 8 < rows_.size() && !at_once)) return std::nullopt;
  std::vector<int64_t> kept;
  std::vector<Row> left;
  for (size_t i = 0; i < rows_.size(); ++i) {
    if (!rows_[i].active) continue;
    kept.push_back(static_cast<int64_t>(i));
    left.push_back(rows_[i]);
  }
  rows_ = std::move(left);
  const Tensor index = at::tensor(kept, at::kLong).to(draws_.device());
  draws_ = draws_.index_select(0, index);
  seen_ = seen_.index_select(0, index);
  return kept;
}

}  // namespace ckv
