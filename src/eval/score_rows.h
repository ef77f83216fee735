// The rows that a model runs for a list of requests: each input once, and in which batches.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "eval/score_requests.h"

namespace ckv {

// The targets of one request: the last `count` positions of a row's input predict them.
struct RowTarget {
  size_t request = 0;
  int64_t count = 0;
};

struct ScoreRow {
  std::vector<int32_t> input;
  std::vector<RowTarget> targets;
  int64_t group = 0;

  int64_t length() const { return static_cast<int64_t>(input.size()); }
  int64_t FirstScored() const;  // the first position whose output is needed
};

// Rows with a common start that is run once; `shared` = 0: nothing is.
struct RowGroup {
  std::vector<size_t> rows;
  int64_t shared = 0;   // tokens, at least those that all groups share
  int64_t longest = 0;  // input
  int64_t tail() const { return longest - shared; }
};

// Each distinct input once if `merge`, else one row a request. Requests whose continuation has no
// tokens have no row.
std::vector<ScoreRow> MakeRows(const std::vector<ScoreRequest>& requests, int64_t max_length,
                               bool merge = true);

// Tokens with which all rows begin and whose output none needs.
int64_t CommonStart(const std::vector<ScoreRow>& rows);

// Groups of rows in the order in which they run: what shares equally much and is about equally long
// stands together. `share`: the rows of a group use what they begin with in common; `common`: what
// all rows begin with.
std::vector<RowGroup> MakeGroups(const std::vector<ScoreRow>& rows, bool share, int64_t common);

// Cuts the groups into batches [begin, end): equal `shared`, and at most `batch_tokens` tokens.
std::vector<std::pair<size_t, size_t>> MakeBatches(const std::vector<RowGroup>& groups,
                                                   int64_t batch_tokens, int64_t common);

}  // namespace ckv
