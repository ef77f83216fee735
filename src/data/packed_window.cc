#include "data/packed_window.h"

#include <algorithm>

#include "base/error.h"

namespace ckv {

void ClearBatch(int64_t rows, int64_t cols, bool reset_attention, TokenBatch* batch) {
  const auto size = static_cast<size_t>(rows * cols);
  batch->rows = rows;
  batch->cols = cols;
  batch->tokens.assign(size, 0);
  batch->targets.assign(size, kIgnoreTarget);
  batch->segments.assign(reset_attention ? size : 0, 0);
}

void FillRow(const TokenDataset& data, int64_t start, int64_t num_targets, bool reset_attention,
             int64_t row, TokenBatch* batch) {
  CKV_CHECK(num_targets >= 1 && num_targets <= batch->cols, num_targets, " targets in a row of ",
            batch->cols);
  int64_t* tokens = batch->tokens.data() + row * batch->cols;
  int64_t* targets = batch->targets.data() + row * batch->cols;
  data.Read(start, num_targets, tokens);
  std::copy(tokens + 1, tokens + num_targets, targets);
  data.Read(start + num_targets, 1, targets + num_targets - 1);
  if (!reset_attention) return;

  int64_t* segments = batch->segments.data() + row * batch->cols;
  int64_t segment = 0;
  int64_t at = 0;
  for (const int64_t document : data.DocumentStarts(start + 1, start + num_targets + 1)) {
    const int64_t first = document - start;  // the document's first token within the row
    targets[first - 1] = kIgnoreTarget;
    std::fill(segments + at, segments + first, segment++);
    at = first;
  }
  std::fill(segments + at, segments + num_targets, segment);
  // What fills up the row is a document of its own.
  std::fill(segments + num_targets, segments + batch->cols, segment + 1);
}

RankShare ShareOfBatch(const BatchLayout& layout) {
  RankShare share;
  share.total = layout.total > 0 ? layout.total : layout.world * layout.rows;
  share.first = share.total * layout.rank / layout.world;
  share.rows = share.total * (layout.rank + 1) / layout.world - share.first;
  return share;
}

std::vector<TokenBatch> SplitRows(const TokenBatch& batch, int64_t count) {
  CKV_CHECK(count >= 1, count, " batches");
  if (count == 1) return {batch};
  std::vector<TokenBatch> parts(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) {
    TokenBatch& part = parts[static_cast<size_t>(i)];
    const int64_t first = batch.rows * i / count;
    const int64_t rows = batch.rows * (i + 1) / count - first;
    ClearBatch(std::max<int64_t>(rows, 1), batch.cols, !batch.segments.empty(), &part);
    const auto copy = [&](const std::vector<int64_t>& from, std::vector<int64_t>& to) {
      if (from.empty()) return;
      std::copy(from.begin() + first * batch.cols, from.begin() + (first + rows) * batch.cols,
                to.begin());
    };
    copy(batch.tokens, part.tokens);
    copy(batch.targets, part.targets);
    copy(batch.segments, part.segments);
  }
  return parts;
}

}  // namespace ckv
