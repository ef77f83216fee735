// The endless, shuffled, mixed source; see data/source.h for what it promises.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/packed_window.h"
#include "data/source.h"

namespace ckv {

struct MixturePart {
  TokenRange range;
  double weight = 1.0;
};

struct TrainSourceOptions {
  int64_t seq_len = 1024;
  bool shuffle = true;
  uint64_t seed = 0;
  bool reset_attention = false;
};

// Sample g of the run belongs to the part that is furthest behind its share of the samples so far;
// the c-th sample of a part is window PermuteIndex(c mod W) of epoch c div W. All that changes is
// how many samples each part gave.
class TrainSource : public DataSource {
 public:
  // Requires parts of at least seq_len + 1 tokens and weights > 0.
  TrainSource(std::vector<MixturePart> parts, const TrainSourceOptions& options,
              const BatchLayout& layout);

  bool Next(TokenBatch* batch) override;
  Json State() const override;
  void Restore(const Json& state) override;
  int64_t num_tokens() const override;
  int64_t samples() const override { return samples_; }

 private:
  struct Part {
    MixturePart mixture;
    double share;     // of the samples; all shares add up to 1
    int64_t windows;  // of an epoch
    int64_t slack;    // tokens beyond them, by which an epoch may shift its windows
    int64_t count;    // samples given
  };

  size_t NextPart() const;
  int64_t WindowStart(size_t part, int64_t count) const;
  Json Identity() const;

  std::vector<Part> parts_;
  TrainSourceOptions options_;
  BatchLayout layout_;
  int64_t samples_ = 0;
};

}  // namespace ckv
