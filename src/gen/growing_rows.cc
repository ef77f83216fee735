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
                         ChoiceState state, std::vector<Generation>* results)
    : options_(options), hooks_(hooks), state_(std::move(state)), results_(results) {}

Tensor GrowingRows::Put(const std::vector<int64_t>& places, const std::vector<RowStart>& starts,
                        const Tensor& logits) {
  CKV_CHECK(places.size() == starts.size(), places.size(), " places for ", starts.size(), " rows");
  std::vector<int64_t> seeds;
  for (size_t i = 0; i < starts.size(); ++i) {
    const RowStart& start = starts[i];
    CKV_CHECK(start.max_tokens >= 1, "a row without room for a token");
    CKV_CHECK(places[i] < state_.draws.size(0), "row ", places[i], " of ", state_.draws.size(0));
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
  const at::Device device = state_.draws.device();
  const ChoiceState fresh = {at::tensor(seeds, at::kLong).to(device),
                             SeenInPrompts(starts).to(device)};
  const Tensor chosen = ChooseFor(places, logits, fresh);
  const Tensor index = at::tensor(places, at::kLong).to(device);
  state_.draws.index_copy_(0, index, fresh.draws);
  state_.seen.index_copy_(0, index, fresh.seen);
  return chosen;
}

Tensor GrowingRows::SeenInPrompts(const std::vector<RowStart>& starts) const {
  const int64_t width = state_.seen.size(1);
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
  return ChooseFor(places, logits, state_);
}

void GrowingRows::Accept(const Tensor& ids, const Tensor& log_probs) {
  CKV_CHECK(static_cast<size_t>(ids.size(0)) == rows_.size(), ids.size(0), " choices for ",
            rows_.size(), " rows");
  const Tensor wide = log_probs.to(at::kDouble);
  for (size_t i = 0; i < rows_.size(); ++i) {
    if (!rows_[i].active) continue;
    Take(rows_[i], static_cast<int32_t>(ids.data_ptr<int64_t>()[i]), wide.data_ptr<double>()[i],
         {});
  }
}

// For the rows at `places`, whose states are the first ones of `state`.
Tensor GrowingRows::ChooseFor(const std::vector<int64_t>& places, const Tensor& logits,
                              const ChoiceState& state) {
  if (hooks_.on_logits) hooks_.on_logits(logits);
  const int64_t batch = logits.size(0);
  CKV_CHECK(static_cast<size_t>(batch) == places.size(), "logits ", logits.sizes());
  const Choice choice = ChooseNext(logits, options_.sampling, state);

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
  if (num_active_ == rows_.size() || !(many_complete() || at_once)) return std::nullopt;
  std::vector<int64_t> kept(num_active_);
  std::vector<Row> left;
  size_t last = rows_.size();
  for (size_t i = 0; i < kept.size(); ++i) {
    size_t from = i;
    if (!rows_[i].active) {
      while (!rows_[--last].active) {
      }
      from = last;
    }
    kept[i] = static_cast<int64_t>(from);
    left.push_back(rows_[from]);
  }
  rows_ = std::move(left);
  const Tensor index = at::tensor(kept, at::kLong).to(state_.draws.device());
  const auto count = static_cast<int64_t>(kept.size());
  for (const Tensor& of : {state_.draws, state_.seen}) {
    of.narrow(0, 0, count).copy_(of.index_select(0, index));
  }
  return kept;
}

}  // namespace ckv
