// One sample: a window of a data set as inputs and targets.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "data/dataset.h"
#include "data/source.h"

namespace ckv {

// Tokens [begin, end) of a data set.
struct TokenRange {
  std::shared_ptr<const TokenDataset> data;
  int64_t begin = 0;
  int64_t end = 0;

  int64_t size() const { return end - begin; }
};

// Makes `batch` one of rows x cols without any target, and segments of 0 if they are wanted.
void ClearBatch(int64_t rows, int64_t cols, bool reset_attention, TokenBatch* batch);

// Fills row `row` of a cleared batch: inputs from `start` on, the first `num_targets` of them with
// the token that follows as target. Tokens [start, start + num_targets] must be there.
void FillRow(const TokenDataset& data, int64_t start, int64_t num_targets, bool reset_attention,
             int64_t row, TokenBatch* batch);

}  // namespace ckv
