// Batches of pairs: one pair a row, padded behind its end to the longest row of the batch, rounded
// up to a multiple of 8. Targets are the tokens of the pair's target and its end of sentence; those
// of the prompt too if `prompt_loss`.
#pragma once

#include <cstdint>
#include <memory>

#include "data/pair_set.h"
#include "data/source.h"

namespace ckv {

struct PairSourceOptions {
  bool endless = true;  // else every pair comes once, in file order
  bool shuffle = true;  // a new order each epoch
  uint64_t seed = 0;
  bool prompt_loss = false;
  int64_t max_pairs = 0;  // of a finite source: so many, evenly spread; 0 = all
  int64_t seq_len = 1024;
};

// The sample g of the run is pair PermuteIndex(g mod n) of epoch g div n; the state is g.
class PairSource : public DataSource {
 public:
  PairSource(std::shared_ptr<const PairSet> pairs, const PairSourceOptions& options,
             const BatchLayout& layout);

  bool Next(TokenBatch* batch) override;
  Json State() const override;
  void Restore(const Json& state) override;
  // Tokens with a target.
  int64_t num_tokens() const override;
  int64_t samples() const override;
  double epochs(int64_t seq_len) const override;

 private:
  int64_t PairOf(int64_t sample) const;
  Json Identity() const;
  void FillPair(int64_t pair, int64_t row, TokenBatch* batch) const;

  std::shared_ptr<const PairSet> pairs_;
  PairSourceOptions options_;
  BatchLayout layout_;
  int64_t num_samples_;  // of an epoch
  int64_t position_ = 0;
};

}  // namespace ckv
