#include "data/eval_source.h"

#include <algorithm>
#include <utility>

#include <nlohmann/json.hpp>

#include "base/error.h"

namespace ckv {

EvalSource::EvalSource(std::vector<TokenRange> ranges, int64_t seq_len, bool reset_attention,
                       int64_t max_tokens, const BatchLayout& layout)
    : ranges_(std::move(ranges)),
      seq_len_(seq_len),
      reset_attention_(reset_attention),
      layout_(layout) {
  CKV_CHECK(layout.rows > 0 && layout.rank >= 0 && layout.rank < layout.world, "rank ", layout.rank,
            " of ", layout.world, " with ", layout.rows, " rows");
  first_window_.push_back(0);
  for (const TokenRange& range : ranges_) {
    CKV_CHECK(range.size() >= 2, "a range of ", range.size(), " tokens");
    const int64_t windows = (range.size() - 1 + seq_len - 1) / seq_len;
    first_window_.push_back(first_window_.back() + windows);
  }
  num_samples_ = first_window_.back();
  if (max_tokens > 0) {
    num_samples_ = std::min(num_samples_, std::max<int64_t>(1, max_tokens / seq_len));
  }
}

EvalSource::Window EvalSource::WindowAt(int64_t sample) const {
  const int64_t total = first_window_.back();
  const int64_t window =
      num_samples_ == total
          ? sample
          : static_cast<int64_t>(static_cast<double>(sample) * static_cast<double>(total) /
                                 static_cast<double>(num_samples_));
  const auto after = std::upper_bound(first_window_.begin(), first_window_.end(), window);
  const auto index = static_cast<size_t>(after - first_window_.begin()) - 1;
  const TokenRange& range = ranges_[index];
  const int64_t start = range.begin + (window - first_window_[index]) * seq_len_;
  return {range.data.get(), start, std::min(seq_len_, range.end - 1 - start)};
}

bool EvalSource::Next(TokenBatch* batch) {
  if (position_ >= num_samples_) return false;
  const int64_t first = position_ + layout_.rank * layout_.rows;
  const int64_t rows = std::clamp<int64_t>(num_samples_ - first, 0, layout_.rows);
  ClearBatch(std::max<int64_t>(rows, 1), seq_len_, reset_attention_, batch);
  for (int64_t row = 0; row < rows; ++row) {
    const Window window = WindowAt(first + row);
    FillRow(*window.data, window.start, window.num_targets, reset_attention_, row, batch);
  }
  position_ += layout_.world * layout_.rows;
  return true;
}

Json EvalSource::State() const { return {{"version", 1}, {"samples", samples()}}; }

void EvalSource::Restore(const Json& state) {
  const bool good = state.is_object() && state.contains("samples") &&
                    state["samples"].is_number_integer() && state["samples"] >= 0 &&
                    state["samples"] <= num_samples_;
  if (!good) throw FormatError("validation position", "", "is not a position in this data");
  position_ = state["samples"].get<int64_t>();
}

int64_t EvalSource::num_tokens() const {
  int64_t tokens = 0;
  for (int64_t i = 0; i < num_samples_; ++i) tokens += WindowAt(i).num_targets;
  return tokens;
}

int64_t EvalSource::samples() const { return std::min(position_, num_samples_); }

}  // namespace ckv
