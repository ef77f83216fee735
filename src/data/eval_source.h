// The finite source for validation; see data/source.h for what it promises.
#pragma once

#include <cstdint>
#include <vector>

#include "data/packed_window.h"
#include "data/source.h"

namespace ckv {

class EvalSource : public DataSource {
 public:
  // Requires ranges of at least 2 tokens. `max_tokens` > 0 takes only about that many tokens, in
  // windows spread evenly over the data.
  EvalSource(std::vector<TokenRange> ranges, int64_t seq_len, bool reset_attention,
             int64_t max_tokens, const BatchLayout& layout);

  bool Next(TokenBatch* batch) override;
  Json State() const override;
  void Restore(const Json& state) override;
  int64_t num_tokens() const override;
  int64_t samples() const override;

 private:
  struct Window {
    const TokenDataset* data;
    int64_t start;
    int64_t num_targets;
  };
  Window WindowAt(int64_t sample) const;

  std::vector<TokenRange> ranges_;
  std::vector<int64_t> first_window_;  // of each range, and the end
  int64_t seq_len_;
  bool reset_attention_;
  BatchLayout layout_;
  int64_t num_samples_ = 0;
  int64_t position_ = 0;
};

}  // namespace ckv
