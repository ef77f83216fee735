// Which names of a prediction play the part of which names of the gold annotation.
//
// Searches a one-to-one map between names of equal concept under which most statements match.
// Statements that can match under no map are left out first; the rest is searched by branch and
// bound over names, the bound being the number of statements that can still match.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "conic/compare.h"
#include "conic/term.h"

namespace ckv::conic {

// One side's statements for a kind (facts or queries) and its alignable names.
struct AlignmentSide {
  std::vector<TermId> names;    // symbols of Side::kGold or kPredicted
  std::vector<TermId> facts;    // rebuilt
  std::vector<TermId> queries;  // rebuilt
};

struct Alignment {
  static constexpr int64_t kMaxNodes = 10'000'000;
  // Steps of the search, cheaper than nodes and many for each.
  static constexpr int64_t kMaxSteps = 200'000'000;

  int64_t matched = 0;                           // statements
  std::vector<std::pair<TermId, TermId>> pairs;  // predicted, gold; names that help a match
  int64_t nodes = 0;
  bool truncated = false;  // `matched` is the best found, not known to be the best
};

// The best alignment. Statements without names of a side are matched too.
Alignment Align(const AlignmentSide& predicted, const AlignmentSide& gold, TermPool* pool,
                Comparer* comparer);

}  // namespace ckv::conic
