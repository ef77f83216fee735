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
  GrowingRows(const GenerateOptions& options, const GenerateHooks& hooks, int64_t num_ids,
              at::Device device, std::vector<Generation>* results);

  // Puts rows into `places`, those of complete rows or next behind all that there are, and chooses
  // their first tokens as Choose does, from their logits [N, num_ids]; returns them, [N].
  Tensor Put(const std::vector<int64_t>& places, const std::vector<RowStart>& starts,
             const Tensor& logits);

  // Chooses the next token of every row from logits [B, num_ids]; returns them, [B] int64 on the
  // device. Rows that are complete get any token. One transfer to the host. Throws DivergedError if
  // the logits of a row that is not complete are not numbers.
  Tensor Choose(const Tensor& logits);

  size_t size() const { return rows_.size(); }
  bool done() const { return num_active_ == 0; }

  // Where rows are complete.
  std::vector<int64_t> CompletePlaces() const;

  // Takes complete rows out if they have become worth it or must go at once. Returns the old
  // numbers of those that stay; nothing (nullopt) if all stay. Dropping at once would copy the
  // cache of a large batch for every row that ends; so less than an eighth of the rows may idle.
  std::optional<std::vector<int64_t>> DropComplete(bool at_once);

 private:
  struct Row {
    size_t index;
    size_t max_tokens;
    FinishReason at_max_tokens;
    bool active = true;
  };

  Tensor SeenInPrompts(const std::vector<RowStart>& starts) const;
  Tensor ChooseFor(const std::vector<int64_t>& places, const Tensor& logits, Tensor& draws,
                   Tensor& seen);
  void Take(Row& row, int32_t id, double log_prob, const std::vector<TokenLogProb>& top);
  void Finish(Row& row, FinishReason reason);

  const GenerateOptions& options_;
  const GenerateHooks& hooks_;
  int64_t num_ids_;
  std::vector<Generation>* results_;
  std::vector<Row> rows_;
  size_t num_active_ = 0;
  Tensor draws_;  // [B] int64, states of the rows' generators
  Tensor seen_;   // [B, num_ids] bool; without a repetition penalty [B, 0]
};

}  // namespace ckv
