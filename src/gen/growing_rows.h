// The rows of a batch while they grow: chooses each one's next token, keeps what was chosen, and
// knows which are complete.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include <ATen/core/Tensor.h>

#include "gen/generation.h"

namespace ckv {

// A row that is to grow.
struct RowStart {
  size_t index = 0;  // what the hooks and results call it
  const GenerateRequest* request = nullptr;
  int64_t max_tokens = 0;  // at least 1
  FinishReason at_max_tokens = FinishReason::kMaxTokens;
};

// Holds `options`, `hooks` and `results` by reference; results[index] is where a row's tokens go.
class GrowingRows {
 public:
  // As many rows at once as `state` has.
  GrowingRows(const GenerateOptions& options, const GenerateHooks& hooks, ChoiceState state,
              std::vector<Generation>* results);

  // Puts rows into `places`, those of complete rows or next behind all that there are, and chooses
  // their first tokens as Choose does, from their logits [N, num_ids]; returns them, [N].
  Tensor Put(const std::vector<int64_t>& places, const std::vector<RowStart>& starts,
             const Tensor& logits);

  // Chooses the next token of every row from logits [B, num_ids]; returns them, [B] int64 on the
  // device. Rows that are complete get any token. One transfer to the host. Throws DivergedError if
  // the logits of a row that is not complete are not numbers.
  Tensor Choose(const Tensor& logits);

  // Takes the next token of every row as somebody else has chosen it, with the same state: ids [B]
  // int64 and log_probs [B] fp32 or fp64, on the CPU. Throws as Choose does.
  void Accept(const Tensor& ids, const Tensor& log_probs);

  size_t size() const { return rows_.size(); }
  bool done() const { return num_active_ == 0; }
  // Enough rows are complete for taking them out, or others in, to be worth it: doing so at once
  // would copy much of the cache of a large batch for every row that ends. Less than an eighth
  // idle.
  bool many_complete() const {
    const size_t idle = rows_.size() - num_active_;
    return idle > 0 && idle * 8 >= rows_.size();
  }

  // Where rows are complete.
  std::vector<int64_t> CompletePlaces() const;

  // Takes complete rows out if many are or they must go at once. Returns the old numbers of those
  // that stay, in their new order: the last ones fill the gaps. Nothing (nullopt) if all stay.
  std::optional<std::vector<int64_t>> DropComplete(bool at_once);

 private:
  struct Row {
    size_t index;
    size_t max_tokens;
    FinishReason at_max_tokens;
    bool active = true;
  };

  Tensor SeenInPrompts(const std::vector<RowStart>& starts) const;
  Tensor ChooseFor(const std::vector<int64_t>& places, const Tensor& logits,
                   const ChoiceState& state);
  void Take(Row& row, int32_t id, double log_prob, const std::vector<TokenLogProb>& top);
  void Finish(Row& row, FinishReason reason);

  const GenerateOptions& options_;
  const GenerateHooks& hooks_;
  ChoiceState state_;
  std::vector<Generation>* results_;
  std::vector<Row> rows_;
  size_t num_active_ = 0;
};

}  // namespace ckv
